"""Side-by-side benchmarks: Narrowgate beside a real peer, in one run, on one core."""

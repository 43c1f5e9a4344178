"""The shop: five plain HTTP services behind narrow gates, and a demo that tries to break in."""

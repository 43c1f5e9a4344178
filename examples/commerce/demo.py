"""Runs the shop behind narrow gates and tries to break in: `python -m examples.commerce.demo`.

One line per scenario with what is expected and what came of it. Exit code 0 when all agree, 1 on
any difference, 2 when the shop did not come up, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from typing import Final

from examples.commerce.mesh import CommandFailed, Mesh
from examples.commerce.processes import ProcessFailed
from examples.commerce.scenarios import GROUPS
from examples.commerce.scenarios.outcome import Group, Outcome, Scenario, title

EXIT_DIFFERENT: Final = 1
EXIT_NOT_UP: Final = 2
EXIT_INTERRUPTED: Final = 130
_COLOURS: Final = {"ok": "32", "DIFFERS": "31", "skipped": "33", "title": "1", "note": "2"}


class Screen:
    """Prints aligned lines; coloured only on a terminal."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._coloured = sys.stdout.isatty()
        self._titles = max(len(title(one)) for group in groups for one in group.scenarios)
        self._began_s = time.monotonic()

    def seconds(self) -> str:
        return f"{time.monotonic() - self._began_s:5.1f} s"

    def progress(self, text: str) -> None:
        """One line of set-up, with the time it began."""
        self._print(f"  {self.seconds()}  {text}", "note")

    def heading(self, text: str) -> None:
        self._print(f"\n{text}", "title")

    def line(self, verdict: str, scenario: Scenario, outcome: Outcome) -> None:
        """The line of a scenario, and its notes."""
        self._print(f"  {verdict:<8}", verdict, end="")
        text = f"{title(scenario):<{self._titles}}  expected {outcome.expected}"
        print(f"{text}\n{'':{self._titles + 12}}actual   {outcome.actual}", flush=True) if (
            verdict == "DIFFERS"
        ) else print(f"{text}  actual {outcome.actual}", flush=True)
        for note in outcome.notes:
            self._print(f"            {note}", "note")

    def _print(self, text: str, colour: str, end: str = "\n") -> None:
        shown = f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._coloured else text
        print(shown, end=end, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code."""
    options = _parse(arguments)
    groups = [group for group in GROUPS if not options.only or group.number in options.only]
    screen = Screen(groups)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(groups, screen, keep=options.keep, verbose=options.verbose)
    except (ProcessFailed, CommandFailed) as failure:
        print(f"\nthe shop did not come up: {failure}", file=sys.stderr)
        return EXIT_NOT_UP
    except KeyboardInterrupt:
        print("\ninterrupted; every process is stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.commerce.demo", description=__doc__)
    numbers = [group.number for group in GROUPS]
    parser.add_argument(
        "--only", type=int, choices=numbers, action="append", help="run this group (repeatable)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and state")
    parser.add_argument("--verbose", action="store_true", help="show tracebacks of failures")
    return parser.parse_args(arguments)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _run(groups: list[Group], screen: Screen, *, keep: bool, verbose: bool) -> int:
    screen.heading("The shop opens")
    counts: Counter[str] = Counter()
    mesh = Mesh(screen.progress, keep=keep)
    if keep:
        screen.progress(f"everything is kept in {mesh.folder}")
    with mesh:
        screen.progress("all ready")
        for group in groups:
            screen.heading(f"{group.number}  {group.title}")
            for scenario in group.scenarios:
                counts[_play(scenario, mesh, screen, verbose=verbose)] += 1
    summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    screen.heading(f"{sum(counts.values())} scenarios in {screen.seconds().strip()}: {summary}")
    return EXIT_DIFFERENT if counts["DIFFERS"] else 0


def _play(scenario: Scenario, mesh: Mesh, screen: Screen, *, verbose: bool) -> str:
    """Play one scenario; whatever goes wrong in it is a difference, and the demo goes on."""
    try:
        outcome = scenario(mesh)
    except Exception as failure:
        if verbose:
            traceback.print_exc()
        outcome = Outcome("no failure", f"{type(failure).__name__}: {failure}")
    verdict = "skipped" if outcome.skipped else "ok" if outcome.good else "DIFFERS"
    screen.line(verdict, scenario, outcome)
    return verdict


if __name__ == "__main__":
    sys.exit(main())

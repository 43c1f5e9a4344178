"""Medians, quartiles and the ratio, as a table a person reads and a document a machine reads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.load import Window


@dataclass(frozen=True)
class Spread:
    """A median between its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value.

        Raises:
            ValueError: there is none.
        """
        sample = list(values)
        if not sample:
            raise ValueError("nothing was measured")
        if len(sample) == 1:
            return cls(sample[0], sample[0], sample[0])
        low, median, high = statistics.quantiles(sample, n=4, method="inclusive")
        return cls(low, median, high)

    def text(self, places: int = 0) -> str:
        return f"{self.median:.{places}f} [{self.low:.{places}f}-{self.high:.{places}f}]"


def ratio(rounds: Sequence[Sequence[Window]], ours: str, peer: str) -> Spread:
    """CPU of our proxies over the peer's, one value per round.

    A round holds two windows of each variant in mirrored order, so that a drift of the machine's
    speed within it falls on both alike.
    """

    def mean(windows: Sequence[Window], name: str) -> float:
        return statistics.fmean(window.proxies_us for window in windows if window.target == name)

    return Spread.of(mean(windows, ours) / mean(windows, peer) for windows in rounds)


def table(rounds: Sequence[Sequence[Window]], names: Sequence[str]) -> str:
    """One row per variant; CPU in microseconds per request."""
    windows = [window for each in rounds for window in each]
    rows = [
        [
            "variant",
            "proxies us",
            "out us",
            "in us",
            "app us",
            "wrk us",
            "req/s",
            "p50 ms",
            "p99 ms",
        ]
    ]
    for name in names:
        rows.append(_row(name, [window for window in windows if window.target == name]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(name: str, windows: Sequence[Window]) -> list[str]:
    def spread(value: Callable[[Window], float]) -> Spread:
        return Spread.of(map(value, windows))

    def role(suffix: str) -> str:
        return spread(
            lambda window: sum(
                us for role, us in window.cpu_us.items() if role == f"{name}-{suffix}"
            )
        ).text()

    passes = any(window.proxies_us for window in windows)
    return [
        name,
        spread(lambda window: window.proxies_us).text() if passes else "-",
        role("out") if passes else "-",
        role("in") if passes else "-",
        spread(lambda window: window.cpu_us["app"]).text(),
        spread(lambda window: window.cpu_us["wrk"]).text(),
        spread(lambda window: window.requests_per_s).text(),
        f"{spread(lambda window: window.p50_us).median / 1e3:.2f}",
        f"{spread(lambda window: window.p99_us).median / 1e3:.2f}",
    ]

"""The numbers of the bench: spread, ratio within rounds, table."""

from __future__ import annotations

import pytest

from bench.load import Window
from bench.report import Spread, ratio, table


def window(target: str, proxies_us: float) -> Window:
    cpu_us = {"app": 10.0, "wrk": 11.0, f"{target}-out": proxies_us / 4}
    cpu_us[f"{target}-in"] = proxies_us * 3 / 4
    return Window(target, 1000, 500.0, 1500, 9000, cpu_us, proxies_us, 0.0)


def test_spread_is_the_median_between_its_quartiles() -> None:
    assert Spread.of([4, 1, 3, 2, 5]) == Spread(2, 3, 4)
    assert Spread.of([7]) == Spread(7, 7, 7)
    assert Spread.of([1, 2, 3]).text(1) == "2.0 [1.5-2.5]"


def test_nothing_measured_is_no_number() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


def test_ratio_is_taken_within_a_round() -> None:
    """The machine at half speed doubles both sides of a round and leaves its ratio alone."""
    order = (("peer", 100), ("ours", 300), ("ours", 300), ("peer", 100))
    rounds = [[window(name, us * slow) for name, us in order] for slow in (1, 2, 4)]
    assert ratio(rounds, "ours", "peer") == Spread(3, 3, 3)


def test_table_has_a_row_per_variant() -> None:
    direct = Window("direct", 10, 5.0, 100, 200, {"app": 1.0, "wrk": 2.0, "ours-in": 0.1}, 0.0, 0.0)
    lines = table([[direct, window("ours", 400)]], ["direct", "ours"]).splitlines()
    assert lines[1].split()[:4] == ["direct", "-", "-", "-"]
    assert lines[2].split()[1:7:2] == ["400", "100", "300"]
    assert lines[2].endswith("1.50    9.00")

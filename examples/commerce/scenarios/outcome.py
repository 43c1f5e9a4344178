"""What a scenario is: a small function that plays one thing and says what came of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple

from examples.commerce.mesh import Mesh


class Outcome(NamedTuple):
    """Expected and actual in the same few words; `notes` are shown below the line."""

    expected: str
    actual: str
    notes: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def good(self) -> bool:
        return self.expected == self.actual


Scenario = Callable[[Mesh], Outcome]


class Group(NamedTuple):
    """One section of the demo, in order."""

    number: int
    title: str
    scenarios: Sequence[Scenario]


def title(scenario: Scenario) -> str:
    """A scenario's title: the first line of its docstring."""
    return (inspect.getdoc(scenario) or scenario.__name__).splitlines()[0].rstrip(".")

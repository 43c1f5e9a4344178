"""The one protocol every policy engine speaks, and the one way in which it may fail.

Invariants: an engine answers with the JSON value of the decision, or with `UNDEFINED`, or raises
`EngineFault` with the reason. It never decides what an answer means: that is `policy.permit`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from policy.reason import Reason

if TYPE_CHECKING:
    from policy.input import Needs


class Undefined(Enum):
    """The type of `UNDEFINED`."""

    UNDEFINED = "undefined"


UNDEFINED: Final = Undefined.UNDEFINED
"""The decision has no value. Not `None`, which is the JSON value null."""


class EngineFault(Exception):
    """An engine could not answer: `reason` says why, `detail` is for logs only."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.label)
        self.reason: Final = reason
        self.detail: Final = detail


class Engine(Protocol):
    """Evaluates one decision of one loaded policy."""

    @property
    def needs(self) -> Needs:
        """What the loaded policy reads of its input."""
        ...

    async def evaluate(self, document: bytes) -> object:
        """The decision for the JSON text `document`: a JSON value or `UNDEFINED`.

        Raises:
            EngineFault: the engine could not answer.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and memory. Idempotent."""
        ...


@runtime_checkable
class InlineEngine(Engine, Protocol):
    """An engine that never waits and bounds itself, so the judge spares it a timer."""

    def answer(self, document: bytes) -> object:
        """As `evaluate`, at once."""
        ...

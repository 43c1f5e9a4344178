"""The only mint: a call becomes a `Permit` or a `Denial` here and nowhere else.

Invariants:
- A `Permit` cannot be constructed, subclassed, changed, copied with changes or unpickled; only
  `Judge.decide` makes one, and only from an answer that is exactly an allow.
- `decide` never raises anything but cancellation and interpreter exit. Whatever goes wrong is a
  `Denial` with its own reason.
- A sealed posture denies before the engine is asked. A degraded posture asks twice and joins the
  answers by *and*: it can only subtract.
- The scope that may be handed on never exceeds the grant's; without a grant it is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, final

from policy.call import Call, Field, Gate, Grant, Posture
from policy.engines import UNDEFINED, Engine, EngineFault, InlineEngine
from policy.faithful import Unreadable
from policy.input import Needs, document
from policy.obligations import apply
from policy.reason import Reason
from policy.verdict import Refusal, Verdict, read

_EMPTY: Final[frozenset[str]] = frozenset()
_NORMAL: Final = Posture.NORMAL
_INBOUND: Final = Gate.INBOUND


class _Sealed(type):
    """A type that nobody can call and nobody can derive from."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Sealed:
        if any(isinstance(base, _Sealed) for base in bases):
            raise TypeError("a sealed type has no subclasses")
        return super().__new__(mcs, name, bases, namespace)

    def __call__(cls, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError(f"only a judge makes a {cls.__name__}")

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise TypeError(f"{cls.__name__} is sealed")


@final
class Permit(metaclass=_Sealed):
    """The proof that one call was allowed, and everything that may be forwarded for it.

    Fields:
        call, grant: what was judged.
        fields: the application's request fields after the obligations.
        target: origin-form `path?query` after the obligations.
        scope: what the next hop may be given at most; empty without a grant.
        decision_id: of the call.
        deadline_s: seconds from the decision within which the answer must have come, or `None`.
        response_fields: fields to add to the response.
        guards: guards to run before forwarding.
    """

    __slots__ = (
        "call",
        "deadline_s",
        "decision_id",
        "fields",
        "grant",
        "guards",
        "response_fields",
        "scope",
        "target",
    )

    call: Call
    grant: Grant | None
    fields: tuple[Field, ...]
    target: str
    scope: frozenset[str]
    decision_id: str
    deadline_s: float | None
    response_fields: tuple[Field, ...]
    guards: tuple[Mapping[str, object], ...]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a permit is immutable: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a permit is immutable: {name}")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a permit is neither copied nor serialised")

    def __repr__(self) -> str:
        return f"Permit({self.decision_id} scope={sorted(self.scope)!r})"


_slots: Final[Mapping[str, Any]] = vars(Permit)
_set_call = _slots["call"].__set__
_set_grant = _slots["grant"].__set__
_set_fields = _slots["fields"].__set__
_set_target = _slots["target"].__set__
_set_scope = _slots["scope"].__set__
_set_decision_id = _slots["decision_id"].__set__
_set_deadline_s = _slots["deadline_s"].__set__
_set_response_fields = _slots["response_fields"].__set__
_set_guards = _slots["guards"].__set__


@dataclass(frozen=True, slots=True)
class Denial:
    """The call stays outside, for exactly one reason.

    Fields:
        reason, decision_id: what the reply and the metrics name.
        detail: for logs only; never sent to a peer.
        status: HTTP status, the reason's own unless policy chose another refusal (300 to 599).
        fields: response fields that policy wants on the refusal.
        body: response body that policy wants, or `None` for the standard problem document.
    """

    reason: Reason
    decision_id: str
    detail: str
    status: int
    fields: tuple[Field, ...] = ()
    body: bytes | None = None

    @classmethod
    def of(cls, reason: Reason, decision_id: str, detail: str = "") -> Denial:
        """The plain denial for `reason`."""
        return cls(reason, decision_id, detail, reason.status)


class Judge:
    """Decides calls with one engine, which can be replaced between two decisions."""

    def __init__(self, engine: Engine | None, *, timeout_s: float = 0.25) -> None:
        """A judge of `engine`; `None` denies everything with `policy_not_loaded`.

        Raises:
            ValueError: `timeout_s` is not positive.
        """
        if not timeout_s > 0:
            raise ValueError("timeout_s must be positive")
        self._timeout_s: Final = timeout_s
        self._engine: Engine | None = None
        self._inline: InlineEngine | None = None
        self.swap(engine)

    @property
    def needs(self) -> Needs:
        """What the loaded policy reads; nothing when none is loaded."""
        return Needs() if self._engine is None else self._engine.needs

    @property
    def loaded(self) -> bool:
        """Whether an engine is there to ask."""
        return self._engine is not None

    def swap(self, engine: Engine | None) -> Engine | None:
        """Judge with `engine` from the next decision on; returns the old one, for closing.

        Decisions that are under way end with the engine they began with.
        """
        old, self._engine = self._engine, engine
        self._inline = engine if isinstance(engine, InlineEngine) else None
        return old

    async def decide(self, call: Call, grant: Grant | None, posture: Posture) -> Permit | Denial:
        """Judge `call` on behalf of `grant`.

        Never raises, except `CancelledError`, `KeyboardInterrupt` and `SystemExit`.
        """
        try:
            inline = self._inline
            if inline is not None and posture is _NORMAL:
                text = document(call, grant, posture, inline.needs)
                return _mint(call, grant, _verdict(inline.answer(text)))
            return await self._decide(self._engine, call, grant, posture)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a Rust panic is no Exception
            return _denial(call.id, error)

    async def _decide(
        self, engine: Engine | None, call: Call, grant: Grant | None, posture: Posture
    ) -> Permit | Denial:
        if posture is not Posture.NORMAL and posture is not Posture.DEGRADED:
            return Denial.of(Reason.SEALED_STARTING, call.id)
        if engine is None:
            return Denial.of(Reason.POLICY_NOT_LOADED, call.id)
        verdicts = [await self._ask(engine, call, grant, Posture.NORMAL)]
        if posture is Posture.DEGRADED:
            verdicts.append(await self._ask(engine, call, grant, Posture.DEGRADED))
        return _mint(call, grant, *verdicts)

    async def _ask(
        self, engine: Engine, call: Call, grant: Grant | None, posture: Posture
    ) -> Verdict:
        text = document(call, grant, posture, engine.needs)
        if isinstance(engine, InlineEngine):
            return _verdict(engine.answer(text))
        async with asyncio.timeout(self._timeout_s):
            return _verdict(await engine.evaluate(text))


def _verdict(answer: object) -> Verdict:
    """The allow in an engine's answer. Raises `Refusal`."""
    if answer is UNDEFINED:
        raise Refusal(Reason.POLICY_UNDEFINED)
    return read(answer)


def _denial(decision_id: str, error: BaseException) -> Denial:
    """The one table from what may go wrong to a denial."""
    match error:
        case Refusal(reason=reason, status=status):
            shown = reason.status if status is None else status
            return Denial(reason, decision_id, error.detail, shown, error.fields, error.body)
        case EngineFault() | Unreadable():
            return Denial.of(error.reason, decision_id, error.detail)
        case TimeoutError():
            return Denial.of(Reason.POLICY_TIMEOUT, decision_id)
        case Exception():
            return Denial.of(Reason.POLICY_ERROR, decision_id, type(error).__name__)
        case _:
            return Denial.of(Reason.POLICY_CRASHED, decision_id, type(error).__name__)


def _mint(call: Call, grant: Grant | None, *verdicts: Verdict) -> Permit:
    """Join the allows of `verdicts` into one permit.

    Raises:
        Refusal: a verdict widens the scope or an obligation cannot be met.
    """
    scope = _EMPTY if grant is None else grant.scope
    deadline_s: float | None = None
    fields: tuple[Field, ...] = tuple(call.fields)
    target = call.target
    response_fields: tuple[Field, ...] = ()
    for verdict in verdicts:
        scope &= _scope(call.gate, grant, verdict)
        if verdict.deadline_s is not None:
            deadline_s = min(verdict.deadline_s, deadline_s or verdict.deadline_s)
        if verdict.edits is not None:
            fields, target = apply(verdict.edits, fields, target)
            response_fields += verdict.edits.response
    permit: Permit = object.__new__(Permit)
    _set_call(permit, call)
    _set_grant(permit, grant)
    _set_fields(permit, fields)
    _set_target(permit, target)
    _set_scope(permit, scope)
    _set_decision_id(permit, call.id)
    _set_deadline_s(permit, deadline_s)
    _set_response_fields(permit, response_fields)
    _set_guards(permit, ())
    return permit


def _scope(gate: Gate, grant: Grant | None, verdict: Verdict) -> frozenset[str]:
    """What `verdict` hands on. No obligation: all inbound, nothing outbound (rule 2)."""
    held = _EMPTY if grant is None else grant.scope
    if verdict.scope is None:
        return held if gate is _INBOUND else _EMPTY
    if not verdict.scope <= held:
        raise Refusal(Reason.SCOPE_WIDENED, "policy hands on scope that is not held")
    return verdict.scope

"""Only a judge makes a permit, and only from an allow."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable

import pytest

from policy.call import Call, Gate, Grant, Posture
from policy.engines import UNDEFINED, EngineFault
from policy.input import Needs
from policy.permit import Denial, Judge, Permit
from policy.reason import Reason


class Panic(BaseException):
    """As pyo3's PanicException: no Exception."""


class Scripted:
    """An engine that gives one answer after another; an exception is raised."""

    def __init__(self, *answers: object, needs: Needs | None = None) -> None:
        self.answers = list(answers)
        self.needs = needs or Needs()
        self.asked: list[bytes] = []

    async def evaluate(self, document: bytes) -> object:
        return self.answer(document)

    def answer(self, document: bytes) -> object:
        self.asked.append(document)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def close(self) -> None: ...


async def decide(
    call: Call, grant: Grant | None, *answers: object, posture: Posture = Posture.NORMAL
) -> Permit | Denial:
    return await Judge(Scripted(*answers)).decide(call, grant, posture)


async def permitted(call: Call, grant: Grant | None, *answers: object) -> Permit:
    outcome = await decide(call, grant, *answers)
    assert isinstance(outcome, Permit)
    return outcome


async def denied(
    call: Call, grant: Grant | None, *answers: object, posture: Posture = Posture.NORMAL
) -> Reason:
    outcome = await decide(call, grant, *answers, posture=posture)
    assert isinstance(outcome, Denial)
    assert outcome.decision_id == call.id
    return outcome.reason


def test_nobody_else_constructs_a_permit() -> None:
    with pytest.raises(TypeError):
        Permit()
    with pytest.raises(TypeError):
        type.__call__(type(Permit), "Permit2", (Permit,), {})
    with pytest.raises(TypeError):
        setattr(Permit, "fields", ())  # noqa: B010 - the type checker refuses it too


def test_nobody_derives_from_a_permit() -> None:
    with pytest.raises(TypeError):
        type("Forged", (Permit,), {})


async def test_a_permit_is_immutable_and_not_copied(call: Call, grant: Grant) -> None:
    permit = await permitted(call, grant, True)
    with pytest.raises(AttributeError):
        permit.scope = frozenset({"admin"})
    with pytest.raises(AttributeError):
        del permit.scope
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(permit)
    assert "SECRET" not in repr(permit)


async def test_an_allow_forwards_what_was_judged(call: Call, grant: Grant) -> None:
    permit = await permitted(call, grant, True)
    assert permit.call is call
    assert permit.grant is grant
    assert permit.fields == tuple(call.fields)
    assert permit.target == call.target
    assert permit.decision_id == call.id
    assert (permit.deadline_s, permit.response_fields, permit.guards) == (None, (), ())


async def test_obligations_reach_the_permit(call: Call, grant: Grant) -> None:
    permit = await permitted(
        call,
        grant,
        {
            "allowed": True,
            "headers": {"x-a": "2"},
            "response_headers_to_add": {"x-r": "3"},
            "query_parameters_to_remove": ["page"],
            "narrowgate": {"deadline": 2},
        },
    )
    assert permit.fields == ((b"accept", b"*/*"), (b"x-a", b"2"))
    assert permit.response_fields == ((b"x-r", b"3"),)
    assert permit.target == "/orders/7"
    assert permit.deadline_s == 2.0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (False, Reason.POLICY_DENIED),
        (UNDEFINED, Reason.POLICY_UNDEFINED),
        (None, Reason.POLICY_MALFORMED),
        (1, Reason.POLICY_MALFORMED),
        ("true", Reason.POLICY_MALFORMED),
        ({"allowed": 1}, Reason.POLICY_MALFORMED),
        ({"allowed": True, "headers": {"host": "evil"}}, Reason.OBLIGATION_REFUSED),
        ({"allowed": True, "narrowgate": {"scope": ["admin"]}}, Reason.SCOPE_WIDENED),
        (EngineFault(Reason.POLICY_DISAGREED), Reason.POLICY_DISAGREED),
        (TimeoutError(), Reason.POLICY_TIMEOUT),
        (RuntimeError("x"), Reason.POLICY_ERROR),
        (MemoryError(), Reason.POLICY_ERROR),
        (Panic(), Reason.POLICY_CRASHED),
    ],
)
async def test_everything_else_is_a_denial(
    call: Call, grant: Grant, answer: object, reason: Reason
) -> None:
    assert await denied(call, grant, answer) is reason


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_cancellation_and_exit_pass_through(
    call: Call, error: Callable[[], BaseException]
) -> None:
    coroutine = decide(call, None, error())
    with pytest.raises(type(error())):
        coroutine.send(None)


async def test_scope_inbound_and_outbound(call: Call, grant: Grant) -> None:
    outbound = call._replace(gate=Gate.OUTBOUND)
    one = {"allowed": True, "narrowgate": {"scope": ["orders:read"]}}
    assert (await permitted(call, grant, True)).scope == grant.scope
    assert (await permitted(outbound, grant, True)).scope == frozenset()
    assert (await permitted(call, grant, one)).scope == {"orders:read"}
    assert (await permitted(outbound, grant, one)).scope == {"orders:read"}
    assert (await permitted(outbound, None, True)).scope == frozenset()
    assert await denied(outbound, None, one) is Reason.SCOPE_WIDENED


async def test_a_sealed_gate_asks_nobody(call: Call, grant: Grant) -> None:
    engine = Scripted(True)
    outcome = await Judge(engine).decide(call, grant, Posture.SEALED)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.SEALED_STARTING
    assert engine.asked == []


async def test_an_unknown_posture_is_sealed(call: Call, grant: Grant) -> None:
    assert await denied(call, grant, True, posture="normal ") is Reason.SEALED_STARTING  # type: ignore[arg-type]


async def test_degraded_asks_twice_and_joins_by_and(call: Call, grant: Grant) -> None:
    first = {"allowed": True, "narrowgate": {"scope": ["orders:read"], "deadline": 5}}
    second = {"allowed": True, "narrowgate": {"scope": ["payments:charge"], "deadline": 3}}
    engine = Scripted(first, second, needs=Needs(facts=frozenset({"posture"})))
    permit = await Judge(engine).decide(call, grant, Posture.DEGRADED)
    assert isinstance(permit, Permit)
    assert permit.scope == frozenset()
    assert permit.deadline_s == 3.0
    assert b'"posture":"normal"' in engine.asked[0]
    assert b'"posture":"degraded"' in engine.asked[1]


@pytest.mark.parametrize("answers", [(True, False), (False, True), (True, UNDEFINED)])
async def test_degraded_needs_both(call: Call, grant: Grant, answers: tuple[object, ...]) -> None:
    outcome = await decide(call, grant, *answers, posture=Posture.DEGRADED)
    assert isinstance(outcome, Denial)


async def test_no_policy_denies(call: Call, grant: Grant) -> None:
    judge = Judge(None)
    assert judge.needs == Needs()
    assert not judge.loaded
    outcome = await judge.decide(call, grant, Posture.NORMAL)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.POLICY_NOT_LOADED


async def test_swapping_gives_the_old_engine_back(call: Call) -> None:
    first, second = Scripted(True), Scripted(False, needs=Needs(query=True))
    judge = Judge(first)
    assert isinstance(await judge.decide(call, None, Posture.NORMAL), Permit)
    assert judge.swap(second) is first
    assert judge.needs.query
    assert isinstance(await judge.decide(call, None, Posture.NORMAL), Denial)
    assert judge.swap(None) is second


async def test_an_inline_engine_is_never_waited_for(call: Call) -> None:
    class Inline(Scripted):
        async def evaluate(self, document: bytes) -> object:
            raise AssertionError("an inline engine is asked for its answer")

    for posture in (Posture.NORMAL, Posture.DEGRADED):
        step = Judge(Inline(True, True)).decide(call, None, posture)
        with pytest.raises(StopIteration) as stop:
            step.send(None)
        assert isinstance(stop.value.value, Permit)


async def test_swapping_away_an_inline_engine_stops_asking_it(call: Call) -> None:
    judge = Judge(Scripted(True))
    judge.swap(None)
    outcome = await judge.decide(call, None, Posture.NORMAL)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.POLICY_NOT_LOADED


async def test_a_slow_engine_times_out(call: Call) -> None:
    class Slow:
        needs = Needs()

        async def evaluate(self, document: bytes) -> object:
            await asyncio.Event().wait()
            return True

        async def close(self) -> None: ...

    outcome = await Judge(Slow(), timeout_s=0.001).decide(call, None, Posture.NORMAL)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.POLICY_TIMEOUT


async def test_an_unbuffered_or_cut_body_that_policy_reads_denies(call: Call) -> None:
    judge = Judge(Scripted(True, True, needs=Needs(parsed_body=True)))
    unbuffered = await judge.decide(call._replace(size=5), None, Posture.NORMAL)
    cut = await judge.decide(
        call._replace(size=9, body=b"{}", truncated=True), None, Posture.NORMAL
    )
    assert isinstance(unbuffered, Denial)
    assert unbuffered.reason is Reason.POLICY_ERROR
    assert isinstance(cut, Denial)
    assert cut.reason is Reason.BODY_TOO_LARGE


def test_a_timeout_is_positive() -> None:
    for timeout_s in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            Judge(None, timeout_s=timeout_s)


def test_a_denial_of_a_reason() -> None:
    denial = Denial.of(Reason.PEER_EXPIRED, "d", "why")
    assert (denial.status, denial.fields, denial.body) == (403, (), None)

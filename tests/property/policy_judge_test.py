"""Whatever an engine answers: no scope from nothing, none beyond the grant, none from degrading."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ca.spiffe.ids import SpiffeId
from policy.call import Call, Gate, Grant, Posture
from policy.engines import UNDEFINED
from policy.input import Needs
from policy.permit import Denial, Judge, Permit

ME = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
PEER = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/frontend")
ATOMS = ["a", "b", "c", "admin"]

scopes = st.frozensets(st.sampled_from(ATOMS))
gates = st.sampled_from(list(Gate))
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
obligations = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.lists(st.sampled_from(ATOMS), max_size=4) | junk,
        "deadline": st.floats(0.1, 10) | junk,
        "guards": junk,
    },
)
objects = st.fixed_dictionaries(
    {"allowed": st.booleans() | junk},
    optional={"headers": junk, "narrowgate": obligations, "http_status": junk, "body": junk},
)
answers = st.booleans() | st.just(UNDEFINED) | objects | junk


class Scripted:
    """Answers by posture."""

    needs = Needs(facts=frozenset({"posture"}))

    def __init__(self, normal: object, degraded: object) -> None:
        self.normal, self.degraded = normal, degraded

    async def evaluate(self, document: bytes) -> object:
        return self.answer(document)

    def answer(self, document: bytes) -> object:
        return self.degraded if b'"posture":"degraded"' in document else self.normal

    async def close(self) -> None: ...


def call(gate: Gate) -> Call:
    here = ("127.0.0.1", 1)
    line = ("GET", "/", "/", "", "h", "HTTP/1.1")
    return Call(gate, "d", 0.0, *line, [], 0, None, False, PEER, here, ME, here, ME)


def granted(scope: frozenset[str] | None) -> Grant | None:
    if scope is None:
        return None
    rest: dict[str, Any] = {"context": {}, "root": "r", "chain": "c", "expires_at_s": 1.0}
    return Grant(
        txn="t", subject="s", scope=scope, requesting_workload=PEER, issuer=PEER, hops=(), **rest
    )


def decide(engine: Scripted, gate: Gate, grant: Grant | None, posture: Posture) -> Permit | Denial:
    """An inline engine never waits, so one step is the whole decision."""
    try:
        Judge(engine).decide(call(gate), grant, posture).send(None)
    except StopIteration as stop:
        outcome = stop.value
        if isinstance(outcome, Permit | Denial):
            return outcome
    raise AssertionError("a decision is a permit or a denial")


@given(answers, gates, st.none() | scopes)
def test_scope_never_exceeds_the_grant(
    answer: object, gate: Gate, scope: frozenset[str] | None
) -> None:
    outcome = decide(Scripted(answer, answer), gate, granted(scope), Posture.NORMAL)
    if isinstance(outcome, Permit):
        assert outcome.scope <= (scope or frozenset())


@given(answers, gates)
def test_no_grant_no_scope(answer: object, gate: Gate) -> None:
    outcome = decide(Scripted(answer, answer), gate, None, Posture.NORMAL)
    assert isinstance(outcome, Denial) or outcome.scope == frozenset()


@given(answers, answers, gates, st.none() | scopes)
def test_degraded_only_subtracts(
    normal: object, degraded: object, gate: Gate, scope: frozenset[str] | None
) -> None:
    engine, grant = Scripted(normal, degraded), granted(scope)
    before = decide(engine, gate, grant, Posture.NORMAL)
    after = decide(engine, gate, grant, Posture.DEGRADED)
    if isinstance(after, Permit):
        assert isinstance(before, Permit)
        assert after.scope <= before.scope
        if before.deadline_s is not None:
            assert after.deadline_s is not None
            assert after.deadline_s <= before.deadline_s


@given(answers, gates, st.none() | scopes)
def test_sealed_denies_everything(answer: object, gate: Gate, scope: frozenset[str] | None) -> None:
    outcome = decide(Scripted(answer, answer), gate, granted(scope), Posture.SEALED)
    assert isinstance(outcome, Denial)


@given(junk | objects)
def test_only_an_exact_allow_permits(answer: Any) -> None:
    outcome = decide(Scripted(answer, answer), Gate.INBOUND, None, Posture.NORMAL)
    if isinstance(outcome, Permit):
        assert answer is True or (isinstance(answer, dict) and answer["allowed"] is True)

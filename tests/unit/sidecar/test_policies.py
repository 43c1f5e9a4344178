"""Both gates get a policy or neither does, and what is in force stays until something better is."""

from __future__ import annotations

import asyncio

import pytest

from policy.bundle import PolicyBundle, PolicyError, Problem
from policy.engines import Engine, EngineFault
from policy.input import EVERYTHING, Needs
from policy.permit import Judge
from policy.reason import Reason
from sidecar import policies
from sidecar.policies import Compile, Policies

IN, OUT = "envoy/authz/allow", "narrowgate/outbound/allow"


def bundle(name: str) -> PolicyBundle:
    """A bundle with a revision of its own."""
    return PolicyBundle.of({f"{name}.rego": f"package {name}"}, {})


FIRST, SECOND = bundle("first"), bundle("second")


class Plain:
    """An engine that remembers what it is and whether it was closed."""

    needs: Needs = EVERYTHING

    def __init__(self, of: PolicyBundle, decision: str) -> None:
        self.of = of
        self.decision = decision
        self.closed = False

    async def evaluate(self, document: bytes) -> object:
        return True

    async def close(self) -> None:
        self.closed = True


class Workshop:
    """Makes engines, as long as it is not told to fail for a decision."""

    def __init__(self) -> None:
        self.made: list[Plain] = []
        self.failures: dict[str, list[BaseException]] = {}
        self.hangs = False
        self.hanging = asyncio.Event()

    async def __call__(self, of: PolicyBundle, decision: str) -> Engine:
        if self.hangs and decision == OUT:
            self.hanging.set()
            await asyncio.Event().wait()
        if self.failures.get(decision):
            raise self.failures[decision].pop()
        self.made.append(Plain(of, decision))
        return self.made[-1]


class Bench:
    """Policies with two judges."""

    def __init__(self) -> None:
        self.workshop = Workshop()
        self.judges = (Judge(None), Judge(None))
        compile_engine: Compile = self.workshop
        self.policies = Policies(compile_engine, (self.judges[0], IN), (self.judges[1], OUT))

    async def offer(self, of: PolicyBundle | None) -> None:
        self.policies.offer(of)
        async with asyncio.timeout(30):
            await self.policies.settled()

    @property
    def in_force(self) -> list[PolicyBundle | None]:
        """What each gate judges by; looks by swapping out and in again."""
        found: list[PolicyBundle | None] = []
        for judge in self.judges:
            engine = judge.swap(None)
            judge.swap(engine)
            found.append(engine.of if isinstance(engine, Plain) else None)
        return found


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def refusal() -> PolicyError:
    return PolicyError([Problem("p.rego", 1, "no")])


async def test_both_gates_are_served(bench: Bench) -> None:
    await bench.offer(FIRST)
    assert bench.in_force == [FIRST, FIRST]
    assert [engine.decision for engine in bench.workshop.made] == [IN, OUT]
    assert bench.policies.revision == FIRST.revision


async def test_the_same_again_changes_nothing(bench: Bench) -> None:
    await bench.offer(FIRST)
    await bench.offer(FIRST)
    assert len(bench.workshop.made) == 2


async def test_the_old_engines_are_closed(bench: Bench) -> None:
    await bench.offer(FIRST)
    await bench.offer(SECOND)
    assert bench.in_force == [SECOND, SECOND]
    assert [engine.closed for engine in bench.workshop.made] == [True, True, False, False]


@pytest.mark.parametrize("failure", [refusal(), ValueError("broken"), BaseException("a panic")])
async def test_refused_for_one_gate_is_refused_for_both(
    bench: Bench, failure: BaseException
) -> None:
    await bench.offer(FIRST)
    bench.workshop.failures[OUT] = [failure]
    await bench.offer(SECOND)
    assert bench.in_force == [FIRST, FIRST]
    assert (bench.policies.revision, bench.policies.refused) == (FIRST.revision, 1)
    assert [engine.closed for engine in bench.workshop.made] == [False, False, True]


async def test_no_policy_denies(bench: Bench) -> None:
    await bench.offer(FIRST)
    await bench.offer(None)
    assert (bench.in_force, bench.policies.revision) == ([None, None], "")


async def test_an_engine_that_cannot_be_asked_yet_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "AGAIN_S", 0.0)
    gone = [EngineFault(Reason.POLICY_UNAVAILABLE) for _ in range(3)]
    bench.workshop.failures[OUT] = list(gone)
    await bench.offer(FIRST)
    assert bench.in_force == [FIRST, FIRST]
    assert bench.policies.refused == len(gone)


async def test_closing_breaks_off_what_is_being_made(bench: Bench) -> None:
    bench.workshop.hangs = True
    bench.policies.offer(FIRST)
    async with asyncio.timeout(30):
        await bench.workshop.hanging.wait()
    await bench.policies.close()
    assert bench.in_force == [None, None]
    assert [engine.closed for engine in bench.workshop.made] == [True]


async def test_closing_denies_everything(bench: Bench) -> None:
    await bench.offer(FIRST)
    await bench.policies.close()
    assert bench.in_force == [None, None]
    assert all(engine.closed for engine in bench.workshop.made)

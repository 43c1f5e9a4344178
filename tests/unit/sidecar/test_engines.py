"""The engine that the configuration asks for; and nothing stays open when it does not come up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policy.bundle import PolicyBundle, PolicyError
from policy.engines import EngineFault
from policy.engines.opa import OpaEngine
from policy.engines.regorus import RegorusEngine
from sidecar.config import Policy
from sidecar.engines import compiler

DECISION = "envoy/authz/allow"
GOOD = PolicyBundle.of({"p.rego": "package envoy.authz\n\nallow := false\n"}, {})


def settings(**more: Any) -> Policy:
    """The policy section with `more`."""
    return Policy.model_validate({"source": "authority", **more})


async def test_the_embedded_engine() -> None:
    engine = await compiler(settings(engine="regorus"))(GOOD, DECISION)
    assert isinstance(engine, RegorusEngine)
    assert await engine.evaluate(b"{}") is False


async def test_the_embedded_engine_refuses_a_bad_policy() -> None:
    bad = PolicyBundle.of({"p.rego": "package envoy.authz\n\nallow if {"}, {})
    with pytest.raises(PolicyError):
        await compiler(settings(engine="regorus"))(bad, DECISION)


async def test_an_opa_that_is_not_there_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[OpaEngine] = []
    close = OpaEngine.close

    async def noted(engine: OpaEngine) -> None:
        closed.append(engine)
        await close(engine)

    monkeypatch.setattr(OpaEngine, "close", noted)
    load = compiler(settings(engine="opa", opa={"address": f"unix:{tmp_path / 'none'}"}))
    with pytest.raises(EngineFault):
        await load(GOOD, DECISION)
    assert len(closed) == 1

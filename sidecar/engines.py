"""Which policy engine this gate asks, as its configuration says."""

from __future__ import annotations

from pathlib import Path

from policy.bundle import PolicyBundle, PolicyError
from policy.engines import Engine
from policy.loading import compile_engine
from sidecar.config import Policy
from sidecar.policies import Compile


def compiler(settings: Policy, *, first: bool = True) -> Compile:
    """What makes an engine for a bundle and a decision.

    Of the workers of one sidecar only the `first` writes into an OPA that they share.
    """
    if settings.engine == "opa":
        return _opa(settings, first=first)
    return _embedded


async def _embedded(bundle: PolicyBundle, decision: str) -> Engine:
    return compile_engine(bundle, decision)


def _opa(settings: Policy, *, first: bool) -> Compile:
    where = settings.opa
    if where is None:
        raise PolicyError([])

    async def load(bundle: PolicyBundle, decision: str) -> Engine:
        from policy.engines.opa import OpaEngine  # noqa: PLC0415 - its client weighs

        address = where.address
        url = f"unix:{address}" if isinstance(address, Path) else f"http://{address}"
        engine = OpaEngine(url, decision, timeout_s=where.timeout_s, writes=first)
        try:
            await engine.load(bundle)
        except BaseException:  # whatever it is, the connections go with it
            await engine.close()
            raise
        return engine

    return load

"""From a policy bundle to the embedded engine that judges by it."""

from __future__ import annotations

from policy.bundle import PolicyBundle
from policy.engines import InlineEngine


def compile_engine(bundle: PolicyBundle, decision: str) -> InlineEngine:
    """The embedded engine for `decision` (`envoy/authz/allow`) of `bundle`.

    Raises:
        PolicyError: the policy is refused; every problem with its file and line.
    """
    from policy.engines.regorus import RegorusEngine  # noqa: PLC0415 - loads a large library

    return RegorusEngine.load(bundle, decision)

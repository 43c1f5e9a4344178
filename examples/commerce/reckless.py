"""A sidecar that takes any policy, for the drill: `python -m examples.commerce.reckless run ...`.

Everything is the real sidecar, but for the lint that refuses a policy by which the embedded engine
could panic. What is behind the lint has to hold alone, and this is how the demo shows it.
"""

from __future__ import annotations

import sys

from policy import lint
from policy.bundle import PolicyBundle, PolicyError
from policy.engines import Engine
from policy.engines.regorus import RegorusEngine
from sidecar import engines
from sidecar.cli import main


async def unlinted(bundle: PolicyBundle, decision: str) -> Engine:
    """The engine for `decision` of `bundle`, however unsafe its functions are."""
    modules, problems = lint.read_modules(bundle)
    if problems:
        raise PolicyError(problems)
    rule = ".".join(("data", *decision.split("/")))
    return RegorusEngine(modules, bundle.data, rule, lint.needs(modules))


if __name__ == "__main__":
    engines._embedded = unlinted
    sys.exit(main())

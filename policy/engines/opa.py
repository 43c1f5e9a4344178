"""The engine that asks a real OPA, over a unix socket or HTTP on this host.

OPA starts empty and takes modules one by one, so a policy is in force there only when its *gate*
is: a module that is put last, deleted first, and named after the revision. A decision is asked
through it, and OPA evaluates on one snapshot: an OPA that was started again, is being loaded, or
holds another policy has no such gate, and the answer is a fault instead of half a policy's allow.

Invariants: one try per decision, within our own deadline; nothing but a 200 with a JSON object is
an answer; an OPA that lost the policy is given it again before it is asked (one attempt at a time,
one a second), and every decision meanwhile is `policy_unavailable`; of the engines of one process
only those of the newest policy do so.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import logging
import re
from contextlib import suppress
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import orjson

from policy import lint
from policy.bundle import PolicyBundle, PolicyError, Problem
from policy.engines import UNDEFINED, EngineFault
from policy.engines.opa_rest import OpaRest, json_object
from policy.input import EVERYTHING, Needs
from policy.reason import Reason

RELOAD_S: Final = 1.0
"""The least time between two attempts to give OPA its policy again."""

_LOAD_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05
_MODULES: Final = "narrowgate/"
_GATES: Final = "narrowgate-gates/"
_OK: Final = 200
_FAILED: Final = frozenset({400, 500})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

log = logging.getLogger("narrowgate.policy")


class _Gate(NamedTuple):
    """The module through which one decision of one revision is asked."""

    revision_prefix: str
    name: str
    path: str
    source: str

    @classmethod
    def of(cls, revision: str, decision: str) -> _Gate:
        """For one decision of the bundle of that revision."""
        one = hashlib.sha256(revision.encode()).hexdigest()[:32]
        two = hashlib.sha256(decision.encode()).hexdigest()[:16]
        rule = "".join(f"[{json.dumps(name)}]" for name in decision.split("/"))
        package = f"narrowgate_gates.r{one}_{two}"
        source = f"package {package}\n\npresent := true\n\nresult := data{rule}\n"
        prefix = f"{_GATES}{one}/"
        return cls(prefix, f"{prefix}{two}.rego", f"data/{package.replace('.', '/')}", source)


class _NotHeld(EngineFault):
    """OPA does not have our gate."""

    def __init__(self) -> None:
        super().__init__(Reason.POLICY_UNAVAILABLE, "OPA does not hold the policy")


class _Shared:
    """What the engines of one process that use one OPA have in common."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.holders: list[OpaEngine] = []

    def newest(self) -> str | None:
        """The revision that OPA is to hold."""
        return self.holders[-1].revision if self.holders else None


_shared: WeakValueDictionary[str, _Shared] = WeakValueDictionary()


class OpaEngine:
    """One decision of the policy in a running OPA."""

    def __init__(
        self,
        address: str,
        decision: str,
        *,
        timeout_s: float = 0.25,
        needs: Needs = EVERYTHING,
        writes: bool = True,
    ) -> None:
        """An engine that asks the OPA at `unix:/path` or `http://127.0.0.1:8181`.

        Without `load` it asks for a policy that somebody else gave to OPA. `needs` is what that
        policy reads; everything, unless `load` finds out. Of several processes at one OPA exactly
        one `writes`; `load` of the others waits until the policy is there.

        Raises:
            ValueError: the address is neither a socket path nor HTTP on loopback, or the decision
                is no path of names.
        """
        if not all(map(_NAME.match, decision.split("/"))):
            raise ValueError(f"`{decision}` is not a decision path")
        if not timeout_s > 0:
            raise ValueError("timeout_s must be positive")
        self._rest: Final = OpaRest(address)
        self._shared: Final = _shared.setdefault(address, _Shared())
        self._decision: Final = decision
        self._timeout_s: Final = timeout_s
        self._writes: Final = writes
        self._needs = needs
        self._bundle: PolicyBundle | None = None
        self._path = f"data/{decision}"
        self._lost = False
        self._reloading: asyncio.Task[bool] | None = None
        self._again_at_s = 0.0
        self.revision: str | None = None
        """The revision that this engine gave to OPA, or is about to."""

    @property
    def needs(self) -> Needs:
        """What the policy reads of its input."""
        return self._needs

    async def load(self, bundle: PolicyBundle) -> None:
        """Give OPA the modules and data of `bundle` instead of what it had from us.

        From the beginning of it until it succeeds, every engine at this OPA is without a policy.

        Raises:
            PolicyError: OPA does not take them; every problem OPA names.
            EngineFault: OPA cannot be asked.
        """
        before = self.revision
        self._hold(bundle.revision)
        try:
            await self._load(bundle)
        except BaseException:
            self._hold(before)
            raise
        self._bundle = bundle
        self._path = _Gate.of(bundle.revision, self._decision).path
        self._lost = False
        modules, unparsed = lint.read_modules(bundle)
        self._needs = EVERYTHING if unparsed else lint.needs(modules)

    async def evaluate(self, document: bytes) -> object:
        """The decision for `document`.

        Raises:
            EngineFault: policy_unavailable, policy_timeout, policy_malformed or policy_error.
        """
        body = b'{"input":' + document + b"}"
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._answer(body)
        except TimeoutError:
            reason = Reason.POLICY_UNAVAILABLE if self._lost else Reason.POLICY_TIMEOUT
            raise EngineFault(reason, "OPA did not answer in time") from None

    async def close(self) -> None:
        """Close the connections to OPA; the policy stays in it. Idempotent."""
        self._hold(None)
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.wait([self._reloading])
        await self._rest.close()

    async def _answer(self, body: bytes) -> object:
        """Ask; when OPA turns out not to have the policy, give it and ask once more."""
        if not self._lost:
            with suppress(_NotHeld):
                return await self._ask(body)
        if not await self._recovered():
            raise _NotHeld
        return await self._ask(body)

    async def _ask(self, body: bytes) -> object:
        try:
            status, answer = await self._rest.call("POST", self._path, body)
        except EngineFault as fault:
            self._lost = self._bundle is not None and fault.reason is Reason.POLICY_UNAVAILABLE
            raise
        if status != _OK:
            reason = Reason.POLICY_ERROR if status in _FAILED else Reason.POLICY_UNAVAILABLE
            raise EngineFault(reason, f"OPA answered {status}")
        value = json_object(answer).get("result", UNDEFINED)
        if self._bundle is None:
            return value
        if not isinstance(value, dict) or value.get("present") is not True:
            self._lost = True
            raise _NotHeld
        return value.get("result", UNDEFINED)

    # Giving OPA its policy

    def _hold(self, revision: str | None) -> None:
        """Be the newest engine at this OPA with `revision`, or with `None` none at all."""
        holders = self._shared.holders
        if self in holders:
            holders.remove(self)
        self.revision = revision
        if revision is not None:
            holders.append(self)

    async def _load(self, bundle: PolicyBundle) -> None:
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT_S):
                put = self._put_all if self._writes else self._put_by_another
                problems = await put(bundle)
        except TimeoutError:
            raise EngineFault(Reason.POLICY_TIMEOUT, "OPA did not load in time") from None
        if problems:
            raise PolicyError(problems)

    async def _put_all(self, bundle: PolicyBundle) -> list[Problem]:
        gate = _Gate.of(bundle.revision, self._decision)
        async with self._shared.lock:
            names = await self._rest.policies()
            if not any(name.startswith(gate.revision_prefix) for name in names):
                problems = await self._replace_all(names, bundle)
                if problems:
                    return problems
            return await self._rest.put_policy(gate.name, "policy", gate.source)

    async def _put_by_another(self, bundle: PolicyBundle) -> list[Problem]:
        """Wait until it is there; OPA tells nobody."""
        gate = _Gate.of(bundle.revision, self._decision)
        for pause_s in itertools.repeat(_POLL_S):
            if gate.name in await self._rest.policies():
                break
            await asyncio.sleep(pause_s)
        return []

    async def _replace_all(self, names: list[str], bundle: PolicyBundle) -> list[Problem]:
        for prefix in (_GATES, _MODULES):  # the gates first: what has none is not asked
            await self._delete([name for name in names if name.startswith(prefix)])
        problems = await self._rest.put_data(orjson.dumps(bundle.data))
        if problems:
            return problems
        return await self._put_modules(dict(bundle.modules))

    async def _delete(self, names: list[str]) -> None:
        """Delete all of them, again and again while that helps: who is called goes last."""
        while names:
            left = [name for name in names if not await self._rest.delete_policy(name)]
            if len(left) == len(names):
                raise EngineFault(Reason.POLICY_UNAVAILABLE, "OPA keeps an earlier policy")
            names = left

    async def _put_modules(self, pending: dict[str, str]) -> list[Problem]:
        """Put all of them, again and again while that helps: who calls must come after."""
        while pending:
            refused: list[Problem] = []
            left: dict[str, str] = {}
            for file, source in pending.items():
                found = await self._rest.put_policy(f"{_MODULES}{file}", file, source)
                if found:
                    refused += found
                    left[file] = source
            if len(left) == len(pending):
                return refused
            pending = left
        return []

    async def _recovered(self) -> bool:
        """Whether OPA has the policy again; one attempt at a time, and one a second."""
        if self._reloading is None or self._reloading.done():
            now_s = asyncio.get_running_loop().time()
            if self._bundle is None or self._rest.closed or now_s < self._again_at_s:
                return False
            self._again_at_s = now_s + RELOAD_S
            reload = self._reload(self._bundle)
            self._reloading = asyncio.get_running_loop().create_task(reload)
        return await asyncio.shield(self._reloading)

    async def _reload(self, bundle: PolicyBundle) -> bool:
        if self._shared.newest() != bundle.revision:
            return False
        try:
            await self._load(bundle)
        except (EngineFault, PolicyError) as error:
            log.warning("OPA lost policy %s and does not take it: %s", bundle.revision[:12], error)
            return False
        log.info("OPA was given policy %s again", bundle.revision[:12])
        self._lost = False
        return True

"""Group 6: the policy engine made to fail, hang and panic; the OPA process killed.

The policy of notifications holds a fire drill (policy/notifications/drill.rego) that a caller
starts with `x-drill`. The ledger is judged by a real OPA.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.commerce import opa, records
from examples.commerce.client import Answer, get, plain
from examples.commerce.mesh import Mesh
from examples.commerce.scenarios.outcome import Group, Outcome, Scenario
from examples.commerce.topology import POLICIES, spiffe_id


def _health(mesh: Mesh, name: str, **fields: str) -> Answer:
    """Ask for the health of a service through its inbound gate, as a second orders."""
    port = mesh.places[name].inbound
    return mesh.identity("orders").call(port, get("/healthz", fields))


def _drill(mesh: Mesh, kind: str) -> str:
    """Start a drill, then ask again without one until the gate serves."""
    drilled = _health(mesh, "notifications", **{"x-drill": kind})
    after = mesh.until(lambda: _health(mesh, "notifications"), "200")
    return f"{drilled}, then {after}"


def failing(mesh: Mesh) -> Outcome:
    """Evaluation fails with an error; the next decision is good."""
    return Outcome("503 policy_error, then 200", _drill(mesh, "error"))


def hanging(mesh: Mesh) -> Outcome:
    """Evaluation hangs; the next decision is good."""
    return Outcome("503 policy_timeout, then 200", _drill(mesh, "hang"))


def unsafe_policy(mesh: Mesh) -> Outcome:
    """A policy by which the engine could panic is refused; the old one stays."""
    log = mesh.processes.log_path("notifications")
    offset = records.size(log)
    with _panicking_policy(mesh):
        refused = records.await_line(log, "strings.count", offset)
        after = _health(mesh, "notifications")
    verdict = "refused" if "is refused" in refused else f"not refused ({refused})"
    return Outcome("refused, 200", f"{verdict}, {after}")


def panicking(mesh: Mesh) -> Outcome:
    """The same where nothing refuses it: the engine panics; the next decision is good."""
    with _panicking_policy(mesh):
        mesh.restart_sidecar("notifications", module="examples.commerce.reckless")
        drilled = _drill(mesh, "panic")
    mesh.restart_sidecar("notifications")
    return Outcome("503 policy_crashed, then 200", drilled)


@contextmanager
def _panicking_policy(mesh: Mesh) -> Iterator[None]:
    """Notifications has a policy that can be made to panic, and its own again afterwards."""
    workload = spiffe_id("notifications")
    with tempfile.TemporaryDirectory() as folder:
        bad = Path(folder) / "notifications"
        shutil.copytree(POLICIES / "notifications", bad)
        shutil.copy(POLICIES / "drill" / "panic.rego", bad)
        mesh.ca("policy", "set", "--id", workload, str(bad))
    try:
        yield
    finally:
        mesh.ca("policy", "set", "--id", workload, str(POLICIES / "notifications"))


def opa_killed(mesh: Mesh) -> Outcome:
    """OPA killed under the ledger's gate, and started again."""
    before = mesh.until(lambda: _health(mesh, "ledger"), "200")
    mesh.processes.kill("opa")
    try:
        killed = _health(mesh, "ledger")
    finally:
        mesh.start_opa()
    again = mesh.until(lambda: _health(mesh, "ledger"), "200")
    expected = "200, 503 policy_unavailable, 200"
    return Outcome(expected, f"{before}, {killed}, {again}")


def nothing_written_without_opa(mesh: Mesh) -> Outcome:
    """A purchase while OPA is dead: refused, and nothing written in the ledger."""
    ledger = mesh.places["ledger"].application
    before = plain(ledger, get("/balance")).json()
    mesh.processes.kill("opa")
    try:
        answer = mesh.buy()
    finally:
        mesh.start_opa()
    same = before == plain(ledger, get("/balance")).json()
    again = mesh.until(mesh.buy, "201")
    written = "nothing written" if same else "WRITTEN"
    return Outcome("502, nothing written, then 201", f"{answer}, {written}, then {again}")


def _needing_opa(scenario: Scenario) -> Scenario:
    """The scenario, or its skipped form on a machine without OPA (a failure in CI)."""

    def guarded(mesh: Mesh) -> Outcome:
        if mesh.opa_binary is not None:
            return scenario(mesh)
        missing = "no opa binary (NARROWGATE_OPA)"
        return Outcome("an opa binary", missing, skipped=not opa.required())

    guarded.__doc__ = scenario.__doc__
    return guarded


GROUP = Group(
    6,
    "the policy engine fails, hangs, panics, is killed",
    [
        failing,
        hanging,
        unsafe_policy,
        panicking,
        _needing_opa(opa_killed),
        _needing_opa(nothing_written_without_opa),
    ],
)

"""Bad days with real processes: what a gate depends on goes away, and comes back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.http_peer import OK, App, Client, Message, call, encode
from tests.support.mesh import ALLOW_ALL, HAND_ON_ALL, POLL_S, SERVE, START_S, Mesh, Sidecar

DENY_ALL = "package envoy.authz\n\nimport rego.v1\n\ndefault allow := false\n\nallow if 1 == 2\n"
BROKEN = "package envoy.authz\n\nallow if {\n"
SHORT_S = 5
"""The shortest life of an SVID that the authority gives."""


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    made = Mesh(tmp_path, heartbeat_s=0.2)
    try:
        await made.start_authority()
        yield made
    finally:
        made.close()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made = await App().start()
    yield made
    made.stop()


def by_socket(mesh: Mesh) -> dict[str, object]:
    """Attestation by the kernel, which can be done again."""
    return {
        "address": f"127.0.0.1:{mesh.authority_port}",
        "bundle_file": str(mesh.bundle_file),
        "attestor": "unix",
        "socket": str(mesh.socket),
    }


async def settled(
    what: Callable[[], Awaitable[bool]], said: str, within_s: float = START_S
) -> None:
    async with asyncio.timeout(within_s):
        while not await what():
            assert said
            await asyncio.sleep(POLL_S)


async def posture(sidecar: Sidecar) -> str:
    answer = await sidecar.get(sidecar.metrics, "/metrics")
    text = "" if answer is None else answer.body.decode()
    found = re.search(
        r'^narrowgate_posture\{.*?posture="(\w+)".*?\} 1(?:\.0)?$', text, re.MULTILINE
    )
    return found[1] if found else ""


async def becomes(sidecar: Sidecar, expected: str) -> None:
    async def is_it() -> bool:
        return await posture(sidecar) == expected

    await settled(is_it, expected)


async def pair(mesh: Mesh, app: App, **options: object) -> tuple[Sidecar, Sidecar]:
    callee = mesh.add("callee", app.port, **options)
    caller = mesh.add("caller", app.port, **options)
    await mesh.start(callee, caller)
    return caller, callee


async def test_the_authority_dies_and_comes_back(mesh: Mesh, app: App) -> None:
    caller, callee = await pair(mesh, app, posture={"degraded_after_s": 1})
    await becomes(caller, "normal")
    await mesh.authority.kill()
    await becomes(caller, "degraded")
    await becomes(callee, "degraded")
    assert (await call(caller.outbound, "GET", "/x")).status == 200
    assert await caller.is_ready(), "an outage of the authority takes nobody out of the balance"
    await mesh.start_authority()
    await becomes(caller, "normal")
    await becomes(callee, "normal")
    assert (await call(caller.outbound, "GET", "/x")).status == 200


async def test_identity_works_until_it_expires_then_nothing_does_then_it_heals(
    mesh: Mesh, app: App
) -> None:
    callee = mesh.add("callee", app.port)
    selector = ("--selector", f"unix:uid:{os.getuid()}")
    caller = mesh.add(
        "caller", app.port, entry=selector, svid_lifetime_s=SHORT_S, authority=by_socket(mesh)
    )
    await mesh.start(callee, caller)
    await mesh.authority.kill()
    assert (await call(caller.outbound, "GET", "/x")).status == 200
    await becomes(caller, "sealed")
    answer = await call(caller.outbound, "GET", "/x")
    assert (answer.status, answer.reason) == (503, "sealed_identity")
    assert not await caller.is_ready()
    live = await caller.get(caller.health, "/live")
    assert live is not None
    assert live.status == 200
    await mesh.start_authority()
    await caller.ready()
    assert (await call(caller.outbound, "GET", "/x")).status == 200


async def test_rotation_under_load_fails_no_request(mesh: Mesh, app: App) -> None:
    """SVIDs of both sides live for seconds; kept connections outlive several of them."""
    caller, callee = await pair(mesh, app, svid_lifetime_s=SHORT_S)
    answers: dict[str, int] = {}
    done = asyncio.Event()

    async def load() -> None:
        async with await Client.open(caller.outbound) as client:
            while not done.is_set():
                answer = await client.request("POST", "/x", [], b"body")
                key = f"{answer.status} {answer.reason}"
                answers[key] = answers.get(key, 0) + 1

    def rotations() -> int:
        return min(one.text().count("SVID serial") for one in (caller, callee))

    tasks = [asyncio.create_task(load()) for _ in range(4)]

    async def rotated() -> bool:
        return rotations() >= 5

    try:
        await settled(rotated, "five generations on both sides", 60)
    finally:
        done.set()
        await asyncio.gather(*tasks)
    assert set(answers) == {"200 "}, answers
    assert answers["200 "] > 100
    assert rotations() < 40, "a short life is no reason to renew without a pause"


async def test_a_revoked_workload_is_refused_and_renews_no_more(mesh: Mesh, app: App) -> None:
    caller, callee = await pair(mesh, app, svid_lifetime_s=SHORT_S)
    async with await Client.open(caller.outbound) as client:
        assert (await client.request("GET", "/x")).status == 200
        mesh.ca("revoke", "--workload", caller.id)

        async def refused() -> bool:
            answer = await client.request("GET", "/x")
            return answer.status == 403

        await settled(refused, "the callee knows of the revocation", 10)
    await becomes(caller, "sealed")
    answer = await call(caller.outbound, "GET", "/x")
    assert (answer.status, answer.reason) == (503, "sealed_identity")
    assert await callee.is_ready()


async def test_bad_policy_keeps_the_old_one(mesh: Mesh, app: App) -> None:
    caller, callee = await pair(mesh, app)
    mesh.set_policy(BROKEN)

    async def complained() -> bool:
        return "is refused" in callee.text() and "is refused" in caller.text()

    await settled(complained, "both say what is wrong")
    assert re.search(r"inbound\.rego:\d+: ", callee.text())
    assert (await call(caller.outbound, "GET", "/x")).status == 200
    mesh.set_policy(DENY_ALL)

    async def denied() -> bool:
        return (await call(caller.outbound, "GET", "/x")).status == 403

    await settled(denied, "the next good one is in force")
    mesh.set_policy(ALLOW_ALL, HAND_ON_ALL)

    async def allowed() -> bool:
        return (await call(caller.outbound, "GET", "/x")).status == 200

    await settled(allowed, "and the next")


async def test_sigterm_finishes_what_is_in_flight(mesh: Mesh, app: App) -> None:
    """The application's last act needs its way out, which stays open until it is done."""
    caller, callee = await pair(mesh, app)
    started, go_on = asyncio.Event(), asyncio.Event()
    onwards: list[int] = []

    async def slow(request: Message) -> bytes | None:
        if request.target == "/slow":
            started.set()
            await go_on.wait()
            answer = await call(callee.outbound, "GET", "/last", host="caller")
            onwards.append(answer.status)
        return OK

    app.answer = slow
    async with await Client.open(caller.outbound) as client:
        await client.send(encode("GET", "/slow"))
        await started.wait()
        callee.signal(signal.SIGTERM)

        async def draining() -> bool:
            return "draining" in callee.text()

        await settled(draining, "the order has arrived")
        go_on.set()
        answer = await client.response()
    assert (answer.status, answer.body) == (200, b"ok")
    assert onwards == [200]
    assert await callee.ended() == 0
    answer = await call(caller.outbound, "GET", "/x")
    assert (answer.status, answer.reason) == (502, "destination_unreachable")


# --- with every dependency gone at once -----------------------------------------------------------


async def all_gone(mesh: Mesh, app: App) -> None:
    await mesh.authority.kill()
    mesh.socket.unlink(missing_ok=True)
    app.stop()


async def test_a_drain_with_everything_gone(mesh: Mesh, app: App) -> None:
    caller, callee = await pair(mesh, app)
    held = asyncio.Event()

    async def hold(_request: Message) -> bytes | None:
        held.set()
        return await asyncio.get_running_loop().create_future()

    app.answer = hold
    async with await Client.open(caller.outbound) as client:
        await client.send(encode("POST", "/x"))
        await held.wait()
        await all_gone(mesh, app)
        callee.signal(signal.SIGTERM)
        answer = await client.response()
        assert answer.status == 502
    assert await callee.ended() == 0
    caller.signal(signal.SIGTERM)
    assert await caller.ended() == 0


async def test_a_rotation_with_everything_gone(mesh: Mesh, app: App) -> None:
    """Renewal fails, so nothing changes until the identity ends; then everything is denied."""
    caller, callee = await pair(mesh, app, svid_lifetime_s=SHORT_S)
    await callee.kill()
    await all_gone(mesh, app)
    answer = await call(caller.outbound, "GET", "/x")
    assert (answer.status, answer.reason) == (502, "destination_unreachable")
    await becomes(caller, "sealed")
    assert (await call(caller.outbound, "GET", "/x")).reason == "sealed_identity"
    assert "trying again" in caller.text()
    assert caller.process is not None
    assert caller.process.poll() is None


async def test_a_reload_with_everything_gone(mesh: Mesh, app: App) -> None:
    """A new policy is half of what the authority manages to say before all is gone."""
    caller, callee = await pair(mesh, app)
    mesh.set_policy(DENY_ALL)

    async def denied() -> bool:
        return (await call(callee.outbound, "GET", "/x", host="caller")).status == 403

    await settled(denied, "the last word")
    before = len(app.requests)
    await all_gone(mesh, app)
    await callee.kill()
    answer = await call(caller.outbound, "GET", "/x")
    assert answer.status in (403, 502)
    assert len(app.requests) == before
    # A gate that starts on such a day never opens, says why, and still ends when it is told to.
    callee.start(*SERVE, str(callee.config))

    async def says_why() -> bool:
        return "no answer from the authority" in callee.text()

    await settled(says_why, "no answer")
    assert not await callee.is_ready()
    callee.signal(signal.SIGTERM)
    assert await callee.ended() == 0


# --- the machine ----------------------------------------------------------------------------------


async def test_a_full_disk_stops_no_call(mesh: Mesh, app: App) -> None:
    """Nothing can be written: no identity is kept, no log; the gates work and say so."""
    callee = mesh.add("callee", app.port)
    caller = mesh.add("caller", app.port, telemetry=quiet(mesh, "caller"))
    await mesh.start(callee)
    # Output goes to a file too: only a pipe or terminal could still say something.
    program = (
        "import resource, sys; from sidecar.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "sys.exit(main(sys.argv[1:]))"
    )
    (caller.run_dir).mkdir(parents=True, mode=0o700)
    big = caller.run_dir / ".identity.json.fill"
    big.write_bytes(b"x")
    caller.start("-c", program, "run", "--config", str(caller.config))
    await caller.ready()
    for _ in range(40):
        assert (await call(caller.outbound, "GET", "/x" * 60)).status == 200


def quiet(mesh: Mesh, name: str) -> dict[str, str]:
    return {
        "access_log": str(mesh.folder / f"{name}.access.log"),
        "decision_log": str(mesh.folder / f"{name}.decision.log"),
    }


async def test_a_loop_that_hangs_is_killed(mesh: Mesh, app: App) -> None:
    sidecar = mesh.add("hangs", app.port)
    program = (
        "import sys, time; import sidecar.app as app; from sidecar.cli import main;"
        "app.HANG_S = 1.0; app.REARM_TICKS = 2;"
        "tick = app.Worker._tick; count = [0];\n"
        "def hang(worker):\n"
        "    tick(worker); count[0] += 1\n"
        "    if worker.gates.open_now and count[0] > 4: time.sleep(3600)\n"
        "app.Worker._tick = hang\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    sidecar.start("-c", program, "run", "--config", str(sidecar.config))
    assert await sidecar.ended() == 1
    assert "Timeout" in sidecar.text()
    assert "gates are open" in sidecar.text()

"""Control streams: snapshots, deltas, heartbeats, and every way in which they must end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ca import control
from ca.authority import ISSUERS_LIFETIME_S
from ca.control import Feed, Stream
from ca.sections import SECTIONS
from ca.spiffe import jws
from ca.spiffe.svid import X509Svid

ORDERS = "spiffe://shop.example/ns/shop/sa/orders"
STOCK = "spiffe://shop.example/ns/shop/sa/stock"


class _Lines:
    """The client's end of a stream."""

    def __init__(self, content: Any) -> None:
        self._content = content

    async def next(self) -> dict[str, Any]:
        line = await self._content.readline()
        assert line.endswith(b"\n"), "the stream has ended"
        message: dict[str, Any] = json.loads(line)
        return message

    async def delta(self) -> dict[str, Any]:
        while (message := await self.next())["type"] == "heartbeat":
            pass
        return message

    async def ends(self) -> bool:
        while line := await self._content.readline():
            assert json.loads(line)["type"] == "heartbeat"
        return True


@asynccontextmanager
async def _stream(running: Any, keys: Any, answer: Any) -> AsyncIterator[_Lines]:
    async with running.client(keys, answer) as session, session.get("/v1/control") as response:
        assert response.status == 200
        assert response.content_type == "application/x-ndjson"
        yield _Lines(response.content)


@pytest.fixture
async def joined(running: Any, make_keys: Any) -> tuple[Any, Any]:
    keys = make_keys()
    status, answer = await running.attest(keys)
    assert status == 200
    return keys, answer


async def test_the_snapshot_has_every_section(running: Any, joined: Any) -> None:
    async with _stream(running, *joined) as lines:
        message = await lines.next()
    assert (message["type"], message["sequence"]) == ("snapshot", 1)
    sections = message["sections"]
    assert set(sections) == set(SECTIONS)
    assert sections["bundles"] == {"shop.example": joined[1]["bundle"]}
    assert sections["policy"] is None and sections["pseudonyms"] is None
    assert sections["registry"] == {
        "services": [{"id": ORDERS, "hosts": ["orders"], "endpoints": ["127.0.0.1:17106"]}]
    }
    assert sections["revocations"] == {
        "epoch": 0,
        "serials": [],
        "workloads": [],
        "keys": [],
        "transactions": [],
        "tokens": [],
    }
    claims = jws.parse(sections["issuers"], typ="narrowgate-issuers+jwt", bytes_max=65536).claims
    assert set(claims) == {"iat", "exp", "issuers"} and claims["issuers"] == []


async def test_heartbeats_repeat_the_sequence(running: Any, joined: Any) -> None:
    async with _stream(running, *joined) as lines:
        await lines.next()
        for _ in range(2):
            assert await lines.next() == {"type": "heartbeat", "sequence": 1}


async def test_a_change_by_another_process_reaches_the_stream(running: Any, joined: Any) -> None:
    async with _stream(running, *joined) as lines:
        await lines.next()
        command = [sys.executable, "-m", "ca.cli", "ca", "revoke", "--state", str(running.state)]
        root = Path(control.__file__).parents[1]
        process = await asyncio.create_subprocess_exec(
            *command, "--transaction", "txn-1", cwd=root, env={**os.environ}
        )
        assert await process.wait() == 0
        message = await lines.delta()
    assert (message["type"], message["sequence"]) == ("delta", 2)
    assert set(message["sections"]) == {"revocations"}
    assert message["sections"]["revocations"]["epoch"] == 1
    assert message["sections"]["revocations"]["transactions"] == ["txn-1"]


async def test_deltas_hold_only_the_changed_sections(
    running: Any, joined: Any, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "main.rego").write_text("package envoy.authz\n")
    async with _stream(running, *joined) as lines:
        await lines.next()
        running.cli("entry create", "--id", STOCK, "--host", "stock")
        message = await lines.delta()
        assert set(message["sections"]) == {"registry"}
        assert [one["id"] for one in message["sections"]["registry"]["services"]] == [ORDERS, STOCK]

        running.cli("policy set", "--id", STOCK, str(policy))  # not for us: nothing is told
        revision = running.cli("policy set", str(policy))
        message = await lines.delta()
        assert message["sections"] == {
            "policy": {
                "revision": revision,
                "modules": {"main.rego": "package envoy.authz\n"},
                "data": {},
            }
        }
        running.cli(
            "issuer set", "--id", ORDERS, "--external-issuer", "https://idp", "--scope", "pay"
        )
        message = await lines.delta()
        assert set(message["sections"]) == {"issuers", "pseudonyms"}
        assert len(message["sections"]["pseudonyms"]["key"]) == 43
        claims = jws.parse(
            message["sections"]["issuers"], typ="narrowgate-issuers+jwt", bytes_max=65536
        ).claims
        assert claims["issuers"] == [
            {
                "workload": ORDERS,
                "external_issuers": ["https://idp"],
                "scope": ["pay"],
                "lifetime_s_max": 60,
            }
        ]
        assert message["sequence"] == 4


@pytest.mark.parametrize("what", ["workload", "serial", "key", "hop key", "entry"])
async def test_a_revoked_workload_loses_its_stream(running: Any, joined: Any, what: str) -> None:
    keys, answer = joined
    serial = X509Svid.parse_pem(answer["svid"].encode()).serial
    async with _stream(running, keys, answer) as lines:
        await lines.next()
        thumbprints = keys.thumbprints()
        running.cli(
            *{
                "workload": ("revoke", "--workload", ORDERS),
                "serial": ("revoke", "--serial", f"{serial:x}"),
                "key": ("revoke", f"--key={thumbprints[0]}"),
                "hop key": ("revoke", f"--key={thumbprints[1]}"),
                "entry": ("entry delete", "--id", ORDERS),
            }[what]
        )
        assert await lines.ends()


async def test_others_keep_their_stream_and_learn_of_it(
    running: Any, joined: Any, make_keys: Any
) -> None:
    running.cli("entry create", "--id", STOCK)
    other = make_keys()
    _, answer = await running.attest(other, running.cli("token create", "--id", STOCK))
    async with _stream(running, *joined) as gone, _stream(running, other, answer) as kept:
        await gone.next()
        await kept.next()
        running.cli("revoke", "--workload", ORDERS)
        assert (await kept.delta())["sections"]["revocations"]["workloads"] == [ORDERS]
        assert await gone.ends()


async def test_a_stream_ends_with_its_svid(running: Any, joined: Any) -> None:
    async with _stream(running, *joined) as lines:
        await lines.next()
        running.clock.ahead_s = 3601
        while (await lines._content.readline()) != b"":
            pass


async def test_streams_end_when_the_server_stops(running: Any, joined: Any) -> None:
    async with _stream(running, *joined) as lines:
        await lines.next()
        running.server.feed.close()
        assert await lines.ends()


async def test_streams_end_and_health_fails_when_the_store_is_unreadable(
    running: Any, joined: Any
) -> None:
    async with _stream(running, *joined) as lines:
        await lines.next()
        running.server.feed._views._store.close()
        running.server.feed._views._version = -2
        assert await lines.ends()
    async with running.client() as session:
        async with session.get("/v1/health") as response:
            assert response.status == 503
            assert (await response.json())["reason"] == "store_unavailable"
        async with session.get("/v1/bundle") as response:
            assert response.status == 200


async def test_the_issuer_list_is_signed_again_at_half_life(running: Any, joined: Any) -> None:
    async with _stream(running, *joined) as lines:
        first = (await lines.next())["sections"]["issuers"]
        running.clock.ahead_s = ISSUERS_LIFETIME_S / 2 + 1
        message = await lines.delta()
    assert set(message["sections"]) == {"issuers"}
    assert message["sections"]["issuers"] != first


class _Stuck:
    """A reader that takes one line and no more."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self.lines.append(data)
        if len(self.lines) > 1:
            await asyncio.Event().wait()


async def test_a_reader_that_stalls_is_dropped(
    running: Any, joined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "STALL_S", 0.05)
    writer = _Stuck()
    svid = X509Svid.parse_pem(joined[1]["svid"].encode())
    stream = Stream(running.server.feed, svid, writer, 0.01, running.clock)
    assert await stream.run() == "the reader stalled"
    assert len(writer.lines) == 2


class _Slow:
    """A reader that holds each line back until it is let go."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.taken, self.go = asyncio.Event(), asyncio.Event()

    async def write(self, data: bytes) -> None:
        self.lines.append(json.loads(data))
        self.taken.set()
        await self.go.wait()


async def test_a_slow_reader_is_told_the_newest_state_once(running: Any, joined: Any) -> None:
    writer = _Slow()
    svid = X509Svid.parse_pem(joined[1]["svid"].encode())
    feed: Feed = running.server.feed
    task = asyncio.create_task(Stream(feed, svid, writer, 60, running.clock).run())
    await writer.taken.wait()
    for number in range(20):
        running.cli("revoke", "--transaction", f"t{number}")
        await feed.refresh()
    writer.taken.clear()
    writer.go.set()
    await writer.taken.wait()
    assert [line["sequence"] for line in writer.lines] == [1, 2]
    assert len(writer.lines[1]["sections"]["revocations"]["transactions"]) == 20
    feed.close()
    assert "closing" in await task


async def test_an_old_view_is_never_called_fresh(running: Any) -> None:
    feed: Feed = running.server.feed
    assert feed.fresh()
    feed._read_at_s -= 3600
    assert not feed.fresh()


def test_nothing_of_the_pseudonym_key_in_a_repr(state: Path) -> None:
    from ca.sections import Views
    from ca.serve import open_authority

    store, authority = open_authority(state, None)
    view = Views(store, authority, lambda: 1.8e9).current()
    assert view.pseudonyms["key"] not in repr(view)
    store.close()

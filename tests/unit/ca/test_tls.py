"""The authority's own leaf: renewed on the same listener, without a restart."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from cryptography import x509

from ca.spiffe.svid import leaf_id
from ca.store import StoreError
from ca.tls import ServerIdentity


async def _leaf(running: Any) -> x509.Certificate:
    host, port = running.server.address.split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=running.tls())
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(der)


async def test_new_handshakes_see_the_new_leaf(running: Any) -> None:
    host, port = running.server.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=running.tls())
    first = await _leaf(running)
    await running.server.identity.renew()
    second = await _leaf(running)
    assert first.serial_number != second.serial_number
    assert first.public_key() != second.public_key()
    assert leaf_id(first) == leaf_id(second)
    writer.write(b"GET /v1/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")  # the old connection lives on
    writer.close()
    await writer.wait_closed()


async def test_renewal_happens_by_itself_at_half_life(running: Any, monkeypatch: Any) -> None:
    identity: ServerIdentity = running.server.identity
    assert identity.svid is not None
    assert 1700 < identity._wait_s() <= 1800
    running.clock.ahead_s = 1801
    assert identity._wait_s() == 0
    before = identity.svid
    renew, renewed = identity.renew, asyncio.Event()

    async def seen() -> None:
        await renew()
        renewed.set()

    monkeypatch.setattr(identity, "renew", seen)
    task = asyncio.create_task(identity.run())
    await renewed.wait()
    task.cancel()
    await asyncio.wait({task})
    assert identity.svid is not before
    assert identity._wait_s() > 1700


async def test_a_failed_renewal_keeps_the_old_leaf(running: Any, monkeypatch: Any) -> None:
    identity: ServerIdentity = running.server.identity
    before, tried = identity.svid, asyncio.Event()

    def fail(*_: object) -> None:
        loop.call_soon_threadsafe(tried.set)
        raise StoreError("the disk is full")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(identity._issuing, "issue_own", fail)
    running.clock.ahead_s = 1801
    task = asyncio.create_task(identity.run())
    await tried.wait()
    assert identity.svid is before
    task.cancel()
    await asyncio.wait({task})
    await _leaf(running)


async def test_no_resumption_and_no_key_left_on_disk(running: Any) -> None:
    context = running.server.identity.context
    assert context.num_tickets == 0
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert not list(running.state.glob(".leaf-*"))

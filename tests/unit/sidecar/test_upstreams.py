"""Connections onwards: real TLS gates, pinned to one identity, kept only as long as it is good."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from policy.reason import Reason
from sidecar.address import Address
from sidecar.control.mesh import Mesh
from sidecar.http.client import ClientConnection
from sidecar.http.exchange import Exchange
from sidecar.http.head import Limits, Refused
from sidecar.identity.admission import Admission
from sidecar.identity.peer import peer_of
from sidecar.net.clock import ManualClock
from sidecar.net.network import Factory, LoopNetwork
from sidecar.token.trust import Revocations, Trust
from sidecar.upstreams import Upstreams
from tests.support.certs import CertificateAuthority, Issued
from tests.support.peers import Peer
from tests.support.world import IDLE_S, Opened, World, answer, eventually, opened_world

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
CONNECT_S = 2.0
HANDSHAKE_S = 5.0


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture
async def around() -> AsyncIterator[World]:
    async with opened_world() as made:
        yield made


class Site:
    """A gate's upstreams, its clock and its mesh, and the gates it calls."""

    def __init__(self, world: World, authority: CertificateAuthority) -> None:
        self.world = world
        self.authority = authority
        self.me = authority.issue("ns/shop/sa/me")
        self.clock = ManualClock(self.me.not_after_s - 3600)
        self.mesh = Mesh(self.me.id, authority.bundle)
        self.admission = Admission(self.mesh, self.clock)
        self.identity: Any = SimpleNamespace()
        self.adopt(self.me)
        self.counts: list[str] = []
        self.upstreams = self.made()

    def made(self, network: LoopNetwork | None = None, connect_s: float = CONNECT_S) -> Upstreams:
        return Upstreams(
            network or self.world.network,
            self.world.deadlines,
            Limits(),
            self.clock,
            self.admission,
            self.identity,
            connect_s=connect_s,
            handshake_s=HANDSHAKE_S,
            idle_s=IDLE_S,
            idle_max=2,
            count=self.counts.append,
        )

    def adopt(self, issued: Issued) -> None:
        self.identity.credentials = SimpleNamespace(
            svid=SimpleNamespace(not_after_s=issued.not_after_s)
        )
        self.identity.client_context = self.authority.client(issued)

    def revoke(self, **what: Any) -> None:
        trust = self.mesh.trust
        self.mesh.trust = Trust(
            trust.bundles, trust.bundle_sequence, trust.issuers, Revocations(epoch=1, **what)
        )

    async def gate(self, issued: Issued) -> Opened:
        context = self.authority.server(issued)

        async def serve(stream: Exchange) -> None:
            answer(stream, 200, b"ok")

        return await self.world.door(serve, context=lambda: context, admit=self.admission.admit)

    async def ask(self, connection: ClientConnection) -> bytes:
        connection.begin("GET", GET, self.world.deadlines.now_s + 30)
        assert (await connection.response()).status == 200
        return await connection.read()


@pytest.fixture
async def site(around: World, authority: CertificateAuthority) -> Site:
    return Site(around, authority)


@pytest.fixture(scope="module")
def orders(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/orders")


def at(opened: Opened) -> Address:
    return Address("127.0.0.1", opened.port)


async def refused(site: Site, issued: Issued, where: Address, **how: bool) -> Reason:
    with pytest.raises(Refused) as caught:
        await site.upstreams.gate(issued.id, where, fresh=how.get("fresh", False))
    return caught.value.reason


async def test_a_connection_is_pinned_used_and_used_again(site: Site, orders: Issued) -> None:
    opened = await site.gate(orders)
    first = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    assert first.peer == peer_of(orders.der)
    assert first.address == str(at(opened))
    assert not first.reused
    assert await site.ask(first) == b"ok"
    site.upstreams.give_back(first)
    assert site.upstreams.pool.idle_count == 1
    second = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    assert second is first
    assert second.reused
    assert await site.ask(second) == b"ok"
    site.upstreams.give_back(second)
    fresh = await site.upstreams.gate(orders.id, at(opened), fresh=True)
    assert fresh is not first
    assert site.counts == ["opened", "reused", "opened"]
    assert opened.count == 2


async def test_the_most_recent_first_and_no_more_than_the_bound(site: Site, orders: Issued) -> None:
    opened = await site.gate(orders)
    made = [await site.upstreams.gate(orders.id, at(opened), fresh=True) for _ in range(3)]
    for one in made:
        site.upstreams.give_back(one)
    assert made[2].closed
    assert await site.upstreams.gate(orders.id, at(opened), fresh=False) is made[1]
    assert await site.upstreams.gate(orders.id, at(opened), fresh=False) is made[0]


async def test_another_workload_at_the_address(site: Site, orders: Issued) -> None:
    """Its identity is wrong, so not one byte of a request is written."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(peer: Peer) -> None:
        heard.set_result(await peer.reader.read())

    payments = site.authority.issue("ns/shop/sa/payments")
    upstream = await site.world.upstream(listen, site.authority.server(payments))
    where = Address("127.0.0.1", upstream.port)
    assert await refused(site, orders, where) is Reason.DESTINATION_IDENTITY
    assert await heard == b""
    assert site.upstreams.pool.idle_count == 0
    assert site.counts == ["failed"]


async def test_a_workload_of_another_trust_domain(site: Site) -> None:
    """Its own root is not in our bundle; and with our root, its name is of no domain of ours."""
    other = CertificateAuthority("other.example")
    stranger = other.issue("ns/shop/sa/orders")
    opened = await site.world.door(lambda _stream: never(), context=lambda: other.server(stranger))
    assert await refused(site, stranger, at(opened)) is Reason.DESTINATION_IDENTITY


async def never() -> None:
    raise AssertionError("a request came through")


@pytest.mark.parametrize("what", ["serial", "workload"])
async def test_a_revoked_destination_is_neither_reached_nor_reused(
    site: Site, orders: Issued, what: str
) -> None:
    opened = await site.gate(orders)
    kept = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    site.upstreams.give_back(kept)
    if what == "serial":
        site.revoke(serials=frozenset({orders.certificate.serial_number}))
    else:
        site.revoke(workloads=frozenset({orders.id}))
    assert await refused(site, orders, at(opened)) is Reason.DESTINATION_IDENTITY
    assert kept.closed
    assert site.upstreams.pool.idle_count == 0


async def test_an_expired_identity_on_either_side_ends_reuse(site: Site, orders: Issued) -> None:
    opened = await site.gate(orders)
    short = site.authority.issue("ns/shop/sa/short", life_s=600)
    other = await site.gate(short)
    site.clock.now_s = short.not_after_s - 300
    kept = await site.upstreams.gate(short.id, at(other), fresh=False)
    assert kept.good_until_s == short.not_after_s
    site.upstreams.give_back(kept)
    site.clock.now_s = short.not_after_s - 1
    assert await site.upstreams.gate(short.id, at(other), fresh=False) is kept
    site.upstreams.give_back(kept)
    site.clock.now_s = short.not_after_s
    assert await refused(site, short, at(other)) is Reason.DESTINATION_IDENTITY
    assert kept.closed
    # Ours ends first now.
    brief = site.authority.issue("ns/shop/sa/me", life_s=1200)
    site.adopt(brief)
    mine = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    assert mine.good_until_s == brief.not_after_s
    site.upstreams.give_back(mine)
    site.adopt(site.me)
    site.clock.now_s = brief.not_after_s
    again = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    assert again is not mine
    assert mine.closed
    assert again.good_until_s == min(orders.not_after_s, site.me.not_after_s)


async def test_rotation_keeps_open_connections_and_is_seen_by_new_ones(
    site: Site, orders: Issued
) -> None:
    opened = await site.gate(orders)
    before = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    renewed = site.authority.issue("ns/shop/sa/me")
    site.adopt(renewed)
    assert await site.ask(before) == b"ok"
    site.upstreams.give_back(before)
    after = await site.upstreams.gate(orders.id, at(opened), fresh=True)
    assert await site.ask(after) == b"ok"
    serials = {one.facts.peer.serial for one in opened.door.open if one.facts and one.facts.peer}
    assert serials == {site.me.certificate.serial_number, renewed.certificate.serial_number}


async def test_rotation_during_a_handshake_does_not_lend_the_new_life(
    site: Site, orders: Issued
) -> None:
    """The connection stands on the SVID that opened it."""
    opened = await site.gate(orders)
    brief = site.authority.issue("ns/shop/sa/me", life_s=900)
    site.adopt(brief)

    class Rotating(LoopNetwork):
        async def connect(self, factory: Factory, host: str, port: int) -> asyncio.Protocol:
            made = await super().connect(factory, host, port)
            site.adopt(site.me)
            return made

    connection = await site.made(Rotating()).gate(orders.id, at(opened), fresh=False)
    assert connection.good_until_s == brief.not_after_s
    connection.abort()


async def test_a_connection_that_closed_while_idle_is_forgotten(site: Site, orders: Issued) -> None:
    opened = await site.gate(orders)
    kept = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    site.upstreams.give_back(kept)
    opened.door.drain()
    await eventually(lambda: site.upstreams.pool.idle_count == 0)
    assert kept.closed
    await opened.door.drained()


async def test_idle_connections_do_not_stay_for_ever(site: Site, orders: Issued) -> None:
    opened = await site.gate(orders)
    kept = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    site.upstreams.give_back(kept)
    site.world.deadlines.advance(IDLE_S)
    await eventually(lambda: site.upstreams.pool.idle_count == 0)
    await opened.door.drained()
    other = await site.gate(orders)
    site.upstreams.give_back(await site.upstreams.gate(orders.id, at(other), fresh=False))
    site.upstreams.close()
    assert site.upstreams.pool.idle_count == 0
    await other.door.drained()


async def test_an_unfinished_exchange_is_not_given_to_the_next(site: Site, orders: Issued) -> None:
    opened = await site.gate(orders)
    busy = await site.upstreams.gate(orders.id, at(opened), fresh=False)
    busy.begin("GET", b"GET / HTTP/1.1\r\n", site.world.deadlines.now_s + 30)
    site.upstreams.give_back(busy)
    assert busy.closed
    assert site.upstreams.pool.idle_count == 0


async def test_the_application_in_plain_text(site: Site) -> None:
    async def serve(stream: Exchange) -> None:
        answer(stream, 200, b"ok")

    opened = await site.world.door(serve)
    first = await site.upstreams.application(at(opened), fresh=False)
    assert first.peer is None
    assert await site.ask(first) == b"ok"
    site.upstreams.give_back(first)
    assert await site.upstreams.application(at(opened), fresh=False) is first
    site.upstreams.give_back(first)
    fresh = await site.upstreams.application(at(opened), fresh=True)
    assert fresh is not first


async def test_a_plain_connection_is_never_taken_for_a_gates(site: Site, orders: Issued) -> None:
    async def serve(stream: Exchange) -> None:
        answer(stream, 200, b"ok")

    opened = await site.world.door(serve)
    plain = await site.upstreams.application(at(opened), fresh=False)
    site.upstreams.give_back(plain)
    reason = await refused(site, orders, at(opened))
    assert reason in {Reason.DESTINATION_IDENTITY, Reason.DESTINATION_UNREACHABLE}


async def test_nobody_listens(site: Site, orders: Issued) -> None:
    opened = await site.gate(orders)
    where = at(opened)
    await site.world.close()
    assert await refused(site, orders, where) is Reason.DESTINATION_UNREACHABLE
    assert site.counts == ["failed"]


async def test_connecting_and_shaking_hands_take_no_longer_than_they_may(
    site: Site, orders: Issued
) -> None:
    class Nowhere(LoopNetwork):
        async def connect(self, factory: Factory, host: str, port: int) -> asyncio.Protocol:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    nowhere = site.made(Nowhere(), connect_s=0.01)
    with pytest.raises(Refused) as caught:
        await nowhere.gate(orders.id, Address("127.0.0.1", 9), fresh=False)
    assert caught.value.reason is Reason.DESTINATION_UNREACHABLE

    async def hangs(peer: Peer) -> None:
        await peer.end()

    upstream = await site.world.upstream(hangs)
    where = Address("127.0.0.1", upstream.port)
    waiting = asyncio.ensure_future(refused(site, orders, where))
    await eventually(lambda: upstream.peers)
    site.world.deadlines.advance(HANDSHAKE_S)
    assert await waiting is Reason.DESTINATION_UNREACHABLE
    assert site.counts == ["failed", "failed"]


async def test_who_gives_up_during_the_handshake_leaves_nothing_open(
    site: Site, orders: Issued
) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def hangs(peer: Peer) -> None:
        ended.set_result(await peer.end())

    upstream = await site.world.upstream(hangs)
    where = Address("127.0.0.1", upstream.port)
    waiting = asyncio.ensure_future(site.upstreams.gate(orders.id, where, fresh=False))
    await eventually(lambda: upstream.peers)
    await eventually(site.world.deadlines.links)
    for _ in range(20):
        await asyncio.sleep(0)
    waiting.cancel()
    assert await ended in {"reset", "eof"}
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await eventually(lambda: not site.world.deadlines.watched)


async def test_a_network_that_brings_something_else(site: Site, orders: Issued) -> None:
    class Odd(LoopNetwork):
        async def connect(self, factory: Factory, host: str, port: int) -> asyncio.Protocol:
            return asyncio.Protocol()

    with pytest.raises(TypeError):
        await site.made(Odd()).gate(orders.id, Address("127.0.0.1", 9), fresh=False)


async def test_tls_1_2_at_the_destination(site: Site, orders: Issued) -> None:
    old = site.authority.server(orders)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    async def listen(peer: Peer) -> None:
        await peer.end()

    upstream = await site.world.upstream(listen, old)
    reason = await refused(site, orders, Address("127.0.0.1", upstream.port))
    assert reason in {Reason.DESTINATION_IDENTITY, Reason.DESTINATION_UNREACHABLE}

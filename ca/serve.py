"""The authority as a long-lived process: opens everything, says `ready`, ends cleanly.

Invariants: nothing listens before the store, the keys and the first own SVID are good; if a part
that keeps the rest true (the feed, the renewal) fails, the process ends instead of serving on;
SIGTERM and SIGINT end the streams first, then the listeners, then the store.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from ca.admission import Admission
from ca.api import Api
from ca.attest.join_token import JoinTokenAttestor
from ca.attest.unix import UnixAttestor
from ca.authority import Authority, AuthorityError
from ca.control import POLL_S, Feed
from ca.entries import LIFETIME_S_MAX, LIFETIME_S_MIN
from ca.issuing import Issuing
from ca.keys import load_public, load_secrets, read_passphrase
from ca.sections import Views
from ca.store import FILE, Store, meta
from ca.tls import ServerIdentity

HANDSHAKE_S: Final = 5.0
_BACKLOG: Final = 256
_DRAIN_S: Final = 5.0
_KEEPALIVE_S: Final = 30.0
_PORT_MAX: Final = 65535
_HEARTBEAT_S_MAX: Final = 5.0  # a gate gives a silent stream up after ten seconds


class ServeError(Exception):
    """The authority cannot start serving; the text says what to do next."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `narrowgate ca serve` was told; `poll_s` is for tests."""

    state: Path
    listen: str = "127.0.0.1:17010"
    socket: Path | None = None
    passphrase_file: Path | None = None
    svid_lifetime_s: int = 3600
    heartbeat_s: float = 2.0
    poll_s: float = POLL_S


class Server:
    """Everything of one running authority. `clock` gives POSIX seconds."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        _check(options)
        self.options = options
        self._store, self.authority = open_authority(options.state, options.passphrase_file)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store")
        attestors = (JoinTokenAttestor(), UnixAttestor())
        issuing = Issuing(self._store, self.authority, attestors, options.svid_lifetime_s, clock)
        views = Views(self._store, self.authority, clock)
        self.feed = Feed(views, self._executor, options.poll_s)
        self.identity = ServerIdentity(
            issuing, self.authority.bundle, self._executor, options.state, clock
        )
        api = Api(issuing, self.authority, self.feed, self._executor, clock, options.heartbeat_s)
        self._admission = Admission()
        self._runner = web.AppRunner(
            api.application(self._admission),
            access_log=None,
            keepalive_timeout=_KEEPALIVE_S,
            shutdown_timeout=_DRAIN_S,
        )
        self._listeners: list[asyncio.Server] = []
        self.address = ""

    async def run(self, ready: Callable[[Server], None], stop: asyncio.Event) -> None:
        """Serve until `stop` is set; `ready` is called once, when both doors are open."""
        try:
            await self._open()
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(self.feed.run()),
                    tasks.create_task(self.identity.run()),
                ]
                ready(self)
                await stop.wait()
                for task in background:
                    task.cancel()
        finally:
            await self._close()

    async def _open(self) -> None:
        await self.feed.refresh()
        await self.identity.renew()
        await self._runner.setup()
        if self._runner.server is None:
            raise ServeError("the HTTP server did not start")
        self._admission.attach(self._runner.server)
        loop = asyncio.get_running_loop()
        tcp = bind_tcp(self.options.listen)
        self.address = _shown(tcp)
        self._listeners.append(
            await loop.create_server(
                self._admission,
                sock=tcp,
                ssl=self.identity.context,
                ssl_handshake_timeout=HANDSHAKE_S,
                backlog=_BACKLOG,
            )
        )
        if self.options.socket is not None:
            unix = bind_unix(self.options.socket)
            self._listeners.append(
                await loop.create_unix_server(self._admission, sock=unix, backlog=_BACKLOG)
            )

    async def _close(self) -> None:
        self.feed.close()
        for listener in self._listeners:
            listener.close()
        await self._runner.cleanup()
        if self.options.socket is not None and len(self._listeners) > 1:
            self.options.socket.unlink(missing_ok=True)
        self._executor.shutdown()
        self._store.close()


def serve(options: Options) -> int:
    """Run until SIGTERM or SIGINT; print one JSON line when ready. Errors pass through."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    asyncio.run(_serve(options))
    return 0


def open_authority(state: Path, passphrase_file: Path | None) -> tuple[Store, Authority]:
    """Open the store and the keys, and check that they belong together."""
    secrets = load_secrets(state, read_passphrase(passphrase_file))
    store = Store.open(state / FILE)
    try:
        with store.snapshot() as rows:
            sequence = int(meta(rows, "bundle_sequence"))
        authority = Authority(store.trust_domain(), secrets, load_public(state).root, sequence)
    except BaseException:
        store.close()
        raise
    return store, authority


def bind_tcp(listen: str) -> socket.socket:
    """Bind `address:port` (port 0: any); raise `ServeError`."""
    host, _, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not port.isascii() or not port.isdigit() or int(port) > _PORT_MAX:
        raise ServeError(f"--listen {listen}: write ADDRESS:PORT, for example 127.0.0.1:17010")
    bound = socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((bare, int(port)))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ServeError(
                f"--listen {listen}: the port is in use; stop the other process or choose another"
            ) from error
        raise ServeError(f"--listen {listen}: {error.strerror or error}") from error
    return bound


def bind_unix(path: Path) -> socket.socket:
    """Bind a unix socket that every local user may connect to; raise `ServeError`.

    Who connects is told by the kernel, not by the mode of the file.
    """
    _clear_socket(path)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(0o666)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ServeError(f"--socket {path}: {error.strerror or error}") from error
    return bound


def _clear_socket(path: Path) -> None:
    """Remove a socket that nobody listens on; refuse anything else that is in the way."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ServeError(f"--socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ServeError(f"--socket {path}: there is a file of another kind")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise ServeError(f"--socket {path}: another process listens there")


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await Server(options).run(_say_ready, stop)
    except* AuthorityError as group:
        raise group.exceptions[0] from None


def _say_ready(server: Server) -> None:
    line = {
        "ready": True,
        "address": server.address,
        "socket": None if server.options.socket is None else str(server.options.socket),
        "trust_domain": server.authority.trust_domain.name,
    }
    print(json.dumps(line), flush=True)


def _shown(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check(options: Options) -> None:
    if not LIFETIME_S_MIN <= options.svid_lifetime_s <= LIFETIME_S_MAX:
        raise ServeError(f"--svid-lifetime-s is {LIFETIME_S_MIN} to {LIFETIME_S_MAX}")
    if not 0 < options.heartbeat_s <= _HEARTBEAT_S_MAX:
        raise ServeError(f"--heartbeat-s is more than 0 and at most {_HEARTBEAT_S_MAX:g}")

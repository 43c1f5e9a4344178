"""Handles and traces of the other workers of this sidecar, asked over a unix socket each.

One worker listens on `<run_dir>/worker-<index>.sock` (mode 0600). A question is one JSON line,
`{"find": handle}` or `{"trace": id}`; the answer is one JSON line, `{"of": <the same text>,
"grant": {..} | null, "told": bool}`. Invariants: both ends check with the kernel that the other
runs under the same uid; whatever goes wrong is an answer of "no grant"; a connection on which
anything went wrong is closed, so that no answer can meet another question.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ca.spiffe.jws import json_object
from policy.call import Grant
from sidecar.token import grant_text
from sidecar.token.correlation import Handles, TraceGrants, combine_answers, owner

QUESTION_BYTES_MAX: Final = 256
ANSWER_BYTES_MAX: Final = 65536
TIMEOUT_S: Final = 0.1
CONNECTIONS_MAX: Final = 1024
Clock = Callable[[], float]
_log: Final = logging.getLogger(__name__)
_UCRED: Final = struct.Struct("3i")


def socket_path(run_dir: Path, index: int) -> Path:
    """Where worker `index` listens."""
    return run_dir / f"worker-{index}.sock"


class SiblingServer:
    """Answers the other workers from this worker's handles."""

    def __init__(self, handles: Handles, run_dir: Path, clock: Clock) -> None:
        self._handles = handles
        self._path = socket_path(run_dir, handles.worker_index)
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        """Listen; a socket left by an earlier run is replaced. Raises OSError."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(
                self._serve, sock=listener, limit=QUESTION_BYTES_MAX
            )
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Stop listening and end every conversation."""
        if self._server is not None:
            self._server.close()
            for task in self._conversations:
                task.cancel()
            if self._conversations:
                await asyncio.wait(self._conversations)
            await self._server.wait_closed()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not same_user(writer) or len(self._conversations) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._conversations.add(task)
        try:
            while line := await reader.readline():
                writer.write(self._answer(line))
                await writer.drain()
        except (OSError, ValueError) as error:
            _log.debug("a sibling's conversation ended: %s", type(error).__name__)
        finally:
            self._conversations.discard(task)
            writer.transport.abort()

    def _answer(self, line: bytes) -> bytes:
        question = json_object(line)
        handle, trace = question.get("find"), question.get("trace")
        now_s = self._clock()
        found: TraceGrants
        if isinstance(handle, str) and len(question) == 1:
            grant = self._handles.find(handle, now_s)
            found = (grant,) if grant is not None else ()
        elif isinstance(trace, str) and len(question) == 1:
            found = self._handles.trace_grants(trace, now_s)
        else:
            raise ValueError("not a question")
        answer = {
            "of": handle or trace,
            "told": found is not None,
            "grant": grant_text.write(found[0]) if found else None,
        }
        return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class Siblings:
    """Asks the other workers; one connection to each, one question at a time on it."""

    def __init__(
        self, handles: Handles, run_dir: Path, *, workers: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`workers` counts all workers of the sidecar, this one included."""
        self._handles = handles
        self._timeout_s = timeout_s
        self._others = {
            index: _Line(socket_path(run_dir, index))
            for index in range(workers)
            if index != handles.worker_index
        }

    async def find(self, handle: str, now_s: float) -> Grant | None:
        """The grant of a live call of any worker, asked of the worker that the handle names."""
        index = owner(handle)
        if index == self._handles.worker_index:
            return self._handles.find(handle, now_s)
        line = self._others.get(index) if index is not None else None
        if line is None:
            return None
        found = await line.ask("find", handle, self._timeout_s)
        return found[0] if found else None

    async def by_trace(self, trace_id: str, now_s: float) -> Grant | None:
        """The one grant that the live calls of a trace allow; only if every worker answered."""
        mine = self._handles.trace_grants(trace_id, now_s)
        if mine is None:
            return None
        answers: Sequence[TraceGrants] = await asyncio.gather(
            *(line.ask("trace", trace_id, self._timeout_s) for line in self._others.values())
        )
        return combine_answers([mine, *answers])

    def close(self) -> None:
        """End every connection."""
        for line in self._others.values():
            line.close()


class _Line:
    """The connection to one sibling."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, kind: str, text: str, timeout_s: float) -> TraceGrants:
        """The sibling's answer; `None` when it cannot tell or does not answer in time."""
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                return await self._ask(kind, text)
        except (OSError, ValueError, TimeoutError):
            return None

    async def _ask(self, kind: str, text: str) -> TraceGrants:
        good = False
        try:
            reader, writer = self._streams or await self._connect()
            writer.write(json.dumps({kind: text}).encode() + b"\n")
            answer = json_object(await reader.readline())
            if answer.get("of") != text:
                raise ValueError("an answer to something else")
            found = _read(answer)
            good = True
            return found
        finally:
            if not good:  # also when cancelled: a late answer must meet no other question
                self.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._streams = await asyncio.open_unix_connection(self._path, limit=ANSWER_BYTES_MAX)
        if not same_user(self._streams[1]):
            raise ValueError("another user's socket")
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def same_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the kernel says that the other end runs under our uid (SO_PEERCRED, unix(7))."""
    peer = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(raw)
    return bool(uid == os.geteuid())


def _read(answer: dict[str, object]) -> TraceGrants:
    grant = answer.get("grant")
    if answer.get("told") is not True:
        return None
    if grant is None:
        return ()
    if not isinstance(grant, dict):
        raise ValueError("not a grant")
    return (grant_text.read(grant),)

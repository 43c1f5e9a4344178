"""A real OPA on a unix socket, for as long as a test needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def running(
    binary: Path, socket: Path, *files: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start OPA with `files`, wait until it listens, and end it afterwards."""
    process = await asyncio.create_subprocess_exec(
        str(binary),
        "run",
        "--server",
        "--disable-telemetry",
        "--log-level=error",
        f"--addr=unix://{socket}",
        *map(str, files),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while not await _listening(socket):  # noqa: ASYNC110 - OPA tells nobody
                await asyncio.sleep(0.01)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listening(socket: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True

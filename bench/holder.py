"""The frontend's application in the bench: it keeps one request open and tells its handle.

The gate gave that request a handle (`x-request-id`); while the request is open, calls that carry
the handle are correlated with its grant. One JSON line on standard output per request held.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

_HEAD_BYTES_MAX: Final = 65536


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read one request head, print its handle, and answer nothing until the gate hangs up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(
            line.decode("latin-1").split(":", 1) for line in head.split(b"\r\n")[1:] if line
        )
        handle = {name.lower(): value.strip() for name, value in fields.items()}["x-request-id"]
        print(json.dumps({"handle": handle}), flush=True)
        await reader.read()
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        print(f"holder: {error}", file=sys.stderr)
    finally:
        writer.close()


async def serve(port: int) -> None:
    server = await asyncio.start_server(hold, "127.0.0.1", port, limit=_HEAD_BYTES_MAX)
    async with server:
        print(json.dumps({"listening": port}), flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

"""Mutation fuzzing of the HTTP/1 wire code: `python tests/wire/fuzz_http1.py --seconds 60`.

Every round mutates a few seed messages and demands of the result:
- nothing but `Refused` is ever raised;
- the verdict, the heads and the bodies are the same however the bytes are split;
- what is accepted, encoded again, is exactly one message for a naive strict reader, which sees the
  same body, and parses to the same head.
A failure prints the seed of the run and the bytes. The functions are also used by the test suite.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_ROOT: Final = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(_ROOT))

from sidecar.http.head import Field, Framing, Limits, Refused, RequestHead, ResponseHead  # noqa: E402
from sidecar.http.http1 import (  # noqa: E402
    BodyDecoder,
    HeadReader,
    encode_chunk,
    encode_last_chunk,
    encode_request,
    encode_response,
)

LIMITS: Final = Limits(body_bytes_max=1 << 20)


class Message(NamedTuple):
    """One complete message as the wire code saw it."""

    head: RequestHead | ResponseHead
    body: bytes
    trailers: tuple[Field, ...]


class Verdict(NamedTuple):
    """What became of a stream: complete messages, then why it stopped."""

    messages: tuple[Message, ...]
    end: str  # "refused", "waiting", "open" (inside a body), "closed" or "empty"
    reason: str  # the reason's label when refused


Reader = Callable[[HeadReader, bytearray], "tuple[RequestHead | ResponseHead, int] | None"]


def read_request(reader: HeadReader, buffer: bytearray) -> tuple[RequestHead, int] | None:
    """Read the next head of a stream of requests."""
    return reader.request(buffer)


def read_response(reader: HeadReader, buffer: bytearray) -> tuple[ResponseHead, int] | None:
    """Read the next head of a stream of answers to GET."""
    return reader.response(buffer, request_method="GET")


def drive(pieces: Iterable[bytes], read: Reader = read_request, limits: Limits = LIMITS) -> Verdict:
    """Feed a connection as a driver would, piece by piece, and tell what came of it."""
    reader = HeadReader(limits)
    messages: list[Message] = []
    buffer = bytearray()
    head: RequestHead | ResponseHead | None = None
    decoder: BodyDecoder | None = None
    body = b""
    response = read is read_response
    try:
        for piece in pieces:
            buffer += piece
            while buffer or (decoder is not None and decoder.done):
                if head is None or decoder is None:
                    parsed = read(reader, buffer)
                    if parsed is None:
                        break
                    head, used = parsed
                    del buffer[:used]
                    decoder, body = _decoder(head, limits, response), b""
                if not decoder.done:
                    data, buffer = bytes(buffer), bytearray()
                    body += b"".join(decoder.feed(data))
                    if not decoder.done:
                        break
                    buffer = bytearray(decoder.rest)
                messages.append(Message(head, body, tuple(decoder.trailers)))
                if not head.keep_alive:
                    return Verdict(tuple(messages), "closed", "")
                head = decoder = None
    except Refused as refused:
        return Verdict(tuple(messages), "refused", refused.reason.label)
    end = "open" if head is not None else "waiting" if buffer else "empty"
    return Verdict(tuple(messages), end, "")


def _decoder(head: RequestHead | ResponseHead, limits: Limits, response: bool) -> BodyDecoder:
    length = head.length if head.framing is Framing.LENGTH else 0
    return BodyDecoder(head.framing, length, limits, response=response)


def encode(message: Message) -> bytes:
    """Write a message as a gate would forward it."""
    head = message.head
    if isinstance(head, RequestHead):
        out = encode_request(
            head.method,
            head.target,
            head.authority.encode(),
            head.fields,
            head.framing,
            head.length,
        )
    else:
        out = encode_response(
            head.status,
            head.phrase,
            head.fields,
            head.framing,
            head.length,
            keep_alive=head.framing is not Framing.CLOSE,
            head_request=False,
        )
    if head.framing is Framing.CHUNKED:
        return out + encode_chunk(message.body) + encode_last_chunk(message.trailers)
    return out + message.body


def naive_messages(wire: bytes) -> list[tuple[bytes, bytes]]:
    """Return (head, body) of each message, read by rules simple enough to be plainly right.

    Raises ValueError for anything that is not a well-formed message to the last byte.
    """
    found = []
    while wire:
        head, end, wire = wire.partition(b"\r\n\r\n")
        if not end or re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", head):
            raise ValueError("not a head")
        lengths = re.findall(rb"\r\ncontent-length: ([0-9]+)(?=\r\n|\Z)", head)
        chunked = re.findall(rb"\r\ntransfer-encoding: chunked(?=\r\n|\Z)", head)
        mentions = re.findall(
            rb"(?i)\r\n[ \t]*(?:content[-_]length|transfer[-_]encoding)[ \t]*:", head
        )
        if len(mentions) != len(lengths) + len(chunked) or len(mentions) > 1:
            raise ValueError("not one framing")
        if chunked:
            body, wire = _naive_chunks(wire)
        else:
            size = int(lengths[0]) if lengths else 0
            body, wire = wire[:size], wire[size:]
            if len(body) != size:
                raise ValueError("a short body")
        found.append((head, body))
    return found


def _naive_chunks(wire: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, _, wire = wire.partition(b"\r\n")
        if not re.fullmatch(rb"[0-9a-f]+", line):
            raise ValueError("not a chunk line")
        size = int(line, 16)
        if size == 0:
            while line:
                line, end, wire = wire.partition(b"\r\n")
                if not end:
                    raise ValueError("no end")
            return body, wire
        body += wire[:size]
        if wire[size : size + 2] != b"\r\n":
            raise ValueError("no CRLF after a chunk")
        wire = wire[size + 2 :]


def check(raw: bytes, splits: Sequence[Sequence[bytes]], read: Reader = read_request) -> Verdict:
    """Demand everything the module says of `raw`. Raises AssertionError or whatever leaked."""
    whole = drive([raw], read)
    for pieces in splits:
        parted = drive(pieces, read)
        # Two faults in one head may be found in another order, so only the outcome must agree.
        if (parted.messages, parted.end) != (whole.messages, whole.end):
            raise AssertionError(f"split {list(pieces)!r}: {parted!r} is not {whole!r}")
    for message in whole.messages:
        _check_forwarded(message, read)
    return whole


def _check_forwarded(message: Message, read: Reader) -> None:
    head = message.head
    if isinstance(head, RequestHead) and not head.authority:
        return  # HTTP/1.0 without Host: no gate can route it
    if isinstance(head, ResponseHead) and head.framing is Framing.NONE:
        return  # the reader below does not know which statuses have no body
    wire = encode(message)
    naive = naive_messages(wire)
    if len(naive) != 1 or naive[0][1] != message.body:
        raise AssertionError(f"forwarded as {naive!r}")
    again = drive([wire], read).messages
    if len(again) != 1 or again[0].body != message.body or again[0].trailers != message.trailers:
        raise AssertionError(f"read again as {again!r}")
    if again[0].head.fields != head.fields:
        raise AssertionError(f"fields changed: {again[0].head.fields!r}")
    if isinstance(head, RequestHead) and isinstance(again[0].head, RequestHead):
        first, second = head, again[0].head
        if (first.method, first.target, first.authority) != (
            second.method,
            second.target,
            second.authority,
        ):
            raise AssertionError(f"{first!r} became {second!r}")


_TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"1", b"5", b"\x0b", b"\x7f",
    b"\xff", b"%2e", b"%2F", b"%", b"/", b"//", b"/../", b"?", b"#", b"*", b"@", b"\\", b"[::1]",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"chunked",
    b"Connection: close\r\n", b"Connection: host, txn-token\r\n", b"Txn-Token: x\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"TE: trailers\r\n", b"HTTP/1.0",
    b"HTTP/1.1", b"http://a", b"GET ", b"POST ", b"\r\n\r\n", b"0\r\n\r\n", b"ffffffffffffffff",
    b'5;a="b"\r\nhello\r\n', b"X-A: b\r\n", b"Content_Length: 3\r\n", b" \r\n",
)  # fmt: skip


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return a mutation of one seed, or a splice of two."""
    raw = bytearray(rng.choice(seeds)[:4096])
    if rng.random() < 0.2:
        other = rng.choice(seeds)[:4096]
        raw = raw[: rng.randint(0, len(raw))] + other[rng.randint(0, len(other)) :]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        at = rng.randint(0, len(raw))
        match rng.randrange(5):
            case 0:
                raw[at:at] = rng.choice(_TOKENS)
            case 1:
                del raw[at : at + rng.choice((1, 1, 2, 8))]
            case 2:
                raw[at : at + 1] = bytes((rng.randrange(256),))
            case 3:
                raw[at : at + rng.randint(0, 4)] = rng.choice(_TOKENS)
            case _:
                end = min(len(raw), at + rng.randint(1, 40))
                raw[at:at] = raw[at:end]
    return bytes(raw)


def random_pieces(rng: random.Random, raw: bytes) -> list[bytes]:
    """Return `raw` in pieces of random sizes."""
    cuts = sorted(rng.randint(0, len(raw)) for _ in range(rng.randint(1, 6)))
    return [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)]) if a != b]


REQUEST_SEEDS: Final = (
    b"GET /a?b=c HTTP/1.1\r\nHost: shop:80\r\nAccept: */*\r\n\r\n",
    b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTxn-Token: t\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"GET http://a:8080/x HTTP/1.1\r\nHost: a\r\nConnection: x-b, close\r\nX-B: 1\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /2 HTTP/1.1\r\nHost: [::1]:80\r\nExpect: 100-continue\r\n\r\n",
)
RESPONSE_SEEDS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nrest",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nConnection: close\r\n\r\n",
)


def corpus_seeds() -> list[bytes]:
    """Return the raw requests of the corpus, none where it is absent."""
    home = Path(os.environ.get("NARROWGATE_CORPORA") or _ROOT.parent / "shared" / "data")
    path = home / "http" / "http1_requests.json"
    if not path.exists():
        return []
    return [base64.b64decode(case["raw_b64"]) for case in json.loads(path.read_text())["cases"]]


def fuzz(seed: int, *, seconds: float | None = None, rounds: int | None = None) -> tuple[int, int]:
    """Run until a bound is reached; return rounds and how many messages were accepted.

    Raises AssertionError naming the seed and the bytes.
    """
    rng = random.Random(seed)
    requests = [*REQUEST_SEEDS, *corpus_seeds()]
    end_s = time.monotonic() + seconds if seconds is not None else None
    done = accepted = 0
    while (rounds is None or done < rounds) and (end_s is None or time.monotonic() < end_s):
        response = rng.random() < 0.25
        raw = mutate(rng, RESPONSE_SEEDS if response else requests)
        splits = [random_pieces(rng, raw)]
        if len(raw) < 300 and rng.random() < 0.2:
            splits.append([raw[i : i + 1] for i in range(len(raw))])
        try:
            verdict = check(raw, splits, read_response if response else read_request)
        except Exception as fault:
            raise AssertionError(f"seed {seed}, round {done}, bytes {raw!r}: {fault!r}") from fault
        accepted += len(verdict.messages)
        done += 1
    return done, accepted


def main() -> int:
    """Fuzz for a time and print what was done."""
    parser = argparse.ArgumentParser(description="Fuzz the HTTP/1 wire code.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    done, accepted = fuzz(options.seed, seconds=options.seconds)
    print(f"{done} rounds, {accepted} messages accepted, no fault")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

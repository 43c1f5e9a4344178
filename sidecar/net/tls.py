"""TLS as bytes in, bytes out: an `ssl.SSLObject` over two memory BIOs (never awaits, no socket).

Invariants: TLS 1.3 only; no session is ever resumed, so each connection proves its identity anew;
no plaintext is handed out before the handshake is complete. Driving the object by hand costs about
half of what the event loop's own TLS protocol costs (docs/performance.md).
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from typing import Final

RECORD_BYTES_MAX: Final = 262_144
_CLOSED: Final = (ssl.SSLZeroReturnError, ssl.SSLEOFError, ssl.SSLSyscallError)


class TlsFailure(Exception):
    """The peer's TLS is wrong: garbage, a refused certificate, a broken record."""


class Tls:
    """One TLS connection's state machine.

    Call `start()` once, then `feed()` with what the socket gave; after each call send `output()`.
    """

    __slots__ = ("_in", "_object", "_out", "closed", "established")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=server_side)
        self.established = False
        self.closed = False

    def start(self) -> None:
        """Begin the handshake (a client's first flight is then in `output()`)."""
        self._handshake()

    def feed(self, data: bytes) -> bytes:
        """Take ciphertext; return the plaintext that it completes, maybe empty.

        What comes after the peer's close_notify is dropped (RFC 8446 section 6.1).

        Raises:
            TlsFailure: the handshake or a record is refused; send `output()` (the alert) and close.
        """
        if self.closed:
            return b""
        self._in.write(data)
        if not self.established:
            self._handshake()
            if not self.established:
                return b""
        return self._read()

    def encrypt(self, data: bytes) -> bytes:
        """Return the ciphertext of `data` together with anything else waiting to be sent."""
        self._object.write(data)
        return self._out.read()

    def output(self) -> bytes:
        """What has to be sent now, maybe empty."""
        return self._out.read() if self._out.pending else b""

    def close(self) -> bytes:
        """Return the close_notify alert (RFC 8446 section 6.1)."""
        with suppress(ssl.SSLError, OSError, ValueError):
            self._object.unwrap()  # it raises as long as the peer's own has not come
        return self.output()

    def peer_certificate(self) -> bytes | None:
        """The peer's leaf certificate (DER), verified against the trust bundle by OpenSSL."""
        return self._object.getpeercert(True)

    def _handshake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, OSError) as error:
            raise TlsFailure(_short(error)) from None
        self.established = True

    def _read(self) -> bytes:
        chunk = b""
        chunks: list[bytes] | None = None
        try:
            while self._in.pending or self._object.pending():
                more = self._object.read(RECORD_BYTES_MAX)
                if not more:
                    self.closed = True
                    break
                if not chunk:
                    chunk = more
                elif chunks is None:
                    chunks = [chunk, more]
                else:
                    chunks.append(more)
        except ssl.SSLWantReadError:
            pass
        except _CLOSED:
            self.closed = True
        except (ssl.SSLError, OSError) as error:
            raise TlsFailure(_short(error)) from None
        return chunk if chunks is None else b"".join(chunks)


def _short(error: Exception) -> str:
    """OpenSSL's own reason word; never the peer's bytes."""
    return str(getattr(error, "reason", None) or type(error).__name__).lower()


def context(
    *, server_side: bool, chain_pem: bytes, key_pem: bytes, roots_pem: str | None
) -> ssl.SSLContext:
    """Make a TLS 1.3 context.

    Args:
        server_side: accept or connect.
        chain_pem: our certificate chain, leaf first; empty: we present none.
        key_pem: its private key.
        roots_pem: the authorities a peer must chain to; None (edge only): no client certificate.

    Raises:
        ssl.SSLError: chain, key or roots do not fit together.
    """
    protocol = ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.maximum_version = ssl.TLSVersion.TLSv1_3
    made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    if server_side:
        made.num_tickets = 0
    made.check_hostname = False  # SPIFFE pins the URI SAN instead (sidecar/identity/peer.py)
    if roots_pem is not None:
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        made.load_verify_locations(cadata=roots_pem)
    elif not server_side:
        raise ssl.SSLError("a client never connects without roots to verify the server against")
    if chain_pem:
        _load_chain(made, chain_pem, key_pem)
    made.set_alpn_protocols(["http/1.1"])
    return made


def _load_chain(made: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """Load from anonymous memory: the key never becomes a file that something else could read."""
    descriptor = os.memfd_create("narrowgate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, key_pem + b"\n" + chain_pem)
        # The empty password: a locked key is an error, not a question on somebody's terminal.
        made.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    finally:
        os.close(descriptor)

"""Behaviour before speed: a gate that lets everything through is fast and worth nothing."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import envoy
from bench.load import Target

_BODY = '{"order":"order-8841207","amount_minor":4250}'


class VerifyError(RuntimeError):
    """A variant does not behave as it must; its numbers would mean nothing."""


@dataclass(frozen=True)
class Caller:
    """Who connects by TLS: the CA it checks the server by, and its own certificate, if any."""

    trusted: Path
    certificate: Path | None = None


def ask(
    port: int,
    *,
    method: str = "POST",
    path: str = "/charge",
    host: str = "payments",
    headers: Mapping[str, str] | None = None,
    caller: Caller | None = None,
) -> int | str:
    """The status of the answer, or the name of the error that came instead of one."""
    if caller is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    else:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=5, context=_context(caller)
        )
    try:
        fields = {"Host": host, "Content-Type": "application/json", **(headers or {})}
        connection.request(method, path, _BODY if method == "POST" else None, fields)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def _context(caller: Caller) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # a mesh certificate names a workload, not a host
    context.load_verify_locations(caller.trusted)
    if caller.certificate is not None:
        context.load_cert_chain(caller.certificate, caller.certificate.with_suffix(".key"))
    return context


def expect(what: str, got: int | str, *statuses: int) -> str:
    """One line for the report.

    No `statuses` means that no HTTP answer may come at all: the connection must fail.

    Raises:
        VerifyError: it is not so.
    """
    if got not in statuses if statuses else isinstance(got, int):
        wanted = " or ".join(map(str, statuses)) or "a failed connection"
        raise VerifyError(f"{what}: got {got}, want {wanted}")
    return f"{what}: {got}"


def check_envoy(target: Target, certs: Path) -> list[str]:
    """The peer must pass the frontend and refuse everybody else.

    Raises:
        VerifyError: it does not.
    """
    lines = [expect("envoy passes a request", ask(target.port), 200)]
    for who in ("rogue", "stranger", None):
        caller = Caller(certs / "ca.pem", certs / f"{who}.pem" if who else None)
        got = ask(envoy.INBOUND, caller=caller)
        lines.append(expect(f"envoy refuses the certificate of {who or 'nobody'}", got))
    return lines

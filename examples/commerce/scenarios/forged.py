"""Group 8: forged identity headers, from outside, from a peer and from the application."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples.commerce import records
from examples.commerce.client import get, post, through_proxy
from examples.commerce.mesh import INTRUDER, Mesh
from examples.commerce.scenarios.outcome import Group, Outcome
from examples.commerce.scenarios.theft import stolen
from examples.commerce.topology import FULL_SCOPE, SERVICES, spiffe_id

MARK = "forged-by-the-thief"
CHARGE = {"order": "1", "amount_cents": 1}
ORDER = {"sku": "tea", "quantity": 1, "total_cents": 790, "email": "alice@example.com"}
FORGED = {
    "x-forwarded-client-cert": f'By={MARK};URI={spiffe_id("orders")};Subject="CN={MARK}"',
    "l5d-client-id": f"{MARK}.shop.example",
    "x-pomerium-jwt-assertion": MARK,
    "txn-token": MARK,
    "txn-hops": MARK,
}


def _app_log(mesh: Mesh, name: str) -> Path:
    return mesh.processes.log_path(f"{name}-app")


def outside_without_token(mesh: Mesh) -> Outcome:
    """From outside: forged identity headers instead of an access token."""
    answer = mesh.explain(mesh.buy(token=None, fields=FORGED), "storefront")
    return Outcome("401 credential_missing", answer)


def outside_with_token(mesh: Mesh) -> Outcome:
    """From outside: forged identity headers beside a good access token."""
    offsets = {name: records.size(_app_log(mesh, name)) for name in SERVICES}
    answer = mesh.buy(fields=FORGED)
    seen = [
        name
        for name, offset in offsets.items()
        if MARK in json.dumps(records.requests(_app_log(mesh, name), offset))
    ]
    return Outcome("201, seen by nobody", f"{answer}, seen by {seen or 'nobody'}")


def peer_in_anothers_name(mesh: Mesh) -> Outcome:
    """From a peer: the intruder says to be the storefront."""
    fields = {**FORGED, "x-forwarded-client-cert": f"URI={spiffe_id('storefront')}"}
    for name in ("txn-token", "txn-hops"):
        fields.pop(name)
    port = mesh.places["orders"].inbound
    answer = mesh.identity(INTRUDER).call(port, get("/healthz", fields))
    return Outcome("403 policy_denied", str(answer))


def peer_is_named_by_the_gate(mesh: Mesh) -> Outcome:
    """What the application of orders is told of its caller is the gate's word."""
    log = _app_log(mesh, "orders")
    offset = records.size(log)
    fields = {"x-forwarded-client-cert": FORGED["x-forwarded-client-cert"]}
    port = mesh.places["orders"].inbound
    answer = mesh.identity("payments").call(port, get("/healthz", fields))
    told = [line["headers"].get("x-forwarded-client-cert", "") for line in _lines(log, offset)]
    word = "payments" if spiffe_id("payments") in str(told) else "nobody"
    return Outcome("200, told payments", f"{answer}, told {MARK if MARK in str(told) else word}")


def application_with_stolen_token(mesh: Mesh) -> Outcome:
    """From the application: a genuine stolen token in its own outbound call."""
    fields = {**FORGED, **{k.lower(): v for k, v in stolen(mesh).first.fields().items()}}
    port = mesh.places["orders"].outbound
    answer = through_proxy(port, post("http://payments/charges", CHARGE, fields))
    return Outcome("403 policy_denied", mesh.explain(answer, "orders"))


def application_with_invented_handle(mesh: Mesh) -> Outcome:
    """From the application: an invented x-request-id and trace."""
    fields = {
        "x-request-id": "0" * 32,
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "tracestate": f"ng={'0' * 32}",
    }
    port = mesh.places["orders"].outbound
    answer = through_proxy(port, post("http://payments/charges", CHARGE, fields))
    return Outcome("403 policy_denied", mesh.explain(answer, "orders"))


def dead_handle(mesh: Mesh) -> Outcome:
    """From the application: the handle of a request that is answered."""
    log = _app_log(mesh, "orders")
    offset = records.size(log)
    mesh.buy()
    handles = [line["headers"].get("x-request-id", "") for line in _lines(log, offset)]
    fields = {"x-request-id": handles[-1]} if handles else {}
    port = mesh.places["orders"].outbound
    answer = through_proxy(port, post("http://payments/charges", CHARGE, fields))
    return Outcome("403 policy_denied", mesh.explain(answer, "orders") if handles else "no handle")


def live_handle_elsewhere(mesh: Mesh) -> Outcome:
    """A live handle works at the gate that gave it, and at no other."""
    with _held_checkout(mesh) as handle:
        fields = {"x-request-id": handle}
        home, other = mesh.places["storefront"].outbound, mesh.places["orders"].outbound
        there = through_proxy(other, post("http://payments/charges", CHARGE, fields))
        here = through_proxy(home, post("http://orders/orders", ORDER, fields))
        elsewhere = mesh.explain(there, "orders")
    return Outcome("201, elsewhere 403 policy_denied", f"{here}, elsewhere {elsewhere}")


def anothers_handle_from_outside(mesh: Mesh) -> Outcome:
    """From outside: somebody else's live handle as x-request-id."""
    log = _app_log(mesh, "storefront")
    token = mesh.provider.access_token(["catalog:read"], subject="mallory")
    with _held_checkout(mesh) as handle:
        offset = records.size(log)
        port = mesh.places["storefront"].edge
        fields = {"x-request-id": handle, "tracestate": f"ng={handle}"}
        answer = mesh.customer.send(port, get("/products", fields), token)
        given = [line["headers"] for line in _lines(log, offset)]
    fresh = bool(given) and handle not in str(given) and "x-request-id" in given[-1]
    return Outcome("200, a fresh handle", f"{answer}, {'a fresh' if fresh else 'the same'} handle")


def _lines(log: Path, offset: int) -> list[dict[str, Any]]:
    """The application's request lines since `offset`, waiting for the first to be written."""
    end_s = time.monotonic() + records.WAIT_S
    while not (found := records.requests(log, offset)) and time.monotonic() < end_s:
        time.sleep(0.02)
    return found


@contextmanager
def _held_checkout(mesh: Mesh) -> Iterator[str]:
    """A checkout whose body is still to come; gives its handle, as the application sees it."""
    log = _app_log(mesh, "storefront")
    offset = records.size(log)
    data = json.dumps({"sku": "cup", "quantity": 1, "email": "alice@example.com"}).encode()
    connection = mesh.customer.connect(mesh.places["storefront"].edge)
    try:
        connection.putrequest("POST", "/checkout")
        connection.putheader("Authorization", f"Bearer {mesh.provider.access_token(FULL_SCOPE)}")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data[:1])
        lines = _lines(log, offset)
        yield str(lines[-1]["headers"].get("x-request-id", "")) if lines else ""
        connection.send(data[1:])
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as failure:
        raise RuntimeError(f"the held checkout broke: {failure}") from failure
    finally:
        connection.close()


GROUP = Group(
    8,
    "forged identity headers, from outside and from within",
    [
        outside_without_token,
        outside_with_token,
        peer_in_anothers_name,
        peer_is_named_by_the_gate,
        application_with_stolen_token,
        application_with_invented_handle,
        dead_handle,
        live_handle_elsewhere,
        anothers_handle_from_outside,
    ],
)

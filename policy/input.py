"""Builds the input document of a decision: the OPA-Envoy v3 schema plus our key `narrowgate`.

Invariants: the document holds every fact the loaded policy can refer to (`Needs`) and may leave
out the rest, so that leaving out never changes an answer; what cannot be shown to the policy
without loss (a value that is not UTF-8, a body with a key given twice, a query that can be read
in two ways) is `Unreadable` and denies, because `not` over a missing value is true.

Schema: envoy.service.auth.v3.CheckRequest in protojson (zero values left out, int64 as text) and
`parsed_path`, `parsed_query`, `parsed_body`, `truncated_body`, `version` of opa-envoy-plugin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from policy.call import Call, Grant, Posture
from policy.faithful import Unreadable, parsed_body, parsed_path, parsed_query, utf8
from policy.reason import Reason

_VERSION: Final = {"ext_authz": "v3", "encoding": "protojson"}
_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a loaded policy reads; never less than it reads.

    Fields:
        headers: lower-case names, `None` for all of them.
        path, query, parsed_body, raw_body, truncated: the values of those names.
        token, time, addresses: our token, the time of the request, the socket addresses.
        facts: which of the small facts (`FACTS`, among them the token's claims) it reads.
        everything: the policy reads its input as a whole.
    """

    headers: frozenset[str] | None = _NONE
    path: bool = False
    query: bool = False
    parsed_body: bool = False
    raw_body: bool = False
    truncated: bool = False
    token: bool = False
    time: bool = False
    addresses: bool = False
    facts: frozenset[str] = _NONE
    everything: bool = False

    @property
    def body(self) -> bool:
        """The call's body has to be buffered before it can be judged."""
        return self.parsed_body or self.raw_body or self.truncated

    def joined(self, other: Needs) -> Needs:
        """What two policies read together."""
        both = self.headers is not None and other.headers is not None
        return Needs(
            headers=(self.headers or _NONE) | (other.headers or _NONE) if both else None,
            path=self.path or other.path,
            query=self.query or other.query,
            parsed_body=self.parsed_body or other.parsed_body,
            raw_body=self.raw_body or other.raw_body,
            truncated=self.truncated or other.truncated,
            token=self.token or other.token,
            time=self.time or other.time,
            addresses=self.addresses or other.addresses,
            facts=self.facts | other.facts,
            everything=self.everything or other.everything,
        )


CLAIMS: Final = ("txn", "sub", "scope", "req_wl", "hops", "exp", "tctx")
FACTS: Final = frozenset(
    {
        "source",
        "destination",
        "id",
        "method",
        "target",
        "protocol",
        "host",
        "size",
        "metadata",
        "version",
        "gate",
        "identity",
        "onward",
        "context",
        "posture",
        *CLAIMS,
    }
)
EVERYTHING: Final = Needs(None, True, True, True, True, True, True, True, True, FACTS, True)


def document(call: Call, grant: Grant | None, posture: Posture, needs: Needs) -> bytes:
    """The JSON text of the input for one decision.

    Raises:
        Unreadable: the policy needs something that cannot be shown to it faithfully.
    """
    facts = needs.facts
    http = _http(call, needs)
    request: dict[str, object] = {"http": http}  # objects are always there, for `object.get`
    if needs.time:
        request["time"] = _timestamp(call.time_s)
    source: dict[str, object] = {}
    destination: dict[str, object] = {}
    if call.source is not None and "source" in facts:
        source["principal"] = call.source.uri
    if call.destination is not None and "destination" in facts:
        destination["principal"] = call.destination.uri
    if needs.addresses:
        source["address"] = _address(call.source_address)
        destination["address"] = _address(call.destination_address)
    attributes: dict[str, object] = {
        "source": source,
        "destination": destination,
        "request": request,
    }
    if "metadata" in facts:
        attributes["metadataContext"] = {}
    value: dict[str, object] = {
        "attributes": attributes,
        "narrowgate": _ours(call, grant, posture, needs),
    }
    if "version" in facts:
        value["version"] = _VERSION
    if needs.path:
        value["parsed_path"] = parsed_path(call.path)
    if needs.query:
        value["parsed_query"] = parsed_query(call.query)
    if needs.body:
        _add_body(call, needs, value, http)
    return orjson.dumps(value)


def _http(call: Call, needs: Needs) -> dict[str, object]:
    facts = needs.facts
    http: dict[str, object] = {}
    if "method" in facts:
        http["method"] = call.method
    if "target" in facts:
        http["path"] = call.target
    if "id" in facts:
        http["id"] = call.id
    if "protocol" in facts:
        http["protocol"] = call.protocol
    if call.host and "host" in facts:
        http["host"] = call.host
    if call.size and "size" in facts:
        http["size"] = str(call.size)
    names = needs.headers
    if names is None or names:
        http["headers"] = _headers(call, names)
    return http


def _ours(call: Call, grant: Grant | None, posture: Posture, needs: Needs) -> dict[str, object]:
    """Our key. Without a grant there is no `token` at all: undefined, so nothing can hold of it."""
    facts = needs.facts
    ours: dict[str, object] = {}
    if "gate" in facts:
        ours["gate"] = call.gate
    if "posture" in facts:
        ours["posture"] = posture
    if needs.token and grant is not None:
        ours["token"] = _token(grant, facts)
    if "identity" in facts:
        peer = call.source
        ours["identity"] = {
            "self": call.workload.uri,
            "peer": None if peer is None else peer.uri,
        }
    if "onward" in facts:
        workload = call.destination
        host, port = call.destination_address
        ours["destination"] = {
            "workload": None if workload is None else workload.uri,
            "host": host,
            "port": port,
        }
    if "context" in facts:
        ours["context"] = {}
    return ours


def _token(grant: Grant, facts: frozenset[str]) -> dict[str, object]:
    token: dict[str, object] = {}
    if "scope" in facts:
        token["scope"] = sorted(grant.scope)
    if "txn" in facts:
        token["txn"] = grant.txn
    if "sub" in facts:
        token["sub"] = grant.subject
    if "req_wl" in facts:
        token["req_wl"] = grant.requesting_workload.uri
    if "hops" in facts:
        token["hops"] = [hop.uri for hop in grant.hops]
    if "exp" in facts:
        token["exp"] = grant.expires_at_s
    if "tctx" in facts:
        token["tctx"] = dict(grant.context)
    return token


def _address(address: tuple[str, int]) -> dict[str, object]:
    return {"socketAddress": {"address": address[0], "portValue": address[1]}}


def _timestamp(time_s: float) -> str:
    """RFC 3339 in UTC with microseconds, as protojson writes a Timestamp."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _headers(call: Call, names: frozenset[str] | None) -> dict[str, str]:
    """Lower-case names to values; values of one name are joined (RFC 9110 section 5.2)."""
    pseudo = {":authority": call.host, ":method": call.method, ":path": call.target}
    headers = {name: text for name, text in pseudo.items() if names is None or name in names}
    for raw_name, raw in call.fields:
        name = raw_name.decode("latin-1")
        if names is not None and name not in names:
            continue
        text = utf8(raw, "a field the policy reads is not UTF-8")
        if name in headers:
            text = headers[name] + ("; " if name == "cookie" else ",") + text
        headers[name] = text
    return headers


def _add_body(call: Call, needs: Needs, value: dict[str, object], http: dict[str, object]) -> None:
    body = call.body
    if call.truncated:
        raise Unreadable(Reason.BODY_TOO_LARGE, "the policy reads bodies and this one is cut")
    if body is None:
        if call.size != 0:
            raise Unreadable(Reason.POLICY_ERROR, "the policy reads bodies; none was buffered")
        body = b""
    value["truncated_body"] = False
    if needs.raw_body and body:
        http["body"] = utf8(body, "the body the policy reads is not UTF-8")
    if needs.parsed_body:
        value["parsed_body"] = parsed_body(body, call.fields)

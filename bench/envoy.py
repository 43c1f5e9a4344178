"""The peer: two Envoys, mutual TLS 1.3 with each other's SPIFFE ID pinned, and nothing else.

No token, no policy, no access log: what a mesh's proxies do at the very least, by the fastest of
them. Narrowgate's ratio is against this floor while it does its whole job.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from bench import app
from bench.certs import spiffe_id
from bench.fleet import Fleet, listening, write_json
from bench.load import Target

OUTBOUND: Final = 19001
INBOUND: Final = 19006
ROLES: Final = ("envoy-out", "envoy-in")

_TYPE: Final = "type.googleapis.com/envoy.extensions"


def start(fleet: Fleet, home: Path, certs: Path) -> Target:
    """Start both sides and wait until they listen."""
    home.mkdir()
    to_app = _cluster("app", app.PORT)
    inbound = _listener("in", INBOUND, "app")
    inbound["filter_chains"][0]["transport_socket"] = _tls(
        "Downstream", certs, "payments", "frontend", {"require_client_certificate": True}
    )
    to_peer = _cluster("payments", INBOUND)
    to_peer["transport_socket"] = _tls("Upstream", certs, "frontend", "payments", {})
    sides = {
        "envoy-in": (inbound, to_app, INBOUND),
        "envoy-out": (_listener("out", OUTBOUND, "payments"), to_peer, OUTBOUND),
    }
    binary = str(Path(sys.executable).with_name("envoy"))
    for role, (listener, cluster, port) in sides.items():
        config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
        path = write_json(home / f"{role}.json", config)
        flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        fleet.start(role, [binary, "-c", str(path), *flags])
        fleet.wait(role, listening(port))
    return Target("envoy", OUTBOUND, "payments", proxies=ROLES)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    protocol = {
        "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol
        },
    }


def _listener(name: str, port: int, cluster: str) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP1",
        "normalize_path": True,
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": _address(port), "filter_chains": [{"filters": filters}]}


def _tls(side: str, certs: Path, own: str, peer: str, more: dict[str, Any]) -> dict[str, Any]:
    common = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(certs / f"{own}.pem")},
                "private_key": {"filename": str(certs / f"{own}.key")},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(certs / "ca.pem")},
            "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"exact": spiffe_id(peer)}}
            ],
        },
        "alpn_protocols": ["http/1.1"],
    }
    config = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.{side}TlsContext",
        "common_tls_context": common,
        **more,
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}

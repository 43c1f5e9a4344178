"""The configuration: what the contract's example means, and what is refused, all at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from sidecar.config import Address, Config, ConfigError, GrantRule, LogTarget, load

Write = Callable[[str], Path]

MINIMAL = """\
version: 1
workload: spiffe://shop.example/ns/shop/sa/orders
authority: {bundle_file: bundle.json, join_token_file: token}
inbound: {listen: "127.0.0.1:17106", application: "127.0.0.1:18001"}
"""

FULL = """\
version: 1
workload: spiffe://shop.example/ns/shop/sa/orders
workers: 2
run_dir: run/orders
authority: {address: "127.0.0.1:17010", bundle_file: bundle.json, attestor: join_token,
            join_token_file: token, socket: null}
inbound:
  listen: "127.0.0.1:17106"
  application: "127.0.0.1:18001"
  routes: [{path: /healthz, methods: [GET], grant: optional}]
outbound: {listen: "127.0.0.1:17101"}
edge:
  listen: "127.0.0.1:18443"
  certificate_file: edge.pem
  key_file: edge.key
  issuers:
    - {issuer: "https://idp.shop.example", audience: shop, algorithms: [ES256],
       jwks_file: jwks.json, max_age_s: 3600}
policy: {source: authority, directory: null, engine: regorus,
         opa: {address: "unix:/run/opa.sock", timeout_s: 0.25},
         inbound_decision: envoy/authz/allow, outbound_decision: narrowgate/outbound/allow,
         timeout_s: 0.25}
posture: {stale_after_s: null, degraded_after_s: 10, clock_jump_s_max: 5}
limits: {}
timeouts: {connect_s: 2, handshake_s: 5, head_s: 10, first_byte_s: 30, idle_s: 60, request_s: 300,
           drain_s: 20}
telemetry: {metrics_listen: "127.0.0.1:17020", health_listen: "127.0.0.1:17021",
            admin_socket: null, access_log: stdout, decision_log: none}
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value).replace(str(path), "F")


def test_the_whole_example(write: Write, tmp_path: Path) -> None:
    config = load(write(FULL))
    assert config.workload.uri == "spiffe://shop.example/ns/shop/sa/orders"
    assert config.run_dir == tmp_path / "run/orders"
    assert config.authority.join_token_file == tmp_path / "token"
    assert config.authority.socket is None
    assert config.inbound.application == Address("127.0.0.1", 18001)
    assert config.inbound.route_table().match("/healthz", "GET") is GrantRule.OPTIONAL
    assert config.edge is not None
    assert config.edge.issuers[0].jwks_file == tmp_path / "jwks.json"
    assert config.policy.opa is not None
    assert config.policy.opa.address == Path("/run/opa.sock")
    assert config.telemetry.decision_log == LogTarget("none")


def test_defaults(write: Write, tmp_path: Path) -> None:
    config = load(write(MINIMAL))
    assert config.workers == 1
    assert config.run_dir == tmp_path / "run"
    assert config.outbound.listen == Address("127.0.0.1", 17001)
    assert config.edge is None
    assert config.inbound.routes == ()
    assert config.limits.head_bytes_max == 65_536
    assert config.limits.body_bytes_max is None
    assert config.telemetry.istio_metrics is True


def test_relative_paths_start_at_the_file_even_from_elsewhere(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load(Path("config.yaml")).authority.bundle_file == tmp_path / "bundle.json"


def test_every_problem_at_once_with_its_line(write: Write) -> None:
    text = refused(
        write(
            "version: 1\n"
            "workload: spiffe://Shop/x\n"
            "workers: 0\n"
            "authority: {attestor: unix, sockt: x}\n"
            "inbound: {listen: '127.0.0.1:17001', application: '10.0.0.1:1'}\n"
            "outbound:\n"
            "  listen: 0.0.0.0:17009\n"
            "policy: {source: directory, engine: opa, timeout_s: yes}\n"
            "limits: {fields_max: '12', fields_max: 12}\n"
            "telemetry: {metrics_listen: '127.0.0.1:17001'}\n"
            "bogus: 1\n"
        )
    )
    expected = [
        "F:2: workload: is refused: ",
        "F:3: workers: must be greater than or equal to 1, ",
        "F:4: authority.bundle_file: is required, add it",
        "F:4: authority.socket: is required with attestor unix, ",
        "F:4: authority.sockt: is not a known field, did you mean socket?",
        "F:5: inbound.application: is not on loopback",
        "F:7: outbound.listen: is not on loopback and would be an open relay",
        "F:8: policy.directory: is required with source directory",
        "F:8: policy.opa: is required with engine opa",
        "F:8: policy.timeout_s: can be read in two ways",
        "F:9: limits.fields_max: stands here and in line 9",
        "F:10: telemetry.metrics_listen: is taken by inbound.listen (127.0.0.1:17001)",
        "F:11: bogus: is not a known field, remove it",
    ]
    lines = text.splitlines()
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("version: 2\nanything: 1\n", "2 is not known, this narrowgate reads version 1"),
        ("workload: x\n", "is missing, write 'version: 1'"),
        ("version: '1'\n", "must be a whole number"),
        ("version: true\n", "must be a whole number"),
        ("version: 1.0\n", "must be a whole number"),
    ],
)
def test_an_unknown_version_is_the_only_complaint(write: Write, version: str, says: str) -> None:
    text = refused(write(version))
    assert says in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("listen", ["0.0.0.0:17001", "[::]:17001", "10.1.2.3:17001"])
def test_the_outbound_gate_is_no_open_relay(write: Write, listen: str) -> None:
    assert "open relay" in refused(write(f"{MINIMAL}outbound: {{listen: '{listen}'}}\n"))


@pytest.mark.parametrize("port", [17106, 17001, 17020, 17021])
def test_the_application_is_not_the_sidecar_itself(write: Write, port: int) -> None:
    text = refused(write(MINIMAL.replace("127.0.0.1:18001", f"127.0.0.1:{port}")))
    assert "inbound.application: is the sidecar's own" in text


def test_a_wildcard_listener_collides_with_every_host(write: Write) -> None:
    text = refused(write(f"{MINIMAL}telemetry: {{health_listen: '0.0.0.0:17106'}}\n"))
    assert "telemetry.health_listen: is taken by inbound.listen" in text
    text = refused(write(MINIMAL.replace("127.0.0.1:17106", "0.0.0.0:18001")))
    assert "inbound.application: is the sidecar's own inbound.listen" in text


def test_collisions_are_refused_without_a_file_too(write: Write) -> None:
    data = load(write(MINIMAL)).model_dump()
    data["inbound"]["application"] = "127.0.0.1:17001"
    with pytest.raises(ValidationError, match=r"own outbound\.listen"):
        Config.model_validate_json(json.dumps(data, default=str))


@pytest.mark.parametrize(
    ("issuer", "says"),
    [
        ("", "or jwks_file must be given and not both"),
        (", jwks_file: a, jwks_url: 'https://i.example/k'", "and not both"),
        (", jwks_url: 'http://i.example/k'", "must be an https:// URL"),
        (", jwks_file: a, algorithms: [none]", "is not one of the choices"),
        (", jwks_file: a, algorithms: []", "must have at least 1 item"),
    ],
)
def test_issuers_are_unambiguous(write: Write, issuer: str, says: str) -> None:
    edge = (
        "edge: {listen: '127.0.0.1:18443', certificate_file: c, key_file: k,"
        f" issuers: [{{issuer: 'https://i.example', audience: a{issuer}}}]}}\n"
    )
    assert says in refused(write(MINIMAL + edge))


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    text = refused(tmp_path / "absent.yaml")
    assert text.endswith("cannot be read (No such file or directory), check path and permissions")
    assert len(text.splitlines()) == 1


def test_values_are_not_repeated_in_messages(write: Write) -> None:
    assert "hunter2" not in refused(write(f"{MINIMAL}workers: hunter2\n"))


def test_it_is_frozen(write: Write) -> None:
    config = load(write(MINIMAL))
    with pytest.raises(ValidationError, match="frozen"):
        config.workers = 2  # type: ignore[misc]


def test_the_schema_names_every_field_and_closes_every_section() -> None:
    schema = Config.schema()
    sections = [schema, *schema["$defs"].values()]
    sections = [section for section in sections if section.get("type") == "object"]
    assert len(sections) == 13
    for section in sections:
        assert section["additionalProperties"] is False
        assert all(
            {"description", "$ref"} & field.keys() for field in section["properties"].values()
        )


def test_the_example_has_all_sections_of_the_model() -> None:
    assert set(yaml.safe_load(FULL)) == set(Config.model_fields)

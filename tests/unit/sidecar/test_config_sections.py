"""Rules inside a section are checked even when another field of it is wrong."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from sidecar.config_sections import Authority, Edge, Inbound, Policy, Telemetry


def problems(section: type[BaseModel], **data: object) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        section.model_validate_json(json.dumps(data))
    return {".".join(map(str, error["loc"])) for error in caught.value.errors()}


def test_each_attestor_needs_its_input() -> None:
    assert problems(Authority, bundle_file="b") == {"join_token_file"}
    assert problems(Authority, bundle_file="b", attestor="unix") == {"socket"}
    # A wrong attestor is the only thing said: nobody knows what it needs.
    assert problems(Authority, bundle_file="b", attestor="tpm") == {"attestor"}
    assert problems(Authority, address=1, attestor="unix") == {"address", "bundle_file", "socket"}


def test_a_policy_folder_that_would_not_be_read_is_refused() -> None:
    assert problems(Policy, directory="p") == {"directory"}
    assert problems(Policy, source="directory", engine="opa") == {"directory", "opa"}


def test_routes_of_one_path_do_not_contradict_each_other() -> None:
    routes = [{"path": "/a", "grant": "optional"}, {"path": "/a", "grant": "forbidden"}]
    found = problems(Inbound, listen="127.0.0.1:1", application="127.0.0.1:2", routes=routes)
    assert found == {"routes"}


def test_an_issuer_stands_once() -> None:
    issuer = {"issuer": "https://i.example", "audience": "a", "jwks_file": "k"}
    edge = {"listen": "127.0.0.1:1", "certificate_file": "c", "key_file": "k"}
    assert problems(Edge, **edge, issuers=[issuer, issuer]) == {"issuers"}


def test_two_logs_do_not_share_a_file() -> None:
    assert problems(Telemetry, access_log="a", decision_log="a") == {"decision_log"}
    Telemetry.model_validate_json('{"access_log": "stdout", "decision_log": "stdout"}')

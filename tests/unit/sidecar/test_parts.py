"""The parts of a worker: what the configuration names is there and usable, or one clear line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sidecar.config import load
from sidecar.parts import Parts, StartError, run_folder
from tests.simulation.network import MemoryNetwork
from tests.simulation.world import World

CONFIG = """version: 1
workload: spiffe://shop.example/ns/shop/sa/orders
authority: {{bundle_file: {bundle}, join_token_file: token}}
inbound: {{listen: "127.0.0.1:17106", application: "127.0.0.1:18001"}}
telemetry: {{access_log: {log}, decision_log: none}}
"""


def parts(folder: Path, *, bundle: str = "bundle.json", log: str = "none") -> Parts:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(bundle=bundle, log=log))
    return Parts(load(path), 0, MemoryNetwork())


async def test_without_a_bundle_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot read the trust bundle .*narrowgate ca bundle"):
        parts(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 1}', "\0", '{"keys": [{"kty": "EC"}]}'])
async def test_what_is_no_bundle_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    try:
        made = parts(tmp_path)
    except StartError as error:
        assert "bundle" in str(error)
    else:  # an empty set of keys is a bundle that trusts nobody (SPIFFE bundle section 4)
        assert made.mesh.bundle.x509_authorities == ()


async def test_a_log_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "bundle.json").write_bytes(world.bundle_document())
    with pytest.raises(StartError, match="cannot open a log"):
        parts(tmp_path, log="no/such/folder/access.log")


async def test_nothing_is_trusted_before_the_authority_spoke(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "bundle.json").write_bytes(world.bundle_document())
    made = parts(tmp_path)
    assert made.mesh.trust.issuers is None
    assert len(made.mesh.registry) == 0
    assert not made.inbound_judge.loaded
    assert not made.outbound_judge.loaded
    assert not made.posture.ready()


def test_the_run_folder_is_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    folder.mkdir(parents=True, mode=0o755)
    run_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot use the run folder"):
        run_folder(tmp_path / "file" / "run")

"""Policies: directories as OPA lays them out, one revision per content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ca import policies
from ca.entries import EntryError
from ca.policies import PolicyFilesError, read_directory
from ca.spiffe.ids import SpiffeId

_ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "main.rego").write_text("package a\n")
    (tmp_path / "main_test.rego").write_text("package a_test\n")
    (tmp_path / "lib" / "x.rego").write_text("package lib.x\n")
    (tmp_path / "data.json").write_text('{"limits": {"a": 1}}')
    (tmp_path / "lib" / "data.yaml").write_text("roles: [x]\n")
    (tmp_path / "README.md").write_text("text")
    return tmp_path


def test_read(folder: Path) -> None:
    files = read_directory(folder)
    assert files.modules == {"main.rego": "package a\n", "lib/x.rego": "package lib.x\n"}
    assert files.data == {"limits": {"a": 1}, "lib": {"roles": ["x"]}}


def test_the_revision_names_the_content(folder: Path) -> None:
    first = read_directory(folder).revision
    assert len(first) == 64
    (folder / "main_test.rego").write_text("package other\n")
    assert read_directory(folder).revision == first
    (folder / "data.json").write_text('{"limits": {"a": 2}}')
    assert read_directory(folder).revision != first


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.json", b"{"),
        ("data.json", b"[1]"),
        ("data.json", b'{"a": NaN}'),
        ("data.json", b'{"lib": {"roles": []}}'),
        ("lib/data.yaml", b"a: !!python/object:os.system {}"),
        ("lib/data.yaml", b"a: 2020-01-01"),
        ("main.rego", b"\xff"),
        ("main.rego", b"x" * (policies.POLICY_BYTES_MAX + 1)),
    ],
)
def test_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(PolicyFilesError):
        read_directory(folder)


def test_not_a_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyFilesError, match=r"no \.rego"):
        read_directory(tmp_path)
    with pytest.raises(PolicyFilesError, match="not a directory"):
        read_directory(tmp_path / "absent")


def test_a_link_out_of_the_directory(folder: Path, tmp_path_factory: Any) -> None:
    secret = tmp_path_factory.mktemp("other") / "secret"
    secret.write_text("root:x")
    (folder / "z.rego").symlink_to(secret)
    with pytest.raises(PolicyFilesError, match="leads out"):
        read_directory(folder)


def test_own_policy_before_the_default(world: Any, folder: Path) -> None:
    files = read_directory(folder)
    with world.store.transaction() as rows:
        policies.put(rows, None, files, 0.0)
        policies.put(rows, _ORDERS, files, 0.0)
        assert set(policies.sections(rows)) == {policies.DEFAULT, _ORDERS.uri}
        policies.delete(rows, _ORDERS)
        with pytest.raises(EntryError, match="has no policy"):
            policies.delete(rows, _ORDERS)
        section = policies.sections(rows)[policies.DEFAULT]
        assert section == {
            "revision": files.revision,
            "modules": files.modules,
            "data": files.data,
        }
        with pytest.raises(EntryError, match="not registered"):
            policies.put(rows, SpiffeId.parse("spiffe://shop.example/x"), files, 0.0)

"""A bundle is whole or is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca.policies import read_directory
from policy.bundle import PolicyBundle, PolicyError, Problem, load_directory
from policy.loading import compile_engine

ALLOW = "package envoy.authz\n\nimport rego.v1\n\nallow := true\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_directory(tmp_path: Path) -> None:
    write(
        tmp_path, {"a/x.rego": ALLOW, "a/x_test.rego": "no", "a/b/data.json": '{"k": 1}', "z": ""}
    )
    bundle = load_directory(tmp_path)
    assert bundle.modules == {"a/x.rego": ALLOW}
    assert bundle.data == {"a": {"b": {"k": 1}}}
    assert "a/x_test.rego" in load_directory(tmp_path, tests=True).modules


def test_the_revision_is_of_the_content() -> None:
    one, two = PolicyBundle.of({"a.rego": ALLOW}, {}), PolicyBundle.of({"a.rego": ALLOW}, {})
    assert one.revision == two.revision
    assert one.revision != PolicyBundle.of({"b.rego": ALLOW}, {}).revision
    assert one.revision != PolicyBundle.of({"a.rego": ALLOW}, {"a": 1}).revision


def test_every_problem_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": ALLOW, "data.json": "{", "c/data.json": "[]"})
    (tmp_path / "b.rego").write_bytes(b"\xff")
    with pytest.raises(PolicyError) as caught:
        load_directory(tmp_path)
    assert [problem.file for problem in caught.value.problems] == [
        "b.rego",
        "c/data.json",
        "data.json",
    ]
    assert str(caught.value).startswith("b.rego:0: cannot be read")


def test_data_given_twice(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": ALLOW, "data.json": '{"b": 1}', "b/data.json": "{}"})
    with pytest.raises(PolicyError, match="twice"):
        load_directory(tmp_path)


def test_nothing_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no Rego module"):
        load_directory(tmp_path)


def test_a_section() -> None:
    section = {"revision": "forged", "modules": {"a.rego": ALLOW, "a_test.rego": "x"}, "data": {}}
    bundle = PolicyBundle.from_section(section)
    assert bundle == PolicyBundle.of({"a.rego": ALLOW}, {})


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"modules": {}},
        {"modules": []},
        {"modules": {"a.rego": 1}},
        {"modules": {"a": ALLOW}},
        {"modules": {"a.rego": ALLOW}, "data": []},
    ],
)
def test_a_section_of_another_shape(section: dict[str, object]) -> None:
    with pytest.raises(PolicyError):
        PolicyBundle.from_section(section)


def test_problems_are_sorted_and_single() -> None:
    problems = [Problem("b", 1, "x"), Problem("a", 2, "y"), Problem("b", 1, "x")]
    assert str(PolicyError(problems)) == "a:2: y\nb:1: x"


async def test_compiling() -> None:
    engine = compile_engine(PolicyBundle.of({"a.rego": ALLOW}, {}), "envoy/authz/allow")
    assert await engine.evaluate(b"{}") is True


@pytest.mark.parametrize("name", ["data.yaml", "data.yml"])
def test_data_in_yaml(tmp_path: Path, name: str) -> None:
    files = {"a.rego": ALLOW, f"b/{name}": "k: [1, x]\n2: yes\n", "data.json": '{"b": {"j": 1}}'}
    bundle = load_directory(write(tmp_path, files))
    assert bundle.data == {"b": {"k": [1, "x"], "2": True, "j": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1",
        "",
        "a: .nan",
        "a: 2020-01-01",
        "a: !!python/name:os.system x",
        "a: &x [1]\nb: *x",
        "[" * 5000,
        "x" * (1 << 20) + ": 1",
    ],
)
def test_yaml_that_is_no_data(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"a.rego": ALLOW, "data.yaml": text})
    with pytest.raises(PolicyError, match=r"data\.yaml:0: cannot be read"):
        load_directory(tmp_path)


def test_the_authority_reads_the_same_data(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": ALLOW, "s/data.yaml": "k: {l: 1}", "data.json": '{"s": {"m": 2}}'})
    assert load_directory(tmp_path).data == read_directory(tmp_path).data

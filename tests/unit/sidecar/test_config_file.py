"""Loading: one error with all problems, in words, in the order of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from sidecar.config_file import ConfigError, dotted, load
from sidecar.strict_yaml import BYTES_MAX, Problem


class Small(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: int
    size: int = 1
    names: tuple[str, ...] = ()


def no_cross_checks(_: object) -> dict[tuple[str, str], str]:
    return {}


def test_problems_are_sorted_and_said_once(tmp_path: Path) -> None:
    problems = [Problem(9, ("b",), "x"), Problem(2, ("a",), "y"), Problem(9, ("b",), "x")]
    error = ConfigError(tmp_path, problems)
    assert [problem.line for problem in error.problems] == [2, 9]
    assert str(error) == f"{tmp_path}:2: a: y\n{tmp_path}:9: b: x"


def test_a_field_path_cannot_break_the_line() -> None:
    assert dotted(("a", 0, "b\nc\x1b")) == "a[0].b?c?"
    assert dotted(()) == "the file"
    assert len(dotted(("x" * 9999,))) == 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("[1, 2]", "holds no fields"),
        ("a: [", "is not YAML"),
        ("version: 1\nsize: big", "2: size: has the wrong type, give a whole number"),
        ("version: 1\nnames: x", "2: names: has the wrong type, give a list"),
        ("version: 1\nsiz: 2", "2: siz: is not a known field, did you mean size?"),
    ],
)
def test_what_is_said(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r".") as caught:
        load(path, Small, 1, no_cross_checks)
    assert says in str(caught.value)


def test_an_endless_file_is_read_up_to_the_bound(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(BYTES_MAX)):
        load(Path("/dev/zero"), Small, 1, no_cross_checks)


def test_cross_checks_are_reported_beside_the_others(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("version: 1\nsize: x\n")
    with pytest.raises(ConfigError) as caught:
        load(path, Small, 1, lambda _: {("other", "field"): "collides, move it"})
    assert len(caught.value.problems) == 2


def test_a_good_file_is_the_model(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("version: 1\nnames: [a]\n")
    assert load(path, Small, 1, no_cross_checks) == Small(version=1, names=("a",))

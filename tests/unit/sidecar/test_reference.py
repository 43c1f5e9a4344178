"""The reference pages in docs/reference are what the code says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.reason import Reason
from sidecar import reference
from sidecar.telemetry.catalogue import CATALOGUE

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_the_page_is_current(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), "run: python -m sidecar.reference docs/reference"


def test_main_writes_all_pages(tmp_path: Path) -> None:
    assert reference.main([str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(reference.PAGES)


def test_main_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_nothing_is_left_out() -> None:
    assert all(f"`{reason.label}`" in reference.reasons_page() for reason in Reason)
    assert all(f"`{name}`" in reference.metrics_page() for name in CATALOGUE)
    for section in ("`edge.issuers[]`", "`inbound.routes[]`", "`policy.opa`", "`limits`"):
        assert f"## {section}" in reference.config_page()


def test_of_two_bounds_the_narrower_is_told() -> None:
    assert "| number, over 0, at most 10 | `0.25` |" in reference.config_page()

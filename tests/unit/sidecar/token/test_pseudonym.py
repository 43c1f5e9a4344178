"""Pseudonyms: stable, keyed, unambiguous, hidden."""

from __future__ import annotations

import pytest

from sidecar.token.pseudonym import Pseudonyms, PseudonymsError


def test_same_person_same_name_and_nothing_shines_through() -> None:
    names = Pseudonyms(b"k" * 32)
    name = names.subject("https://idp.example", "alice")
    assert name == names.subject("https://idp.example", "alice")
    assert len(name) == 43
    assert "alice" not in name
    assert name != Pseudonyms(b"l" * 32).subject("https://idp.example", "alice")
    assert name != names.subject("https://other.example", "alice")


def test_issuer_and_subject_do_not_run_together() -> None:
    names = Pseudonyms(b"k" * 32)
    assert names.subject("ab", "c") != names.subject("a", "bc")


def test_section() -> None:
    assert Pseudonyms.from_section(None) is None
    section = {"key": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}
    found = Pseudonyms.from_section(section)
    assert found is not None
    assert found.subject("i", "s") == Pseudonyms(b"k" * 32).subject("i", "s")


@pytest.mark.parametrize("key", [None, 1, "", "YQ", "é", "a2tr="])
def test_broken_section_is_refused(key: object) -> None:
    with pytest.raises(PseudonymsError):
        Pseudonyms.from_section({"key": key})


def test_key_is_hidden() -> None:
    assert "k" * 8 not in repr(Pseudonyms(b"k" * 32))

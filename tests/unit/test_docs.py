"""What the pages say is true of the tree: links, paths, commands, policies, files, reasons."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

import pytest

from policy.bundle import PolicyBundle
from policy.input import FACTS
from policy.loading import compile_engine
from policy.reason import Reason
from sidecar.cli import build_parser
from sidecar.config import Config, load
from sidecar.telemetry.catalogue import CATALOGUE

ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARY: Final = ROOT / "policy" / "rego"
PAGES: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / folder / "README.md" for folder in ("bench", "examples/commerce")),
    ]
)
FENCE: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE: Final = re.compile(r"`([^`\n]+)`")
COMMAND: Final = re.compile(r"(?:^|\$\(|[|;&]\s*)\s*(narrowgate\s[^\n]*)", re.MULTILINE)
CUT: Final = re.compile(r"\s(?:\d?>>?|<|\||&|;)(?:\s|$|&).*|\)\s*$")


class Block(NamedTuple):
    """A fenced block: the page it is on, its language and its text."""

    page: Path
    language: str
    text: str


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(*languages: str) -> list[Block]:
    return [
        Block(page, language, text)
        for page in PAGES
        for language, text in FENCE.findall(page.read_text(encoding="utf-8"))
        if language in languages
    ]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in headings
    }


# --- links and paths ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert not lost


def paths_in(text: str) -> Iterator[str]:
    """Code spans that look like a path below one of the repository's folders."""
    tops = {entry.name for entry in ROOT.iterdir() if entry.is_dir()}
    for span in CODE.findall(text):
        if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", span) and "/" in span:
            top = span.split("/", 1)[0]
            if top in tops:
                yield span


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_paths_exist(page: Path) -> None:
    gone = [
        path
        for path in paths_in(prose(page))
        if not any(list(folder.glob(path.rstrip("/"))) for folder in (ROOT, page.parent))
    ]
    assert not gone


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        for target in LINK.findall(prose(page)):
            if not re.match(r"[a-z]+:", target):
                waiting.append((page.parent / target.partition("#")[0]).resolve())
    assert set(PAGES) <= reached


# --- commands -------------------------------------------------------------------------------------


def commands(text: str) -> list[list[str]]:
    """The words of each `narrowgate` command of a shell text, without what the shell takes."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"<<'(\w+)'.*?^\1$", "", text, flags=re.M | re.S))
    return [shlex.split(CUT.sub("", found))[1:] for found in COMMAND.findall(joined)]


def test_commands_are_found() -> None:
    text = "narrowgate ca serve \\\n  --listen 127.0.0.1:1 > log 2>&1 &\nx=$(narrowgate ca)"
    assert commands(text) == [["ca", "serve", "--listen", "127.0.0.1:1"], ["ca"]]
    assert commands("cat > f <<'REGO'\nnarrowgate lies\nREGO\nnarrowgate ca | grep x") == [["ca"]]


SHELL: Final = blocks("sh", "shell")


@pytest.mark.parametrize("block", SHELL, ids=lambda block: relative(block.page))
def test_commands_parse(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(block.text):
        try:
            parsed = build_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"narrowgate {shlex.join(words)}\n{capsys.readouterr().err}")
        assert callable(parsed.func)


def test_there_are_commands() -> None:
    assert sum(len(commands(block.text)) for block in SHELL) > 20


def known_so_far(words: list[str]) -> bool:
    """Whether every verb and option of a command exists; it may lack arguments."""
    parser = build_parser()
    for word in words:
        groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if word.startswith("--"):
            if word.partition("=")[0] not in parser._option_string_actions:
                return False
        elif groups:
            if word not in groups[0].choices:
                return False
            parser = groups[0].choices[word]
    return True


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_in_the_text_exist(page: Path) -> None:
    spans = [span for span in CODE.findall(prose(page)) if span.startswith("narrowgate ")]
    verbs = [span for span in spans if not re.search(r"[|]|\.\.\.", span)]
    unknown = [span for span in verbs if not known_so_far(shlex.split(span)[1:])]
    assert not unknown


def test_a_command_that_does_not_exist_is_seen() -> None:
    assert known_so_far(["ca", "entry", "create"])
    assert not known_so_far(["check"])
    assert not known_so_far(["ca", "entry", "create", "--nothing"])


def test_verbs_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)
        assert set(named) <= verbs, page


# --- policies and configurations ------------------------------------------------------------------

DECISIONS: Final = {
    "envoy.authz": "envoy/authz/allow",
    "narrowgate.outbound": "narrowgate/outbound/allow",
}


@pytest.mark.parametrize("block", blocks("rego"), ids=lambda block: relative(block.page))
async def test_policies_compile(block: Block) -> None:
    """Each block is a whole module that gives the decision of its package."""
    package = re.search(r"^package (\S+)$", block.text, re.MULTILINE)
    assert package is not None
    modules = {"page.rego": block.text}
    for file in sorted((LIBRARY / "narrowgate" / "lib").glob("*.rego")):
        if not file.name.endswith("_test.rego"):
            modules[f"lib/{file.name}"] = file.read_text(encoding="utf-8")
    await compile_engine(PolicyBundle.of(modules, {}), DECISIONS[package[1]]).close()


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: relative(block.page))
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "page.yaml"
    file.write_text(block.text, encoding="utf-8")
    assert load(file).version == 1


def test_the_input_of_a_policy_is_described_whole() -> None:
    """The JSON on docs/policy.md has a place for everything that a policy can refer to."""
    (shown,) = (json.loads(b.text) for b in blocks("json") if b.page.name == "policy.md")
    http = shown["attributes"]["request"]["http"]
    ours = shown["narrowgate"]
    found = {*shown["attributes"]["source"], *shown["attributes"], *http, *ours, *ours["token"]}
    named = {"source", "destination", "target", "metadata", "version", "onward"}
    assert FACTS - named <= found
    assert {"parsed_path", "parsed_query", "parsed_body", "truncated_body", "version"} <= set(shown)


# --- names ----------------------------------------------------------------------------------------

LABELS: Final = {reason.label for reason in Reason}
FAMILIES: Final = {label.partition("_")[0] for label in LABELS if "_" in label}


def fields_of(schema: object) -> Iterator[str]:
    """Every property name below a JSON Schema."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for value in schema.values():
            yield from fields_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from fields_of(value)


def test_reasons_exist() -> None:
    """A code span that looks like a reason is one, or is a field, a series or a module."""
    known = LABELS | set(fields_of(Config.schema())) | set(CATALOGUE) | {"join_token"}
    known |= {label for series in CATALOGUE.values() for label in series.labels}
    unknown = [
        f"{relative(page)}: {span}"
        for page in PAGES
        for span in CODE.findall(prose(page))
        if re.fullmatch(r"[a-z]+(_[a-z]+)+", span)
        and span.partition("_")[0] in FAMILIES
        and span not in known
    ]
    assert not unknown


def test_series_exist() -> None:
    named = {
        span
        for page in PAGES
        for span in CODE.findall(prose(page))
        if re.fullmatch(r"narrowgate_[a-z_]+", span)
    }
    assert named <= set(CATALOGUE)


def test_settings_exist() -> None:
    """`section.field` names a field of the configuration, unless it names a file."""
    known = set(fields_of(Config.schema()))
    sections = {name for name in Config.model_fields if name != "version"}
    for page in PAGES:
        for span in CODE.findall(prose(page)):
            section, dot, field = span.partition(".")
            if dot and section in sections and re.fullmatch(r"(?!rego$|py$)[a-z_.]+", field):
                assert set(field.split(".")) <= known, f"{relative(page)}: {span}"


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "img").glob("*.svg")), ids=relative)
def test_pictures_are_whole(picture: Path) -> None:
    """Well-formed, described in words, drawn on their own ground, and shown somewhere."""
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))  # noqa: S314 - our own file
    assert root.find(f"{svg}title") is not None
    assert root.find(f"{svg}desc") is not None
    assert "prefers-color-scheme: dark" in picture.read_text(encoding="utf-8")
    assert any(picture.name in page.read_text(encoding="utf-8") for page in PAGES)

"""The rules of style that a machine can keep: a rule here beats a reviewer's memory.

Each rule is a pure function from one parsed source to its violations, is run over the whole tree,
and is shown code that breaks it, so that a rule which has gone blind is noticed. The ratchets hold
what is not yet as it should be: they may only be lowered.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("ca", "policy", "sidecar")

FILE_LINES_MAX: Final = 300
FUNCTION_LINES_MAX: Final = 40
"""Lines of one function without its docstring."""

# --- the ratchets: lower or delete an entry when you can, never raise or add one ------------------

FILE_LINES_CEILING: Final[dict[str, int]] = {}
FUNCTION_LINES_CEILING: Final[dict[str, int]] = {}
SUPPRESSIONS_MAX: Final = {"ca": 5, "policy": 12, "sidecar": 13}
"""`type: ignore` and `noqa` comments of each package."""
UNTESTED: Final = {
    "sidecar/__main__.py": "hands over to sidecar.cli; the end-to-end tests run it",
}

# --------------------------------------------------------------------------------------------------


class Source(NamedTuple):
    """One file of the product: its path from the root, its text, its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


Rule = Callable[[Source], Iterator[str]]


def source(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, path))


def sources() -> list[Source]:
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return [source(str(file.relative_to(ROOT)), file.read_text()) for file in files]


def imported(tree: ast.AST, *, package: str = "") -> Iterator[tuple[int, str]]:
    """`(line, dotted module)` of every import below `tree`, by statement or by text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and called(node) in {"import_module", "__import__"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def called(node: ast.Call) -> str:
    """The last name of what is called."""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


# --- rules ----------------------------------------------------------------------------------------


def imports_point_one_way(src: Source) -> Iterator[str]:
    """sidecar -> policy -> ca.spiffe and sidecar -> ca.spiffe; only the command reaches the CA."""
    top = src.path.split("/", maxsplit=1)[0]
    package = src.module if src.path.endswith("__init__.py") else src.module.rpartition(".")[0]
    for line, module in imported(src.tree, package=package):
        other = module.split(".", maxsplit=1)[0]
        if other not in PACKAGES:
            continue
        shared = within(module, "ca.spiffe")
        allowed = {
            "ca": other == "ca" and (shared or not within(src.module, "ca.spiffe")),
            "policy": other == "policy" or shared,
            "sidecar": other in {"sidecar", "policy"} or shared,
        }[top]
        command = src.path == "sidecar/cli.py" and within(module, "ca.cli")
        if not allowed and not command:
            yield f"{line}: imports {module}"


MINT: Final = "policy/permit.py"
PUBLIC_OF_MINT: Final = {"Permit", "Denial", "Judge"}
GRANT: Final = "policy/call.py"
"""Seals `Grant` in the same way as the mint seals `Permit`."""


def one_mint(src: Source) -> Iterator[str]:
    """Only policy/permit.py makes a permit, or could."""
    if src.path == MINT:
        return
    for line, module in imported(src.tree):
        if within(module, "policy.permit"):
            name = module.removeprefix("policy.permit").lstrip(".")
            if name not in PUBLIC_OF_MINT:
                yield f"{line}: takes {name or 'the module itself'} from the mint"
    for node in ast.walk(src.tree):
        match node:
            case ast.Attribute(attr="_mint"):
                yield f"{node.lineno}: reaches for the mint"
            case ast.Attribute(attr="__set__" | "__delete__") if src.path != GRANT:
                yield f"{node.lineno}: reaches into the slots of a sealed thing"
            case ast.Call(func=ast.Attribute(attr="__setattr__"), args=[first, *_]) if (
                not src.path.startswith("ca/") and ast.unparse(first) != "self"
            ):
                yield f"{node.lineno}: sets an attribute of a frozen thing that is not self"
            case ast.Call(args=[ast.Name(id="Permit") | ast.Constant(value="Permit"), *_]) if (
                called(node) in {"__new__", "cast", "replace", "copy"}
            ):
                yield f"{node.lineno}: makes a permit"
            case ast.Call(func=ast.Name(id="Permit") | ast.Attribute(attr="Permit")):
                yield f"{node.lineno}: calls Permit"


def no_assert(src: Source) -> Iterator[str]:
    """`assert` vanishes under -O; a check that matters raises."""
    for node in ast.walk(src.tree):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: assert"


def tasks_are_held(src: Source) -> Iterator[str]:
    """A task that nobody holds can vanish, and its error with it. A task group holds its own."""
    for node in ast.walk(src.tree):
        match node:
            case ast.Expr(value=ast.Call() as call):
                pass
            case ast.Assign(targets=[ast.Name(id="_")], value=ast.Call() as call):
                pass
            case _:
                continue
        if called(call) not in {"create_task", "ensure_future"}:
            continue
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        if not re.search(r"(group|tg|tasks|nursery)$", owner):
            yield f"{node.lineno}: {owner or 'bare'} task is dropped"


def no_swallowing(src: Source) -> Iterator[str]:
    """No bare except; no broad except that does nothing; no broad suppress."""
    broad = {"Exception", "BaseException"}
    for node in ast.walk(src.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield f"{node.lineno}: bare except"
            elif broad & names(node.type) and all(idle(line) for line in node.body):
                yield f"{node.lineno}: swallows every exception"
        elif (
            isinstance(node, ast.Call)
            and called(node) == "suppress"
            and any(broad & names(arg) for arg in node.args)
        ):
            yield f"{node.lineno}: suppresses every exception"


def names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def idle(node: ast.stmt) -> bool:
    """Whether a statement does nothing."""
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def has_docstring(src: Source) -> Iterator[str]:
    """A module says its role. An empty package file needs no words."""
    if src.tree.body and not ast.get_docstring(src.tree):
        yield "1: no module docstring"


def has_future_annotations(src: Source) -> Iterator[str]:
    """Every module that has code defers its annotations."""
    if "import annotations" not in src.text and any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign)
        for node in ast.walk(src.tree)
    ):
        yield "1: no `from __future__ import annotations`"


def real_name(src: Source) -> Iterator[str]:
    """No drawer for everything."""
    for part in src.module.split("."):
        if re.search(r"(^|_)(utils?|helpers?|managers?|common|misc)$", part):
            yield f"1: a module called {part}"


def suppressions_name_their_rule(src: Source) -> Iterator[str]:
    """`type: ignore[code]` and `noqa: CODE`, never the bare form that hides the next mistake."""
    for number, line in enumerate(src.text.splitlines(), 1):
        if re.search(r"#\s*(type:\s*ignore(?!\[)|noqa(?!: ?[A-Z]))", line):
            yield f"{number}: suppression without a rule"


BROKEN: Final[dict[Rule, list[tuple[str, str]]]] = {
    imports_point_one_way: [
        ("ca/x.py", "import sidecar"),
        ("ca/x.py", "from policy.call import Call"),
        ("ca/spiffe/x.py", "from ca import store"),
        ("policy/x.py", "from sidecar.http import head"),
        ("policy/x.py", "from ca import store"),
        ("policy/x.py", "from ca.store import Store"),
        ("policy/x.py", "def f():\n    import ca.authority"),
        ("policy/x.py", "if TYPE_CHECKING:\n    from sidecar import path"),
        ("policy/x.py", "importlib.import_module('sidecar.path')"),
        ("policy/engines/x.py", "from ...ca import store"),
        ("sidecar/x.py", "from ca.authority import Authority"),
        ("sidecar/x.py", "from ca import cli"),
    ],
    one_mint: [
        ("sidecar/x.py", "from policy.permit import _mint"),
        ("sidecar/x.py", "import policy.permit"),
        ("policy/x.py", "from policy import permit"),
        ("sidecar/x.py", "from policy.permit import *"),
        ("sidecar/x.py", "permit._mint(call, None, [])"),
        ("sidecar/x.py", "Permit(call)"),
        ("sidecar/x.py", "policy.Permit(call)"),
        ("sidecar/x.py", "object.__new__(Permit)"),
        ("sidecar/x.py", "cast(Permit, x)"),
        ("sidecar/x.py", "typing.cast('Permit', x)"),
        ("sidecar/x.py", "object.__setattr__(permit, 'scope', s)"),
        ("sidecar/x.py", "Permit.scope.__set__(permit, s)"),
    ],
    no_assert: [("ca/x.py", "assert True")],
    tasks_are_held: [
        ("ca/x.py", "asyncio.create_task(f())"),
        ("ca/x.py", "create_task(f())"),
        ("ca/x.py", "_ = asyncio.ensure_future(f())"),
        ("ca/x.py", "self._loop.create_task(f())"),
    ],
    no_swallowing: [
        ("ca/x.py", "try:\n    f()\nexcept:\n    raise"),
        ("ca/x.py", "try:\n    f()\nexcept Exception:\n    pass"),
        ("ca/x.py", "try:\n    f()\nexcept (ValueError, BaseException):\n    '''why'''"),
        ("ca/x.py", "with contextlib.suppress(Exception):\n    f()"),
    ],
    has_docstring: [("ca/x.py", "x = 1")],
    has_future_annotations: [("ca/x.py", "def f(): ...")],
    real_name: [("ca/utils.py", ""), ("ca/http_helpers.py", ""), ("ca/common/x.py", "")],
    suppressions_name_their_rule: [
        ("ca/x.py", "x = 1  # type: " + "ignore"),
        ("ca/x.py", "x = 1  # no" + "qa"),
    ],
}
SOUND: Final[dict[Rule, list[tuple[str, str]]]] = {
    imports_point_one_way: [
        ("sidecar/cli.py", "def f():\n    from ca.cli import add_verbs"),
        ("sidecar/x.py", "from policy.permit import Permit\nfrom ca.spiffe.ids import SpiffeId"),
        ("policy/x.py", "import ca.spiffe.ids\nimport orjson"),
        ("policy/engines/x.py", "from . import Engine\nfrom ..call import Call"),
    ],
    one_mint: [
        (MINT, "object.__new__(Permit)"),
        ("sidecar/x.py", "from policy.permit import Denial, Judge, Permit"),
        ("policy/x.py", "object.__setattr__(self, '_hash', 1)"),
    ],
    tasks_are_held: [
        ("ca/x.py", "group.create_task(f())\nself._task = asyncio.create_task(f())"),
    ],
    no_swallowing: [("ca/x.py", "with suppress(OSError):\n    f()")],
}
RULES: Final = list(BROKEN)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_everywhere(rule: Rule) -> None:
    found = [f"{src.path}:{problem}" for src in sources() for problem in rule(src)]
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_sees(rule: Rule) -> None:
    for path, text in BROKEN[rule]:
        assert list(rule(source(path, text))), f"blind to {text!r} in {path}"
    for path, text in SOUND.get(rule, []):
        assert not list(rule(source(path, text))), f"complains of {text!r} in {path}"


def test_imports_make_no_cycle() -> None:
    """At module level; hiding one behind TYPE_CHECKING counts."""
    modules = {src.module: src for src in sources()}
    graph: dict[str, set[str]] = {}
    for name, src in modules.items():
        package = name if src.path.endswith("__init__.py") else name.rpartition(".")[0]
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        level = [node for node in src.tree.body if not isinstance(node, functions)]
        found = {
            module if module in modules else module.rpartition(".")[0]
            for node in level
            for _, module in imported(node, package=package)
        }
        graph[name] = (found & modules.keys()) - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


def test_every_source_has_its_test() -> None:
    missing = []
    for src in sources():
        path = Path(src.path)
        twin = ROOT / "tests" / "unit" / path.parent / f"test_{path.name}"
        if path.name != "__init__.py" and src.path not in UNTESTED and not twin.exists():
            missing.append(f"{src.path}: no {twin.relative_to(ROOT)}")
    assert not missing, "\n".join(missing)
    gone = [path for path in UNTESTED if not (ROOT / path).exists()]
    assert not gone, f"take these off UNTESTED: {gone}"


def test_every_unit_test_has_its_source() -> None:
    unit = ROOT / "tests" / "unit"
    stray = []
    for file in unit.rglob("test_*.py"):
        path = file.relative_to(unit)
        twin = ROOT / path.parent / path.name.removeprefix("test_")
        if path.parts[0] in PACKAGES and not twin.exists() and not (ROOT / path.parent).is_dir():
            stray.append(str(file.relative_to(ROOT)))
    assert not stray, f"tests of nothing: {stray}"


# --- ratchets -------------------------------------------------------------------------------------


def ratchet(measured: dict[str, int], bound: int, ceiling: dict[str, int]) -> list[str]:
    """What is over `bound` and its ceiling, and which ceilings are no longer needed."""
    over = [
        f"{name}: {length} lines, at most {ceiling.get(name, bound)}"
        for name, length in measured.items()
        if length > ceiling.get(name, bound)
    ]
    spare = [f"{name}: take its ceiling away" for name in ceiling if measured.get(name, 0) <= bound]
    return over + spare


def test_files_are_short() -> None:
    lines = {src.path: len(src.text.splitlines()) for src in sources()}
    problems = ratchet(lines, FILE_LINES_MAX, FILE_LINES_CEILING)
    assert not problems, "\n".join(problems)


def test_functions_are_short() -> None:
    lines: dict[str, int] = {}
    for src in sources():
        for node in ast.walk(src.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if ast.get_docstring(node):
                    words = node.body[0]
                    length -= (words.end_lineno or words.lineno) - words.lineno + 1
                key = f"{src.path}:{node.name}"
                lines[key] = max(lines.get(key, 0), length)
    problems = ratchet(lines, FUNCTION_LINES_MAX, FUNCTION_LINES_CEILING)
    assert not problems, "\n".join(problems)


def test_suppressions_only_get_fewer() -> None:
    counts = dict.fromkeys(PACKAGES, 0)
    where = []
    for src in sources():
        for number, line in enumerate(src.text.splitlines(), 1):
            if re.search(r"#\s*(type:\s*ignore|noqa)", line):
                counts[src.path.split("/", maxsplit=1)[0]] += 1
                where.append(f"{src.path}:{number}: {line.strip()}")
    over = {name: count for name, count in counts.items() if count > SUPPRESSIONS_MAX[name]}
    assert not over, f"{over}, at most {SUPPRESSIONS_MAX}\n" + "\n".join(where)


# --- the repository -------------------------------------------------------------------------------

HOSTS: Final = (
    "pypi|org",
    "pythonhosted|org",
    "npmjs|org",
    "debian|org",
    "golang|org",
    "crates|io",
)
MACHINE: Final = re.compile(
    r"(?<![\w.~-])/(?:work/(?:main|shared)|tmp/w/|root/|home/\w)"
    + "|"
    + "|".join(re.escape(host.replace("|", ".")) for host in HOSTS)
)


def tracked() -> list[Path]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_machine_or_registry_is_named() -> None:
    """A file of the repository works anywhere: no path of one machine, no registry's address."""
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(ROOT)}: {match.group()}"
            for match in MACHINE.finditer(text)
            if path != Path(__file__).resolve()
        ]
    assert not found, "\n".join(found)


def test_locks_pin_everything_by_hash() -> None:
    for name in ("base", "dev", "bench"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        entries = re.split(r"\n(?=\S)", text.strip())
        loose = [
            entry.split("\n", maxsplit=1)[0]
            for entry in entries
            if not re.match(r"[a-z0-9._-]+==\S+( ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}", entry)
        ]
        assert entries, name
        assert not loose, f"{name}.txt: {loose}"


def test_project_and_lock_ask_for_the_same() -> None:
    project = (ROOT / "pyproject.toml").read_text().split("dependencies = [", 1)[1].split("]")[0]
    lines = (ROOT / "requirements" / "base.in").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    assert set(re.findall(r'"([^"]+)"', project)) == wanted

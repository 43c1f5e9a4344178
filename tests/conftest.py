"""What every test may lean on: the seed of the run, and the real components a test needs.

A test that needs a real component (a program, a corpus) asks for it by name through the fixture
`component`. Where it is missing the test is skipped by that name, and with NARROWGATE_REQUIRE_ALL=1
(CI) it fails: a suite that quietly ran without its components proved less than it says.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T")

_ROOT: Final = Path(__file__).resolve().parent.parent
_REQUIRE_ALL: Final = os.environ.get("NARROWGATE_REQUIRE_ALL") == "1"
_SEED: Final = int(os.environ.get("NARROWGATE_SEED") or random.SystemRandom().getrandbits(32))

# Two shared cores: how long one example takes says nothing, so there is no deadline. CI runs the
# same examples every time, so that a red run is about the change; `make fuzz` looks for new ones.
settings.register_profile(
    "dev", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.register_profile("fuzz", settings.get_profile("dev"), max_examples=20_000)
settings.load_profile(
    os.environ.get("NARROWGATE_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give hypothesis the seed of the run, unless it was given one or runs without chance."""
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(_SEED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Name the seed where something failed."""
    if exitstatus != pytest.ExitCode.OK:
        terminalreporter.write_line(f"to repeat: NARROWGATE_SEED={_SEED}")


@pytest.fixture
def rng() -> random.Random:
    """Chance that the seed of the run repeats; each test has its own, from the start."""
    return random.Random(_SEED)


def require(name: str, found: T | None) -> T:
    """`found` when it is something; otherwise skip by `name`, or fail where none may miss."""
    if found:
        return found
    if _REQUIRE_ALL:
        pytest.fail(f"missing component: {name} (NARROWGATE_REQUIRE_ALL=1)")
    pytest.skip(f"missing component: {name}")


@pytest.fixture(scope="session")
def component() -> Callable[[str, T | None], T]:
    """`component("nginx", shutil.which("nginx"))` is the path, or a skip or failure by name."""
    return require


@pytest.fixture(scope="session")
def corpora() -> Callable[[str], Path]:
    """`corpora("http")` is the folder of that corpus, or a skip or failure by that name.

    They are looked for in `shared/data` beside the checkout, or where NARROWGATE_CORPORA says.
    """
    home = Path(os.environ.get("NARROWGATE_CORPORA") or _ROOT.parent / "shared" / "data")

    def folder(name: str) -> Path:
        path = home / name
        return require(f"corpus {name}", path if path.is_dir() else None)

    return folder

"""Fixtures of the sidecar's tests: a trust domain with real keys, gates on real sockets, an app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.gates import World
from tests.support.http_peer import App
from tests.support.identities import Identities


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identities]:
    made = Identities(tmp_path_factory.mktemp("domain"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identities]:
    """Another trust domain."""
    made = Identities(tmp_path_factory.mktemp("other"), "other.example")
    yield made
    made.close()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made = await App().start()
    yield made
    made.stop()


@pytest.fixture
async def world(identities: Identities, tmp_path: Path) -> AsyncIterator[World]:
    made = World(identities, tmp_path)
    yield made
    await made.close()

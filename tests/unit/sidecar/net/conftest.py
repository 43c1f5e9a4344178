"""Each async test here runs on both event loops, in a world that must end without unseen faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio

from tests.support.certs import CertificateAuthority
from tests.support.loops import LOOPS
from tests.support.world import World, opened_world


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return LOOPS


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with opened_world() as made:
        yield made


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority()

"""OPA's REST API as the engine uses it: what is asked, and what no answer is taken for.

How the engine reads decisions is in test_opa.py; a real OPA answers in tests/conformance.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from policy.bundle import Problem
from policy.engines import EngineFault
from policy.engines.opa_rest import OpaRest, json_object
from policy.reason import Reason

Answer = Callable[[web.Request, bytes], web.Response]


@asynccontextmanager
async def opa(folder: Path, answer: Answer) -> AsyncIterator[OpaRest]:
    """A server on a unix socket that answers everything by `answer`, and the way to it."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request, await request.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    rest = OpaRest(f"unix:{folder / 's'}")
    try:
        await web.UnixSite(runner, str(folder / "s")).start()
        yield rest
    finally:
        await rest.close()
        await runner.cleanup()


def status(number: int, value: object = None) -> Answer:
    """Always the same answer."""
    text = "" if value is None else json.dumps(value)
    return lambda _request, _body: web.Response(status=number, text=text)


async def test_what_is_asked(tmp_path: Path) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def answer(request: web.Request, body: bytes) -> web.Response:
        asked.append((request.method, request.raw_path, body))
        return web.json_response({"result": [{"id": "a/b.rego", "raw": ""}, 7]})

    async with opa(tmp_path, answer) as rest:
        assert await rest.put_data(b'{"a":1}') == []
        assert await rest.put_policy("narrowgate/a b?.rego", "a b?.rego", "package a") == []
        assert await rest.policies() == ["a/b.rego"]
        assert await rest.delete_policy("a/b.rego")
    assert asked == [
        ("PUT", "/v1/data", b'{"a":1}'),
        ("PUT", "/v1/policies/narrowgate/a%20b%3F.rego", b"package a"),
        ("GET", "/v1/policies", b""),
        ("DELETE", "/v1/policies/a/b.rego", b""),
    ]


async def test_what_opa_has_against_a_module(tmp_path: Path) -> None:
    found = {"errors": [{"message": "no such function", "location": {"row": 3}}, {}, "what"]}
    async with opa(tmp_path, status(400, found)) as rest:
        problems = await rest.put_policy("x", "p.rego", "package a")
    assert problems == [Problem("p.rego", 3, "no such function"), Problem("p.rego", 0, "")]


async def test_a_refusal_without_reasons_is_a_problem_too(tmp_path: Path) -> None:
    async with opa(tmp_path, status(400, {"message": "data conflict"})) as rest:
        assert await rest.put_data(b"{}") == [Problem("data", 0, "data conflict")]


@pytest.mark.parametrize(("number", "gone"), [(200, True), (404, True), (400, False)])
async def test_a_module_that_others_need_stays(tmp_path: Path, number: int, gone: bool) -> None:
    async with opa(tmp_path, status(number, {})) as rest:
        assert await rest.delete_policy("p.rego") is gone


@pytest.mark.parametrize("number", [301, 401, 500, 503])
async def test_another_status_is_a_fault(tmp_path: Path, number: int) -> None:
    async with opa(tmp_path, status(number, {})) as rest:
        for ask in (
            rest.put_data(b"{}"),
            rest.put_policy("a", "a", ""),
            rest.policies(),
            rest.delete_policy("a"),
        ):
            with pytest.raises(EngineFault) as caught:
                await ask
            assert caught.value.reason is Reason.POLICY_UNAVAILABLE


async def test_a_closed_one_asks_nothing(tmp_path: Path) -> None:
    async with opa(tmp_path, status(200, {})) as rest:
        await rest.close()
        assert rest.closed
        with pytest.raises(EngineFault) as caught:
            await rest.policies()
    assert caught.value.reason is Reason.POLICY_UNAVAILABLE


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"{}"'])
def test_only_an_object_is_an_answer(body: bytes) -> None:
    with pytest.raises(EngineFault) as caught:
        json_object(body)
    assert caught.value.reason is Reason.POLICY_MALFORMED

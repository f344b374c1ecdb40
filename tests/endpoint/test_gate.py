"""The gate before an endpoint: nothing is lost while another takes its place."""

import asyncio
from http import HTTPStatus

import pytest

from policybot.endpoint.errors import MatrixError
from policybot.endpoint.exchange import Headers, Request, Response
from policybot.endpoint.gate import Gate

REQUEST = Request("GET", "/", (), b"")
DEADLINE_S = 20.0


class Door:
    """An endpoint that answers with its name, once it is let go."""

    def __init__(self, name: str) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self._name = name

    async def answer(self, request: Request) -> Response:
        self.asked.set()
        await self.go.wait()
        return Response(HTTPStatus.OK, Headers(()), self._name.encode())

    def body_limit(self, target: str) -> int:
        return len(self._name)

    def refuse(self, error: MatrixError) -> Response:
        return Response(error.status, Headers(()), self._name.encode())


async def test_what_is_under_way_ends_first_and_what_comes_waits_for_the_new_one() -> None:
    gate, old, new = Gate(), Door("old"), Door("new")
    new.go.set()
    gate.leads_to = old
    under_way = asyncio.create_task(gate.answer(REQUEST))
    await old.asked.wait()

    async def change() -> None:
        async with gate.closed():
            assert under_way.done()
            gate.leads_to = new

    async with asyncio.timeout(DEADLINE_S):
        changing = asyncio.create_task(change())
        await asyncio.sleep(0)
        comes = asyncio.create_task(gate.answer(REQUEST))
        await asyncio.sleep(0)
        assert not comes.done()
        old.go.set()
        assert (await under_way).body == b"old"
        await changing
        assert (await comes).body == b"new"


async def test_nobody_waits_for_ever() -> None:
    gate, door = Gate(patience_s=0.0), Door("slow")
    gate.leads_to = door
    under_way = asyncio.create_task(gate.answer(REQUEST))
    await door.asked.wait()
    async with asyncio.timeout(DEADLINE_S):
        async with gate.closed():
            assert not under_way.done()
            answer = await gate.answer(REQUEST)
    assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    door.go.set()
    assert (await under_way).body == b"slow"


async def test_without_an_endpoint_it_says_so() -> None:
    answer = await Gate().answer(REQUEST)
    assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"M_UNKNOWN" in answer.body


async def test_it_opens_again_when_the_change_fails() -> None:
    gate, door = Gate(), Door("old")
    door.go.set()
    gate.leads_to = door
    with pytest.raises(RuntimeError):
        async with gate.closed():
            raise RuntimeError
    assert (await gate.answer(REQUEST)).body == b"old"
    assert gate.refuse(MatrixError("")).body == b"old"

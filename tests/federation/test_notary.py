from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from policybot.federation.client import RequestFailed, ResponseTooLarge
from policybot.federation.notary import MAX_DOCUMENTS_PER_SERVER, Notary, Wanted
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.signing import SigningKey, sign_json

from .fake_notary import NOW, OWN_NAME, FakeNotary, document

KEY, OTHER_KEY = SigningKey.generate(), SigningKey.generate()
GOOD = document("a.example", ("ed25519:a", KEY))


@pytest.fixture
async def fake() -> FakeNotary:
    return FakeNotary(document(OWN_NAME, ("ed25519:own", KEY)))


async def test_what_is_asked(fake: FakeNotary, notary: Notary) -> None:
    fake.servers["a.example"] = GOOD
    assert await notary.fetch({"a.example": None}, 5) == {}
    found = await notary.fetch({"a.example": Wanted("ed25519:a", NOW), "b.example": None}, 5)
    assert list(found) == ["a.example"]
    (fetched,) = found["a.example"]
    assert fetched.document == GOOD
    assert fetched.keys.verify_keys == {"ed25519:a": KEY.verify_key}
    assert fake.questions == [
        {"a.example": {}},
        {"a.example": {"ed25519:a": {"minimum_valid_until_ts": NOW}}, "b.example": {}},
    ]


async def test_its_own_name_is_asked_for_at_another_path(fake: FakeNotary, notary: Notary) -> None:
    fake.remember(GOOD)
    found = await notary.fetch({OWN_NAME: Wanted("ed25519:own", NOW), "a.example": None}, 5)
    assert sorted(found) == ["a.example", OWN_NAME]
    assert found[OWN_NAME][0].document == fake.own
    assert fake.questions == [{"a.example": {}}]


async def test_documents_come_newest_first(fake: FakeNotary, notary: Notary) -> None:
    for number in range(MAX_DOCUMENTS_PER_SERVER + 5):
        fake.remember(document("a.example", (f"ed25519:{number}", KEY), until=NOW + number))
    found = (await notary.fetch({"a.example": None}, 5))["a.example"]
    ends = [fetched.keys.valid_until_ts - NOW for fetched in found]
    assert ends == list(range(MAX_DOCUMENTS_PER_SERVER + 4, 4, -1))


def without_signature(d: JsonObject) -> JsonObject:
    return {**d, "signatures": {}}


BAD_DOCUMENTS: dict[str, Any] = {
    "not an object": 7,
    "null": None,
    "a list": [GOOD],
    "another server": document("b.example", ("ed25519:a", KEY)),
    "no name": {**GOOD, "server_name": None},
    "a list as name": {**GOOD, "server_name": ["a.example"]},
    "unsigned": without_signature(GOOD),
    "signed by another key": sign_json(
        without_signature(GOOD), "a.example", "ed25519:a", OTHER_KEY
    ),
    "changed after signing": {**GOOD, "valid_until_ts": NOW + 1},
    "end is text": {**GOOD, "valid_until_ts": "soon"},
    "end is a boolean": {**GOOD, "valid_until_ts": True},
    "keys are a list": {**GOOD, "verify_keys": ["x"]},
    "too large": document("a.example", ("ed25519:a", KEY), junk="x" * 40_000),
    "too many keys": document("a.example", *((f"ed25519:{n}", KEY) for n in range(100))),
}


@pytest.mark.parametrize("bad", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS.keys())
async def test_bad_documents_are_left_out(
    fake: FakeNotary, notary: Notary, bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake.lie = web.json_response({"server_keys": [bad, GOOD, bad]})
    found = await notary.fetch({"a.example": None}, 5)
    assert [fetched.document for fetched in found["a.example"]] == [GOOD]
    assert len(caplog.records) == 1
    assert "ignored from the homeserver" in caplog.records[0].getMessage()


ANSWERS: dict[str, Callable[[], web.Response]] = {
    "error": lambda: web.json_response({"errcode": "M_UNKNOWN"}, status=500),
    "not found": lambda: web.Response(status=404),
    "redirect": lambda: web.Response(status=302),
    "no JSON": lambda: web.Response(text="<html>"),
    "a list": lambda: web.json_response([GOOD]),
    "no keys": lambda: web.json_response({}),
    "keys of a wrong type": lambda: web.json_response({"server_keys": {"a.example": GOOD}}),
    "nested too deep": lambda: web.Response(text="[" * 1000 + "]" * 1000),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_bad_answers_are_failures(
    fake: FakeNotary, notary: Notary, answer: Callable[[], web.Response]
) -> None:
    fake.lie = answer()
    with pytest.raises(RequestFailed, match="/_matrix/key/v2/query answered"):
        await notary.fetch({"a.example": None}, 5)


async def test_an_endless_answer_is_a_failure(fake: FakeNotary, notary: Notary) -> None:
    fake.lie = web.Response(text='{"server_keys":["' + "x" * 2_000_000 + '"]}')
    with pytest.raises(ResponseTooLarge):
        await notary.fetch({"a.example": None}, 5)

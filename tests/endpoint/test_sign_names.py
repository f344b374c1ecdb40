"""More than one name: who asks is answered under the name that he asked for."""

import asyncio
import json

import pytest

from policybot.policy.room import RoomMode
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.paths import SIGN, UNSTABLE_SIGN, UNSTABLE_WELL_KNOWN, WELL_KNOWN
from policybot.protocol.policy_event import PolicyServer
from policybot.protocol.xmatrix import request_bytes

from ..protocol.events import KEY_ID, NAME
from .conftest import Open
from .scene import (
    ALICE,
    CALLER,
    POLICY_KEY,
    POLICY_USER,
    ROOM,
    SERVER_KEY_ID,
    SPAMMER,
    V11,
    Reply,
    Scene,
    authorization,
    event_of,
    protected,
    server_key,
    sign_as,
    verifies,
)

OLD, OLDER = "example.org", "policy.old.example"
NAMES = (NAME, OLD, OLDER)


@pytest.fixture
async def renamed(open_scene: Open) -> Scene:
    return await open_scene(former=frozenset({OLD, OLDER}))


async def ask_for(scene: Scene, name: str, event: JsonObject, path: str = SIGN) -> Reply:
    header = authorization(event, path=path, destination=name)
    return await scene.post(json.dumps(event).encode(), path, [header])


async def ask_for_nobody(scene: Scene, event: JsonObject) -> Reply:
    """Ask without a destination, as servers of long ago do."""
    signature = server_key(CALLER).sign(request_bytes("POST", SIGN, CALLER, None, event))
    header = f'X-Matrix origin="{CALLER}",key="{SERVER_KEY_ID}",sig="{signature}"'
    return await scene.post(json.dumps(event).encode(), authorization=[header])


@pytest.mark.parametrize("path", [SIGN, UNSTABLE_SIGN])
@pytest.mark.parametrize("name", NAMES)
async def test_the_answer_stands_under_the_name_that_was_asked(
    renamed: Scene, name: str, path: str
) -> None:
    event = event_of(ALICE)
    reply = await ask_for(renamed, name, event, path)
    assert verifies(reply, event, name=name)
    assert list(reply.json) == [name] and list(reply.json[name]) == [KEY_ID]


async def test_one_event_asked_under_all_names_is_judged_once(renamed: Scene) -> None:
    event = event_of(ALICE)
    replies = await asyncio.gather(*(ask_for(renamed, name, event) for name in NAMES))
    replies += [await ask_for(renamed, name, event) for name in NAMES]
    for name, reply in zip(NAMES * 2, replies, strict=True):
        assert verifies(reply, event, name=name) and list(reply.json) == [name]
    assert (
        len({reply.signature_of(name) for name, reply in zip(NAMES * 2, replies, strict=True)})
        == 1
    )
    assert len(renamed.verdicts.submitted) == 1


@pytest.mark.parametrize("name", NAMES)
async def test_a_refusal_is_one_under_each_name(renamed: Scene, name: str) -> None:
    event = event_of(SPAMMER)
    assert (await ask_for(renamed, name, event)).refused
    assert (await ask_for(renamed, name, event, UNSTABLE_SIGN)).json == {}


@pytest.mark.parametrize("name", ["other.example", OLD.upper(), "", f"{OLD}:8448", f"a.{OLD}"])
async def test_a_name_that_never_was_ours(renamed: Scene, name: str) -> None:
    reply = await ask_for(renamed, name, event_of(ALICE))
    assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED")
    assert renamed.keys.fetched == []


async def test_without_former_names_only_the_own_one_counts(scene: Scene) -> None:
    assert (await ask_for(scene, OLD, event_of(ALICE))).status == 401


async def test_headers_for_two_of_our_names_contradict_each_other(renamed: Scene) -> None:
    event = event_of(ALICE)
    headers = [authorization(event, destination=name) for name in (NAME, OLD)]
    reply = await renamed.post(json.dumps(event).encode(), authorization=headers)
    assert reply.status == 401


PUBLIC_KEY = POLICY_KEY.public_key


@pytest.mark.parametrize(
    ("policy", "unstable", "answered"),
    [
        (None, None, NAME),
        (PolicyServer(NAME, PUBLIC_KEY), None, NAME),
        (PolicyServer(OLD, PUBLIC_KEY), None, OLD),
        (PolicyServer(OLD, "another key"), None, OLD),
        (PolicyServer("other.example", PUBLIC_KEY), None, NAME),
        (None, PolicyServer(OLDER, PUBLIC_KEY), OLDER),
        (PolicyServer(NAME, PUBLIC_KEY), PolicyServer(OLDER, PUBLIC_KEY), NAME),
    ],
)
async def test_without_a_destination_the_name_in_the_room_counts(
    renamed: Scene, policy: PolicyServer | None, unstable: PolicyServer | None, answered: str
) -> None:
    renamed.rooms[ROOM] = protected(policy=policy, unstable_policy=unstable)
    event = event_of(ALICE)
    reply = await ask_for_nobody(renamed, event)
    assert verifies(reply, event, name=answered) and list(reply.json) == [answered]


@pytest.mark.parametrize("name", [NAME, OLD])
async def test_signatures_that_the_event_carries_of_the_name_asked_come_back(
    renamed: Scene, name: str
) -> None:
    """A sender on that name would lose them otherwise (synapse#19796)."""
    event = event_of(f"@carol:{OLD}")
    event["signatures"][NAME] = {SERVER_KEY_ID: "of the new name"}
    reply = await ask_for(renamed, name, event)
    assert list(reply.json) == [name]
    assert reply.json[name][SERVER_KEY_ID] == event["signatures"][name][SERVER_KEY_ID]
    assert verifies(reply, event, name=name)


@pytest.mark.parametrize("name", [NAME, OLD])
async def test_the_policy_key_is_no_server_key_of_any_of_our_names(
    renamed: Scene, name: str
) -> None:
    """An event that carries nothing but our own signature has none of its sender's server."""
    event = sign_as(event_of(f"@carol:{name}"), V11)
    event["signatures"] = {name: {KEY_ID: "ours"}}
    assert (await ask_for(renamed, name, event)).check_failed
    assert renamed.keys.fetched == []


@pytest.mark.parametrize("mode", [RoomMode.ENABLED, RoomMode.DISABLED])
async def test_our_own_fault_is_answered_under_the_name_asked(
    renamed: Scene, mode: RoomMode
) -> None:
    renamed.rooms[ROOM] = protected(mode=mode)
    renamed.verdicts.broken = True
    event = event_of(ALICE)
    assert verifies(await ask_for(renamed, OLD, event), event, name=OLD)


async def test_the_policy_user_is_always_signed_for(renamed: Scene) -> None:
    renamed.ban(POLICY_USER)
    renamed.keys.known[NAME, SERVER_KEY_ID] = server_key(NAME).verify_key
    event = event_of(POLICY_USER)
    assert verifies(await ask_for(renamed, OLD, event), event, name=OLD)


@pytest.mark.parametrize("path", [WELL_KNOWN, UNSTABLE_WELL_KNOWN])
@pytest.mark.parametrize("name", NAMES)
async def test_the_well_known_documents_are_the_same_under_each_name(
    renamed: Scene, name: str, path: str
) -> None:
    reply = await renamed.request("GET", path, headers={"Host": name})
    assert reply.status == 200
    assert PUBLIC_KEY in json.dumps(reply.json)

"""The plugin inside a real maubot server, before two real homeservers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import yaml

from policybot.demo import acts
from policybot.demo.cast import Cast, body_of
from policybot.demo.network import Network
from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.room_version import ROOM_VERSIONS

from .caller import Caller, SignAnswer
from .conftest import MakeCast
from .federation_server import FederationServer
from .maubot_server import INSTANCE, PLUGIN, Instance, MaubotServer, serving
from .orders import obeyed, told
from .recording_proxy import RecordingProxy
from .test_dedicated_name import neighbour_of
from .test_migrate import conversation
from .test_restart import REFUSED, SIGNED, Quarrel, changed


def statuses(answers: Sequence[SignAnswer]) -> list[int]:
    return [answer.status for answer in answers]


async def protected(
    network: Network, make_cast: MakeCast, maubot: MaubotServer, third: FederationServer
) -> tuple[Cast, Instance, Caller, Quarrel]:
    """A protected room and somebody banned there; the third server asks about both."""
    cast = await make_cast(room_version="11")
    instance = Instance(maubot, network, cast)
    await instance.begin()
    await acts.enable(cast)
    quarrel = Quarrel(cast, third.identity, ROOM_VERSIONS["11"])
    await quarrel.begin()
    return cast, instance, Caller(third.identity, instance, network.hs1.name), quarrel


async def test_the_whole_story(
    network: Network, make_cast: MakeCast, maubot: MaubotServer
) -> None:
    cast = await make_cast()
    # A new instance shows the whole configuration, and waits for a right one.
    await maubot.add_client(cast.bot.account)
    await maubot.change(type=PLUGIN, primary_user=cast.bot.user_id, enabled=True)
    shown = (await maubot.instance())["config"]
    assert "# The word that begins a command." in shown
    instance = Instance(maubot, network, cast)
    assert yaml.safe_load(shown)["policy_server"]["name"] == network.hs1.name
    await instance.configure()
    await maubot.until_healthy(instance.url)
    network.route_policy_to(instance.url)
    status = await obeyed(cast, "!policy status")
    assert f"to {maubot.own_url}" in status
    await acts.whole_story(network, cast)


async def test_another_name_while_people_talk_without_a_break(
    network: Network, make_cast: MakeCast, maubot: MaubotServer
) -> None:
    cast = await make_cast()
    neighbour = await neighbour_of(cast, network)
    instance = Instance(maubot, network, cast)
    await instance.begin()
    await acts.enable(cast)
    names = (network.dedicated_name, network.hs1.name, network.dedicated_name)
    async with conversation(cast.lounge, neighbour, cast.visitor):
        for name in names:
            await instance.rename(name)
            assert "“Lounge”" in await obeyed(cast, "!policy migrate")
    await acts.visitor_talks(network, cast)
    await acts.own_server_refuses_too(network, cast)


async def test_a_change_of_the_configuration_interrupts_nothing(
    network: Network,
    make_cast: MakeCast,
    maubot: MaubotServer,
    third_server: FederationServer,
) -> None:
    cast, instance, caller, quarrel = await protected(network, make_cast, maubot, third_server)
    events = quarrel.messages(2, "before")
    assert statuses(await caller.standing(events)) == [REFUSED, SIGNED]

    # A right one, under load: every request gets its answer, and verdicts stand. (The words to
    # those who are refused change.)
    burst = quarrel.messages(300, "meanwhile")
    asking = asyncio.create_task(caller.ask_all(burst))
    await instance.configure(policy_server={"name": network.hs1.name, "contact": "#help:here"})
    expected = [quarrel.status_by_lists(event) for event in burst]
    assert statuses(await asking) == expected
    await quarrel.turn()
    assert statuses(await caller.standing(burst)) == expected
    refused, signed = before = await caller.standing(events)
    assert statuses(before) == [REFUSED, SIGNED]
    assert "#help:here" in refused.body["error"]
    instance.config["policy_server"]["contact"] = "#help:here"

    # Wrong ones change nothing, and are told.
    await instance.configure(policy_server={"name": "elsewhere.example"}, listen=None)
    await told(cast, "cannot be used", "policy_server.name is a name of its own")
    await instance.configure(nonsense=1)
    await told(cast, "cannot be used", "nonsense: unknown key")
    await maubot.change(config="moderation_rooms: [")
    await told(cast, "cannot be used", "not valid YAML")
    await instance.configure(listen={"host": "192.0.2.1", "port": 1})
    await told(cast, "cannot be used", "cannot listen on 192.0.2.1, port 1")
    assert changed(before, await caller.standing(events)) == []

    # Not even over a restart.
    await maubot.stop()
    await maubot.start()
    await maubot.until_healthy(instance.url)
    assert changed(before, await caller.standing(events)) == []

    # Into maubot's web server, and back.
    await instance.configure(listen=None)
    assert not await maubot.answers(maubot.own_url)
    instance.url = maubot.plugin_url
    network.route_policy_to(instance.url)
    assert changed(before, await caller.standing(events)) == []
    await acts.visitor_talks(network, cast)
    assert f"to /_matrix/maubot/plugin/{INSTANCE}/_matrix/policy/" in (
        await obeyed(cast, "!policy status")
    )
    assert "switched off" not in str(cast.moderator.seen.events(cast.moderation_room))


async def test_an_update_loses_nothing(
    network: Network,
    make_cast: MakeCast,
    maubot: MaubotServer,
    third_server: FederationServer,
) -> None:
    cast, instance, caller, quarrel = await protected(network, make_cast, maubot, third_server)
    given: list[tuple[JsonObject, SignAnswer]] = []
    update = None
    async for event, answer in caller.answers(quarrel.messages(600, "meanwhile")):
        assert answer.status == quarrel.status_by_lists(event)
        given.append((event, answer))
        if update is None and len(given) == 50:
            update = asyncio.create_task(maubot.upload())
    assert update is not None
    await update
    assert (await maubot.instance())["started"]
    assert "switched off" not in str(cast.moderator.seen.events(cast.moderation_room))
    await maubot.until_healthy(instance.url)
    await quarrel.turn()
    again = await caller.standing([event for event, _ in given])
    assert changed([answer for _, answer in given], again) == []

    # Somebody stops it: the moderators are warned. What they order then is done later.
    await maubot.change(started=False)
    assert "“Lounge”" in await told(cast, "I am being switched off", "nobody can talk")
    assert not await maubot.answers(instance.url)
    asked = await cast.moderator.send_text(cast.moderation_room, "!policy lists")
    await maubot.change(started=True)
    await maubot.until_healthy(instance.url)
    await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: event["sender"] == cast.bot.user_id and body_of(event).startswith("✅"),
        after=asked,
    )
    await maubot.manage("DELETE", f"instance/{INSTANCE}")
    assert not await maubot.answers(instance.url)
    assert not [line for line in maubot.log_tail(2000) if "Traceback" in line]


async def test_a_homeserver_that_is_away_switches_nothing_off(
    network: Network,
    make_cast: MakeCast,
    maubot: MaubotServer,
    third_server: FederationServer,
    way: RecordingProxy,
) -> None:
    cast = await make_cast(room_version="11")
    instance = Instance(maubot, network, cast)
    await instance.begin(homeserver=f"https://localhost:{way.port}")
    await acts.enable(cast)
    quarrel = Quarrel(cast, third_server.identity, ROOM_VERSIONS["11"])
    await quarrel.begin()
    caller = Caller(third_server.identity, instance, network.hs1.name)
    events = quarrel.messages(2, "before")
    before = await caller.standing(events)
    await way.stop()
    await maubot.change(started=False)
    await maubot.change(started=True)
    assert (await maubot.instance())["enabled"]
    assert changed(before, await caller.standing(events)) == []


async def test_the_story_on_postgresql_and_maubots_web_server(
    network: Network, make_cast: MakeCast, tmp_path: Path, postgres_url: str
) -> None:
    cast = await make_cast()
    async with serving(network, tmp_path / "maubot", postgres_url) as maubot:
        instance = Instance(maubot, network, cast)
        instance.config["listen"] = None
        instance.url = maubot.plugin_url
        await instance.begin()
        await acts.enable(cast)
        await acts.visitor_talks(network, cast)
        await acts.ban(cast)
        code = await acts.spammer_is_refused(cast)
        await acts.refusal_is_reported(cast, code)
        # Never 404 meanwhile.
        update = asyncio.create_task(maubot.upload())
        while not update.done():
            assert await maubot.health(instance.url) in (200, 503)
        await update
        await maubot.until_healthy(instance.url)
        await acts.ask_why(cast, code)

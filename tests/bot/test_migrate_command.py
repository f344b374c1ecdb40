"""After a change of the policy server's name: no room is closed, none loses its protection, and
`migrate` moves them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from policybot.bot.policy_user import MembershipFault
from policybot.protocol.canonical_json import JsonObject
from policybot.store.database import open_database
from policybot.store.rooms import RoomTable
from policybot.store.settings import Setting, Settings

from .dedicated import NAMED, POLICY_NAME, POLICY_USER, Dedicated
from .fake_federation import AWAY, FORBIDDEN
from .fake_homeserver import Fault
from .moderated import BOB, BOT, NAME, OTHER_KEY, OURS, SPAMMER, Moderated, ban
from .other_server import OtherServer, SignAnswer

POLICY = "m.room.policy"
UNSTABLE = "org.matrix.msc4284.policy"
PUT_POLICY = "/state/m.room.policy"
CAROL = f"@carol:{NAME}"
OLD = "policy.old.example"
FORMER: JsonObject = {**OURS, "via": OLD}
UNDER_FORMER = f"Under my former name ({{}}, {OLD}): "


def policy(bot: Moderated, room_id: str) -> object:
    return bot.homeserver.rooms[room_id].content(POLICY)


async def renamed(bot: Moderated, *room_ids: str) -> None:
    """Go on as a bot whose policy server was called `OLD` when these rooms were enabled."""
    await bot.stop()
    database = await open_database(bot.database_url)
    await Settings(database).set(Setting.NAMES, json.dumps([OLD]))
    table = RoomTable(database)
    for record in await table.load():
        if record.room_id in room_ids:
            state = (
                {**event, "content": FORMER} if event["type"] == POLICY else event
                for event in record.state
            )
            await table.save(replace(record, state=tuple(state)))
    await database.stop()
    for room_id in room_ids:
        await bot.homeserver.set_state(room_id, BOT, POLICY, FORMER)
    await bot.start()


async def asked_as(bot: Moderated, name: str, room_id: str, sender: str = SPAMMER) -> SignAnswer:
    """Let another server ask the policy server that it knows by this name."""
    other = OtherServer("spam.example", name)
    other._key = bot.other._key
    event = other.message(room_id, sender)
    return await other.ask(bot.front.behind, event)


async def spam_is_refused(bot: Moderated, room_id: str) -> None:
    """Whatever name is asked, the spammer is refused and others are signed for under it."""
    for name in (NAME, OLD):
        assert (await asked_as(bot, name, room_id)).status == 400
        answer = await asked_as(bot, name, room_id, "@guest:spam.example")
        assert answer.signed and list(answer.body) == [name]


async def enabled(bot: Moderated, *names: str) -> list[str]:
    """Rooms of these names that were protected one after the other."""
    rooms = []
    for name in names:
        bot.clock.now += 1
        rooms.append(await bot.enabled(name))
    return rooms


def told(bot: Moderated) -> list[str]:
    """What was said unasked of former names."""
    return [notice for notice in bot.notices() if "my former name" in notice]


@pytest.fixture
async def banning(bot: Moderated) -> Moderated:
    """A bot with a list that bans the spammer."""
    list_id = bot.policy_list(a=ban(SPAMMER))
    await bot.ask(f"!policy watch {list_id}")
    return bot


async def test_under_a_former_name_a_room_is_judged_as_before(banning: Moderated) -> None:
    room_id = await banning.enabled()
    await renamed(banning, room_id)
    await spam_is_refused(banning, room_id)
    (notice,) = told(banning)
    assert notice.startswith("⚠️ " + UNDER_FORMER.format("1 room") + "“Lobby”")
    assert notice.endswith(f"To move to {NAME}: !policy migrate")
    status = await banning.ask("!policy status")
    assert status.startswith("✅ All is well.")
    assert UNDER_FORMER.format("1 room") + "“Lobby”" in status
    assert "“Lobby”: protected, " in status
    of_room = await banning.ask(f"!policy status {room_id}")
    assert of_room.startswith("✅") and f"names {OLD}, a former name of mine, key right" in of_room
    reply = await banning.ask("!policy ban @other:spam.example")
    assert "refused in 1 protected room" in reply
    assert policy(banning, room_id) == FORMER
    await banning.restart()
    assert policy(banning, room_id) == FORMER


async def test_whoever_gets_a_name_that_we_gave_up_is_judged_like_all(bot: Moderated) -> None:
    """Of the user that joined for us under it only memberships are asked, always signed."""
    bot.other = OtherServer(OLD, NAME, epoch_ms=bot.homeserver.epoch_ms)
    bot.homeserver.key_documents[OLD] = bot.other.key_document()
    await bot.ask(f"!policy watch {bot.policy_list(a=ban(f'@policy:{OLD}'))}")
    room_id = await bot.enabled()
    await renamed(bot)
    assert (await bot.sign(room_id, f"@policy:{OLD}")).status == 400


async def test_a_room_that_nobody_knows_is_adopted_under_a_former_name(bot: Moderated) -> None:
    room_id = bot.room()
    await renamed(bot)
    await bot.homeserver.set_state(room_id, CAROL, POLICY, FORMER)
    notice = await bot.notice("no moderation room enabled them")
    assert f"!policy enable {room_id}" in notice and "--replace" not in notice
    assert (await asked_as(bot, OLD, room_id)).signed
    reply = await bot.ask("!policy migrate")
    assert reply.startswith("✅ No room here names me by a former name")
    assert f"“Lobby”. To protect it: !policy enable {room_id}" in reply
    reply = await bot.ask(f"!policy migrate {room_id}")
    assert f"no moderation room enabled it. To protect it: !policy enable {room_id}" in reply
    assert policy(bot, room_id) == FORMER


async def test_disable_takes_a_former_name_out(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await renamed(bot, room_id)
    reply = await bot.ask(f"!policy disable {room_id}")
    assert reply.startswith("✅ The policy server is out of “Lobby”")
    assert policy(bot, room_id) == {}
    assert (await asked_as(bot, OLD, room_id)).signed
    assert "nothing to move" in await bot.ask("!policy migrate")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, FORMER)
    await bot.notice(f"⚠️ {CAROL} set the policy server in “Lobby” again, which is disabled")
    assert "it does not name me by" in await bot.ask(f"!policy migrate {room_id}")


async def test_enable_sets_the_name_of_now(banning: Moderated) -> None:
    room_id = await banning.enabled()
    await renamed(banning, room_id)
    reply = await banning.ask(f"!policy enable {room_id}")
    assert reply.startswith("✅ “Lobby” is protected.")
    assert f"names {NAME} in place of {OLD}" in reply
    assert policy(banning, room_id) == OURS
    await spam_is_refused(banning, room_id)


async def test_another_key_under_a_former_name_is_told_as_one(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await renamed(bot, room_id)
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {**OTHER_KEY, "via": OLD})
    notice = await bot.notice("⚠️ The policy server of “Lobby” carries another key than mine")
    assert notice.endswith(f"To set mine again: !policy enable {room_id}")
    status = await bot.ask("!policy status")
    assert status.startswith("⚠️") and "it carries another key than mine" in status
    assert (await bot.ask("!policy migrate")).startswith(f"✅ 1 room moved to {NAME}: “Lobby”.")
    assert policy(bot, room_id) == OURS


async def test_a_former_name_set_by_hand_is_told(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await renamed(bot)
    await bot.homeserver.set_state(room_id, CAROL, POLICY, FORMER)
    notice = await bot.notice(f"✅ {CAROL} set the policy server of “Lobby” to {OLD}, a former")
    assert "!policy migrate" in notice
    assert (await bot.ask("!policy migrate")).startswith("✅ 1 room moved")
    await bot.caught_up()
    assert len(bot.notices()) == 1


# -- migrate --------------------------------------------------------------------------------------


async def test_all_rooms_are_moved_each_in_its_mode(banning: Moderated) -> None:
    rooms = await enabled(banning, "One", "Two", "Three")
    await banning.ask(f"!policy enable {rooms[1]} --dry-run")
    await renamed(banning, *rooms[:2])
    banning.front.asked = 0
    reply = await banning.ask("!policy migrate")
    assert reply.startswith(f"✅ 2 rooms moved to {NAME}: “One”, “Two”.")
    assert f"Keep the proxy lines of {OLD} for 7 days more" in reply
    assert f"the policy user of {OLD} can be removed" in reply
    assert [policy(banning, room_id) for room_id in rooms] == [OURS] * 3
    assert banning.front.asked == 1  # checked once for all
    await spam_is_refused(banning, rooms[0])
    assert (await asked_as(banning, NAME, rooms[1])).signed  # still a dry run
    assert (await asked_as(banning, OLD, rooms[1])).signed
    status = await banning.ask("!policy status")
    assert "former name" not in status and "“Two”: dry run" in status
    assert (await banning.ask("!policy migrate")).startswith(
        "✅ No room here names me by a former"
    )
    await banning.restart()
    assert len(told(banning)) == 1  # that of the first start


async def test_only_the_rooms_that_are_given_are_moved(bot: Moderated) -> None:
    rooms = await enabled(bot, "One", "Two", "Three")
    await renamed(bot, *rooms)
    reply = await bot.ask(f"!policy migrate {rooms[0]} {rooms[2]} {rooms[0]} #no:{NAME} no-room")
    assert reply.startswith("❌ 2 rooms not moved:")
    assert f"“#no:{NAME}”: I cannot find that room" in reply and "“no-room”: " in reply
    assert f"2 rooms moved to {NAME}: “One”, “Three”." in reply
    assert [policy(bot, room_id) for room_id in rooms] == [OURS, FORMER, OURS]
    assert UNDER_FORMER.format("1 room") + "“Two”" in await bot.ask("!policy status")


async def test_nothing_is_changed_where_the_new_name_does_not_lead_to_us(
    banning: Moderated,
) -> None:
    rooms = await enabled(banning, "One", "Two")
    await renamed(banning, *rooms)
    banning.front.answer = 404, "{}"
    reply = await banning.ask("!policy migrate")
    assert reply.startswith("❌ Under its public name something else answers")
    banning.front.answer = None
    assert [policy(banning, room_id) for room_id in rooms] == [FORMER] * 2
    for room_id in rooms:
        await spam_is_refused(banning, room_id)


async def test_unchecked_moves_without_asking_the_public_name(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await renamed(bot, room_id)
    await bot.front.close()
    assert "--unchecked" in await bot.ask("!policy migrate")
    assert policy(bot, room_id) == FORMER
    assert (await bot.ask("!policy migrate --unchecked")).startswith("✅ 1 room moved")
    assert policy(bot, room_id) == OURS


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(403, "M_FORBIDDEN"), "The homeserver refused to set the policy server"),
        (Fault.bad_gateway(times=10), "your homeserver does not tell whether it took it"),
    ],
)
async def test_a_room_that_fails_does_not_stop_the_others(
    banning: Moderated, fault: Fault, told: str
) -> None:
    rooms = await enabled(banning, "One", "Two", "Three")
    await renamed(banning, *rooms)
    banning.homeserver.fault("PUT", f"{rooms[1]}{PUT_POLICY}", fault)
    reply = await banning.ask("!policy migrate")
    assert reply.startswith("❌ 1 room not moved:") and f"“Two”: {told}" in reply
    assert f"2 rooms moved to {NAME}: “One”, “Three”." in reply
    assert [policy(banning, room_id) for room_id in rooms] == [OURS, FORMER, OURS]
    for room_id in rooms:
        await spam_is_refused(banning, room_id)
    banning.homeserver.mend()
    assert (await banning.ask("!policy migrate")).startswith(f"✅ 1 room moved to {NAME}: “Two”.")


async def test_without_power_the_reply_holds_what_to_paste(bot: Moderated) -> None:
    rooms = await enabled(bot, "One", "Two", "Three")
    for room_id in rooms[:2]:
        levels = {"users": {BOT: 0, CAROL: 100}}
        await bot.homeserver.set_state(room_id, CAROL, "m.room.power_levels", levels)
    await bot.stop()
    for room_id in rooms:
        bot.homeserver.rooms[room_id].append(CAROL, POLICY, FORMER, "")
    await renamed(bot)
    reply = await bot.ask("!policy migrate")
    assert reply.startswith("❌ 2 rooms not moved:")
    assert reply.count("I may not set the policy server there: my power level is 0") == 2
    assert reply.count("/devtools") == 1 and "1 room moved" in reply
    pasted = json.loads(reply[reply.index("{") : reply.rindex("}") + 1])
    assert pasted == OURS
    await bot.homeserver.set_state(rooms[0], CAROL, POLICY, pasted)
    await bot.notice("“One”", "set m.room.policy as it should be")
    status = await bot.ask("!policy status")
    assert UNDER_FORMER.format("1 room") + "“Two”" in status


async def test_a_room_that_the_bot_was_removed_from_is_answered_and_named(
    bot: Moderated,
) -> None:
    rooms = await enabled(bot, "One", "Two")
    await renamed(bot, *rooms)
    await bot.homeserver.set_membership(rooms[0], BOT, "leave", CAROL)
    await bot.notice("I was removed from “One”")
    reply = await bot.ask("!policy migrate")
    assert (
        reply.startswith("❌ 1 room not moved:")
        and "“One”: I am not in the room any more" in reply
    )
    assert f"1 room moved to {NAME}: “Two”." in reply
    assert (await asked_as(bot, OLD, rooms[0])).signed


async def test_a_move_that_was_broken_off_goes_on_after_the_start(banning: Moderated) -> None:
    rooms = await enabled(banning, "One", "Two", "Three")
    await renamed(banning, *rooms)
    put = f"{rooms[1]}{PUT_POLICY}"
    before = len(banning.homeserver.calls("PUT", put))
    banning.homeserver.fault("PUT", put, Fault.hang())
    event_id = await banning.say("!policy migrate")
    await banning.homeserver.wait_for(lambda: len(banning.homeserver.calls("PUT", put)) > before)
    await banning.stop()
    assert [policy(banning, room_id) for room_id in rooms] == [OURS, FORMER, FORMER]
    await banning.start()
    reply = (await banning.reply_to(event_id))["body"]
    assert f"2 rooms moved to {NAME}: “Two”, “Three”." in reply
    assert [policy(banning, room_id) for room_id in rooms] == [OURS] * 3


async def test_a_move_that_ended_long_ago_leaves_each_room_as_it_is(banning: Moderated) -> None:
    """The new name may not lead to us any more: who moderates begins again, and all is checked."""
    rooms = await enabled(banning, "One", "Two")
    await renamed(banning, *rooms)
    put = f"{rooms[0]}{PUT_POLICY}"
    before = len(banning.homeserver.calls("PUT", put))
    banning.homeserver.fault("PUT", put, Fault.hang())
    await banning.say("!policy migrate")
    await banning.homeserver.wait_for(lambda: len(banning.homeserver.calls("PUT", put)) > before)
    await banning.restarted_late()
    await banning.notice(UNDER_FORMER.format("2 rooms"))
    assert [policy(banning, room_id) for room_id in rooms] == [FORMER] * 2
    for room_id in rooms:
        await spam_is_refused(banning, room_id)
    assert (await banning.ask("!policy migrate")).startswith("✅ 2 rooms moved")


async def test_the_rooms_of_another_moderation_room_are_not_touched(moderated: Moderated) -> None:
    others = moderated.homeserver.create_room(BOB, name="Others", members=[BOT])
    moderated.settings["moderation_rooms"].append(others)
    await moderated.start()
    levels: dict[str, Any] = {"users": {BOT: 100, BOB: 100, "@alice:example.org": 100}}
    mine = await moderated.enabled("Mine", power_levels=levels)
    theirs = moderated.room("Theirs", power_levels=levels)
    reply = await moderated.ask(f"!policy enable {theirs}", BOB, others)
    assert reply.startswith("✅")
    await renamed(moderated, mine, theirs)
    await moderated.notice(UNDER_FORMER.format("1 room") + "“Theirs”", room_id=others)
    reply = await moderated.ask(f"!policy migrate {theirs}")
    assert "I do not protect that room" in reply and "“Theirs”" not in reply
    assert (await moderated.ask("!policy migrate")).startswith("✅ 1 room moved")
    assert policy(moderated, theirs) == FORMER


async def test_many_rooms_are_shown_in_short(bot: Moderated) -> None:
    rooms = await enabled(bot, *(f"Room {number}" for number in range(12)))
    await renamed(bot, *rooms)
    (notice,) = told(bot)
    assert "“Room 9” and 2 more" in notice
    bot.homeserver.fault("PUT", PUT_POLICY, Fault(403, "M_FORBIDDEN", times=11))
    reply = await bot.ask("!policy migrate")
    assert reply.startswith("❌ 11 rooms not moved:") and "\n• and 1 more\n" in reply


async def test_a_leftover_of_the_old_type_does_not_hold_a_room_back(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await renamed(bot, room_id)
    await bot.homeserver.set_state(room_id, CAROL, UNSTABLE, FORMER)
    assert (await bot.ask("!policy migrate")).startswith("✅ 1 room moved")
    assert policy(bot, room_id) == OURS
    assert bot.homeserver.rooms[room_id].content(UNSTABLE) == {}


# -- between the homeserver's name and a name of its own ------------------------------------------


async def started_as(bot: Dedicated, name: str) -> None:
    """Start, perhaps again, with this name in the configuration."""
    await bot.stop()
    bot.settings["policy_server"]["name"] = name
    await bot.start()


async def answered_under(bot: Dedicated, room_id: str, *names: str) -> None:
    """Whatever of these names is asked, the answer stands under it."""
    for name in names:
        answer = await asked_as(bot, name, room_id)
        assert answer.signed and list(answer.body) == [name]


async def test_from_the_homeservers_name_to_one_of_its_own(idle_dedicated: Dedicated) -> None:
    bot = idle_dedicated
    await started_as(bot, NAME)
    rooms = await enabled(bot, "One", "Two", "Three")
    await bot.homeserver.set_state(rooms[0], CAROL, "m.room.join_rules", {"join_rule": "public"})
    await started_as(bot, POLICY_NAME)
    assert f"Under my former name (3 rooms, {NAME}): " in (await bot.notice("former name"))
    status = await bot.ask("!policy status")
    assert status.startswith("✅ All is well.") and "“One”: protected" in status
    of_room = await bot.ask(f"!policy status {rooms[0]}")
    assert (
        of_room.startswith("✅") and f"names {NAME}, a former name of mine, key right" in of_room
    )
    assert POLICY_USER not in of_room
    assert not bot.federation.joins  # before somebody wants it
    await bot.homeserver.set_membership(rooms[1], POLICY_USER, "ban", CAROL)
    gate = bot.homeserver.gate("PUT", f"{rooms[0]}{PUT_POLICY}")
    event_id = await bot.say("!policy migrate")
    await bot.homeserver.wait_for(lambda: bot.membership(rooms[0]) == "join")
    assert policy(bot, rooms[0]) == OURS
    gate.set()
    reply = (await bot.reply_to(event_id))["body"]
    assert reply.startswith("❌ 1 room not moved:")
    assert f"“Two”: My user {POLICY_USER} is banned in that room" in reply
    assert f"2 rooms moved to {POLICY_NAME}: “One”, “Three”." in reply
    assert "policy user of" not in reply  # the bot itself stays
    assert [policy(bot, room_id) for room_id in rooms] == [NAMED, OURS, NAMED]
    assert [bot.membership(room_id) for room_id in rooms] == ["join", "ban", "join"]
    for room_id in rooms:
        await answered_under(bot, room_id, NAME, POLICY_NAME)
    assert (await asked_as(bot, OLD, rooms[0])).status == 401
    await bot.homeserver.set_membership(rooms[1], POLICY_USER, "leave", CAROL)
    assert (await bot.ask("!policy migrate")).startswith(
        f"✅ 1 room moved to {POLICY_NAME}: “Two”"
    )
    assert (await bot.ask("!policy status")).startswith("✅ All is well.")


@pytest.mark.parametrize("fault", [AWAY, FORBIDDEN])
async def test_where_the_policy_user_is_not_let_in_all_stays(
    idle_dedicated: Dedicated, fault: MembershipFault
) -> None:
    bot = idle_dedicated
    await started_as(bot, NAME)
    rooms = await enabled(bot, "One", "Two")
    await started_as(bot, POLICY_NAME)
    bot.federation.faults = [fault]
    reply = await bot.ask("!policy migrate")
    assert reply.startswith("❌ 1 room not moved:")
    assert f"“One”: My user {POLICY_USER} could not join that room: “{fault.text}”" in reply
    assert f"1 room moved to {POLICY_NAME}: “Two”." in reply
    assert [policy(bot, room_id) for room_id in rooms] == [OURS, NAMED]
    await answered_under(bot, rooms[0], NAME, POLICY_NAME)
    assert (await bot.ask("!policy migrate")).startswith("✅ 1 room moved")


async def test_back_to_the_homeservers_name(idle_dedicated: Dedicated) -> None:
    bot = idle_dedicated
    await started_as(bot, POLICY_NAME)
    (room_id,) = await enabled(bot, "One")
    assert policy(bot, room_id) == NAMED
    await started_as(bot, NAME)
    await bot.notice(f"Under my former name (1 room, {POLICY_NAME}): “One”")
    await answered_under(bot, room_id, NAME, POLICY_NAME)
    reply = await bot.ask("!policy migrate")
    assert reply.startswith(f"✅ 1 room moved to {NAME}: “One”.")
    assert f"the policy user of {POLICY_NAME} can be removed" in reply
    assert policy(bot, room_id) == OURS
    await answered_under(bot, room_id, NAME, POLICY_NAME)
    await bot.kick(room_id, CAROL)
    await bot.caught_up()
    assert len(bot.notices()) == 1


async def test_from_one_name_of_its_own_to_another(idle_dedicated: Dedicated) -> None:
    bot = idle_dedicated
    await started_as(bot, OLD)
    await bot.homeserver.set_state(
        room := bot.room("One"), CAROL, "m.room.join_rules", {"join_rule": "public"}
    )
    await bot.homeserver.set_membership(room, f"@policy:{OLD}", "join")
    await bot.ask(f"!policy enable {room}")
    assert policy(bot, room) == FORMER
    await started_as(bot, POLICY_NAME)
    reply = await bot.ask("!policy migrate")
    assert reply.startswith(f"✅ 1 room moved to {POLICY_NAME}: “One”.")
    assert f"the policy user of {OLD} can be removed" in reply
    assert policy(bot, room) == NAMED and bot.membership(room) == "join"
    await answered_under(bot, room, OLD, POLICY_NAME)

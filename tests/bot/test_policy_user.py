"""A policy server with a name of its own: its user joins before rooms name it, and leaves last."""

import asyncio
from typing import Any

import pytest

from policybot.bot.policy_user import MembershipFault
from policybot.policy.room import RoomMode
from policybot.protocol.canonical_json import JsonObject

from .dedicated import NAMED, PATIENT_JOINS, POLICY_NAME, POLICY_USER, Dedicated
from .fake_federation import AWAY, FORBIDDEN
from .fake_homeserver import Fault
from .moderated import ALICE, BOT, NAME, SPAMMER
from .other_server import OtherServer

POLICY = "m.room.policy"
PUT_POLICY = "/state/m.room.policy"
CAROL = f"@carol:{NAME}"
DAY_MS = 24 * 3_600_000
TOO_OLD_MS = 6 * 60_000
"""After this no command is carried out once more."""

NO_INVITING: JsonObject = {"users": {BOT: 50}, "invite": 60}
SHUT_OUT: JsonObject = {"allow": ["*"], "deny": ["policy.*"]}


def policy(bot: Dedicated, room_id: str) -> object:
    return bot.homeserver.rooms[room_id].content(POLICY)


def protected(bot: Dedicated, room_id: str) -> bool:
    return policy(bot, room_id) == NAMED and bot.membership(room_id) == "join"


def without_retries(bot: Dedicated) -> None:
    """Let nothing but what a test does lead to another try."""
    bot.pace = type(bot.pace)(
        bot.pace.slow, bot.pace.restart, bot.pace.read_back, bot.pace.care, PATIENT_JOINS
    )


# -- joining --------------------------------------------------------------------------------------


async def test_a_public_room_is_joined_before_it_names_us(dedicated: Dedicated) -> None:
    room_id = dedicated.room(join_rule="public", version="10")
    gate = dedicated.homeserver.gate("PUT", PUT_POLICY)
    event_id = await dedicated.say(f"!policy enable {room_id}")
    await dedicated.homeserver.wait_for(lambda: dedicated.homeserver.calls("PUT", PUT_POLICY))
    assert dedicated.membership(room_id) == "join"
    gate.set()
    reply = (await dedicated.reply_to(event_id))["body"]
    assert reply.startswith("✅ “Lobby” is protected.")
    assert f"names {POLICY_NAME}. Checked: it stands there, {POLICY_USER} is joined," in reply
    assert "not checked on" not in reply
    assert protected(dedicated, room_id)
    assert not dedicated.homeserver.calls("POST", "/invite")
    assert (await dedicated.sign(room_id)).signed


async def test_the_room_is_answered_before_it_is_joined(dedicated: Dedicated) -> None:
    dedicated.federation.gate = asyncio.Event()
    room_id = dedicated.room(join_rule="public")
    await dedicated.say(f"!policy enable {room_id}")
    async with asyncio.timeout(10):
        await dedicated.federation.asked.wait()
    assert (await dedicated.sign(room_id)).signed
    assert policy(dedicated, room_id) == {}
    dedicated.federation.gate.set()


@pytest.mark.parametrize(
    "join_rule", ["invite", "knock", "restricted", "knock_restricted", "private", "odd"]
)
async def test_other_rooms_are_entered_by_the_bots_invitation(
    dedicated: Dedicated, join_rule: str
) -> None:
    room_id = await dedicated.enabled(join_rule=join_rule)
    assert protected(dedicated, room_id)
    (invitation,) = dedicated.homeserver.calls("POST", "/invite")
    assert invitation.json == {"user_id": POLICY_USER}
    await dedicated.caught_up()
    assert dedicated.notices() == []


async def test_who_is_joined_already_does_not_join_again(dedicated: Dedicated) -> None:
    room_id = dedicated.room(members=[BOT, POLICY_USER])
    assert (await dedicated.ask(f"!policy enable {room_id}")).startswith("✅")
    assert "was protected already" in await dedicated.ask(f"!policy enable {room_id}")
    assert dedicated.federation.joins == []


async def test_the_bots_homeserver_is_asked_first_and_then_the_largest(
    dedicated: Dedicated,
) -> None:
    crowd = [
        f"@user{user}:server{server}.example" for server in range(9) for user in range(server + 1)
    ]
    largest = OtherServer("server8.example", POLICY_NAME)
    dedicated.homeserver.key_documents[largest.name] = largest.key_document()
    room_id = await dedicated.enabled(join_rule="public", members=[BOT, *crowd])
    expected = [NAME, *(f"server{n}.example" for n in (8, 7, 6, 5))]
    assert dedicated.federation.joins == [(room_id, expected)]


async def test_without_the_power_to_invite_somebody_else_does_it(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    without_retries(dedicated)
    await dedicated.start()
    room_id = dedicated.room(power_levels=NO_INVITING)
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert reply.startswith(f"⚠️ “Lobby” is not checked yet. My user {POLICY_USER} can enter")
    assert "my power level is 50, needed is 60" in reply
    assert f"Invite {POLICY_USER} yourself, or give me that power level." in reply
    assert policy(dedicated, room_id) == {}
    assert f"{POLICY_USER} is not in the room yet" in await dedicated.ask("!policy status")
    assert "I may not invite there" in await dedicated.ask(f"!policy status {room_id}")
    await dedicated.homeserver.invite(room_id, POLICY_USER, CAROL)
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)


async def test_the_power_to_invite_that_comes_later_is_used(dedicated: Dedicated) -> None:
    room_id = dedicated.room(power_levels=NO_INVITING)
    assert "I may not invite there" in await dedicated.ask(f"!policy enable {room_id}")
    levels = {"users": {BOT: 60}, "invite": 60}
    await dedicated.homeserver.set_state(room_id, CAROL, "m.room.power_levels", levels)
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)


async def test_without_the_power_for_the_event_the_user_joins_first(dedicated: Dedicated) -> None:
    room_id = dedicated.room(join_rule="public", power_levels={})
    dedicated.federation.faults = [AWAY]
    assert "is not checked yet" in await dedicated.ask(f"!policy enable {room_id}")
    notice = await dedicated.notice(f"My user {POLICY_USER} is in “Lobby” now. What is missing")
    assert "give me the power level 50" in notice and f'"via": "{POLICY_NAME}"' in notice
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert "I may not set the policy server there" in reply
    await dedicated.homeserver.set_state(room_id, CAROL, POLICY, NAMED)
    await dedicated.notice(f"✅ “Lobby” is now protected: {CAROL} set m.room.policy")


async def test_an_event_that_stands_is_no_news_before_the_user_is_joined(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    without_retries(dedicated)
    await dedicated.start()
    room_id = dedicated.room(power_levels={"invite": 60})
    await dedicated.ask(f"!policy enable {room_id}")
    await dedicated.homeserver.set_state(room_id, CAROL, POLICY, NAMED)
    await dedicated.caught_up()
    assert dedicated.notices() == []
    assert f"{POLICY_USER} is not in the room yet" in await dedicated.ask("!policy status")
    await dedicated.homeserver.invite(room_id, POLICY_USER, CAROL)
    await dedicated.notice(f"✅ “Lobby” is now protected: {CAROL} set m.room.policy")


# -- refused --------------------------------------------------------------------------------------


async def test_a_ban_is_named_with_its_cure(dedicated: Dedicated) -> None:
    room_id = dedicated.room()
    await dedicated.kick(room_id, CAROL, "ban")
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert reply.startswith(f"❌ My user {POLICY_USER} is banned in that room, by “@")
    assert "has to lift that ban. Then repeat the command." in reply
    assert dedicated.federation.joins == []
    assert (await dedicated.sign(room_id)).status == 404


async def test_a_server_acl_is_named_with_its_cure(dedicated: Dedicated) -> None:
    room_id = dedicated.room()
    await dedicated.homeserver.set_state(room_id, CAROL, "m.room.server_acl", SHUT_OUT)
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert f"(m.room.server_acl) shuts {POLICY_NAME} out" in reply and "“deny”" in reply
    assert dedicated.federation.joins == []
    await dedicated.homeserver.set_state(room_id, CAROL, "m.room.server_acl", {"allow": ["*"]})
    assert (await dedicated.ask(f"!policy enable {room_id}")).startswith("✅")


async def test_a_join_that_is_refused_for_good_is_undone(dedicated: Dedicated) -> None:
    room_id = dedicated.room(join_rule="public")
    dedicated.federation.faults = [FORBIDDEN]
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert reply.startswith(f"❌ My user {POLICY_USER} could not join that room: “hs.example: ")
    assert "Nothing was changed." in reply
    assert policy(dedicated, room_id) == {}
    assert (await dedicated.sign(room_id)).status == 404
    await dedicated.restart()
    assert (await dedicated.sign(room_id)).status == 404


async def test_a_refused_join_gives_back_what_was_before(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled(join_rule="public")
    await dedicated.ask(f"!policy enable {room_id} --dry-run")
    await dedicated.kick(room_id, CAROL)
    dedicated.federation.faults = [FORBIDDEN]
    assert "Nothing was changed." in await dedicated.ask(f"!policy enable {room_id}")
    record = dedicated.chat.protected_rooms.record(room_id)
    assert record is not None and record.mode is RoomMode.DRY_RUN


async def test_a_refused_join_where_the_room_names_us_keeps_it_answered(
    dedicated: Dedicated,
) -> None:
    """Nobody enabled it, and the bot was not there until now."""
    room_id = dedicated.room(join_rule="public", members=[SPAMMER])
    await dedicated.homeserver.set_state(room_id, CAROL, POLICY, NAMED)
    dedicated.federation.faults = [FORBIDDEN]
    assert "Nothing was changed." in await dedicated.ask(f"!policy enable {room_id}")
    assert (await dedicated.sign(room_id)).signed


async def test_an_answer_of_no_does_not_count_where_the_room_says_yes(
    dedicated: Dedicated,
) -> None:
    """Another try that was given up may have worked after all."""
    room_id = dedicated.room(join_rule="public")
    dedicated.federation.gate = asyncio.Event()
    dedicated.federation.faults = [FORBIDDEN]
    event_id = await dedicated.say(f"!policy enable {room_id}")
    async with asyncio.timeout(10):
        await dedicated.federation.asked.wait()
    await dedicated.homeserver.set_membership(room_id, POLICY_USER, "join")
    dedicated.federation.gate.set()
    assert (await dedicated.reply_to(event_id))["body"].startswith("✅ “Lobby” is protected.")


@pytest.mark.parametrize("fault", [Fault(403, "M_FORBIDDEN"), Fault.bad_gateway()])
async def test_an_invitation_that_is_not_delivered(dedicated: Dedicated, fault: Fault) -> None:
    room_id = dedicated.room()
    dedicated.homeserver.fault("POST", "/invite", fault)
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert f"did not deliver my invitation of {POLICY_USER}" in reply
    if fault.status == 403:
        assert reply.startswith("❌") and "Nothing was changed." in reply
        assert (await dedicated.sign(room_id)).status == 404
    else:
        assert reply.startswith("⚠️ “Lobby” is not checked yet.")
        await dedicated.notice("✅ The policy server stands in “Lobby” now")


async def test_a_refused_state_event_lets_the_user_leave(dedicated: Dedicated) -> None:
    room_id = dedicated.room()
    dedicated.homeserver.fault("PUT", PUT_POLICY, Fault.forbidden())
    assert "Nothing was changed." in await dedicated.ask(f"!policy enable {room_id}")
    assert dedicated.membership(room_id) == "leave"
    assert dedicated.chat.protected_rooms.record(room_id) is None


async def test_a_user_who_cannot_leave_is_not_forgotten(idle_dedicated: Dedicated) -> None:
    dedicated = idle_dedicated
    dedicated.quicken()
    await dedicated.start()
    room_id = dedicated.room()
    gate = dedicated.homeserver.gate("PUT", PUT_POLICY)
    dedicated.homeserver.fault("PUT", PUT_POLICY, Fault.forbidden())
    event_id = await dedicated.say(f"!policy enable {room_id}")
    await dedicated.homeserver.wait_for(lambda: dedicated.homeserver.calls("PUT", PUT_POLICY))
    dedicated.federation.faults = [AWAY]
    gate.set()
    await dedicated.reply_to(event_id)
    assert dedicated.membership(room_id) == "join"
    dedicated.clock.now += 7 * DAY_MS
    await dedicated.maintained()
    assert dedicated.membership(room_id) == "leave"
    assert dedicated.chat.protected_rooms.record(room_id) is None


async def test_another_policy_server_is_not_replaced_later(dedicated: Dedicated) -> None:
    """Once the command is answered, what stands there then is not replaced unasked."""
    room_id = dedicated.room(join_rule="public")
    other = {"via": "other.example", "public_keys": {"ed25519": "A" * 43}}
    await dedicated.homeserver.set_state(room_id, CAROL, POLICY, other)
    dedicated.federation.faults = [AWAY]
    reply = await dedicated.ask(f"!policy enable {room_id} --replace")
    assert "“no server of the room answered”" in reply and "Nothing was changed." in reply
    assert "I go on trying" not in reply
    assert dedicated.chat.protected_rooms.record(room_id) is None
    assert (await dedicated.ask(f"!policy enable {room_id} --replace")).startswith("✅")
    assert protected(dedicated, room_id)


# -- later, and after the end of the process ------------------------------------------------------


async def test_a_join_that_failed_is_tried_until_it_works(dedicated: Dedicated) -> None:
    dedicated.federation.faults = [AWAY, AWAY, AWAY]
    room_id = dedicated.room(join_rule="public")
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert reply.startswith("⚠️ “Lobby” is not checked yet. My user @policy:")
    assert "“no server of the room answered”. I go on trying, also after a restart" in reply
    assert policy(dedicated, room_id) == {}
    await dedicated.notice("✅ The policy server stands in “Lobby” now; its events are checked.")
    await dedicated.caught_up()
    assert len(dedicated.notices()) == 1
    assert len(dedicated.federation.joins) == 4
    assert protected(dedicated, room_id)


async def test_a_join_that_failed_is_tried_after_a_restart(idle_dedicated: Dedicated) -> None:
    dedicated = idle_dedicated
    without_retries(dedicated)
    await dedicated.start()
    dedicated.federation.faults = [AWAY]
    room_id = dedicated.room()
    assert "is not checked yet" in await dedicated.ask(f"!policy enable {room_id}")
    await dedicated.restart()
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)


async def test_a_join_is_not_tried_after_disable(dedicated: Dedicated) -> None:
    dedicated.federation.faults = [AWAY] * 1000
    room_id = dedicated.room(join_rule="public")
    await dedicated.ask(f"!policy enable {room_id}")
    assert (await dedicated.ask(f"!policy disable {room_id}")).startswith("✅")
    async with asyncio.timeout(10):
        while dedicated.chat._joins._tasks:
            await asyncio.wait(dedicated.chat._joins._tasks)
    dedicated.federation.faults.clear()
    await dedicated.caught_up()
    assert dedicated.membership(room_id) == "leave" and dedicated.notices() == []


async def test_what_turns_out_to_be_refused_is_told_once(idle_dedicated: Dedicated) -> None:
    dedicated = idle_dedicated
    dedicated.quicken()
    await dedicated.start()
    dedicated.federation.faults = [AWAY, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN]
    room_id = dedicated.room(join_rule="public")
    await dedicated.ask(f"!policy enable {room_id}")
    notice = await dedicated.notice("⚠️ “Lobby” is not checked yet.", "You are not allowed here")
    assert f"I go on trying, at least every hour. To stop: !policy disable {room_id}" in notice
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    await dedicated.caught_up()
    assert len(dedicated.notices()) == 2


async def test_a_refusal_in_ever_new_words_is_told_once(idle_dedicated: Dedicated) -> None:
    """They are words of other servers, which anybody may have in the room."""
    dedicated = idle_dedicated
    dedicated.quicken()
    await dedicated.start()
    words = [MembershipFault(f"evil.example refuses: {number}", True) for number in range(10)]
    dedicated.federation.faults = [AWAY, *words]
    room_id = dedicated.room(join_rule="public")
    await dedicated.ask(f"!policy enable {room_id}")
    await dedicated.notice("⚠️ “Lobby” is not checked yet.", "evil.example refuses: 0")
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    await dedicated.caught_up()
    assert len(dedicated.notices()) == 2


async def test_an_accepted_join_counts_when_the_room_shows_it(dedicated: Dedicated) -> None:
    dedicated.federation.hides = True
    room_id = dedicated.room(join_rule="public")
    reply = await dedicated.ask(f"!policy enable {room_id}")
    assert "was let in, but your homeserver does not show it yet" in reply
    assert policy(dedicated, room_id) == {}
    await dedicated.homeserver.set_membership(room_id, POLICY_USER, "join")
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)


async def test_an_end_between_wish_and_join(dedicated: Dedicated) -> None:
    dedicated.federation.gate = asyncio.Event()
    room_id = dedicated.room()
    await dedicated.say(f"!policy enable {room_id}")
    async with asyncio.timeout(10):
        await dedicated.federation.asked.wait()
    await dedicated.stop()
    assert dedicated.membership(room_id) == "invite" and policy(dedicated, room_id) == {}
    dedicated.federation.gate = None
    dedicated.clock.now += TOO_OLD_MS
    await dedicated.start()
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)


@pytest.mark.parametrize("delivered", [False, True])
async def test_an_end_while_the_user_is_invited(dedicated: Dedicated, delivered: bool) -> None:
    room_id = dedicated.room()
    hang = Fault.hang(after_the_deed=delivered)
    dedicated.homeserver.fault("POST", "/invite", hang)
    await dedicated.say(f"!policy enable {room_id}")
    await dedicated.homeserver.wait_for(lambda: not dedicated.homeserver.faults_left())
    if delivered:
        await dedicated.homeserver.wait_for(lambda: dedicated.membership(room_id) == "invite")
    await dedicated.stop()
    dedicated.clock.now += TOO_OLD_MS
    await dedicated.start()
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)


async def test_an_end_between_join_and_state_event(dedicated: Dedicated) -> None:
    room_id = dedicated.room()
    dedicated.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    await dedicated.say(f"!policy enable {room_id}")
    await dedicated.homeserver.wait_for(lambda: dedicated.homeserver.calls("PUT", PUT_POLICY))
    await dedicated.stop()
    assert dedicated.membership(room_id) == "join" and policy(dedicated, room_id) == {}
    dedicated.clock.now += TOO_OLD_MS
    await dedicated.start()
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)
    assert len(dedicated.federation.joins) == 1


async def test_what_is_tried_again_is_checked_again(dedicated: Dedicated) -> None:
    """The endpoint answered when the room was to be enabled. If it does not any more when the
    user can join at last, the state event would close the room."""
    dedicated.federation.gate = asyncio.Event()
    dedicated.federation.faults = [AWAY]
    room_id = dedicated.room(join_rule="public")
    event_id = await dedicated.say(f"!policy enable {room_id}")
    async with asyncio.timeout(10):
        await dedicated.federation.asked.wait()
    dedicated.front.answer = 404, "{}"
    dedicated.federation.gate.set()
    assert "I go on trying" in (await dedicated.reply_to(event_id))["body"]
    notice = await dedicated.notice("⚠️ “Lobby” is not checked yet.")
    assert "something else answers instead of this policy server" in notice
    assert policy(dedicated, room_id) == {} and dedicated.membership(room_id) == "leave"
    dedicated.front.answer = None
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    await dedicated.caught_up()
    assert protected(dedicated, room_id) and len(dedicated.notices()) == 2


async def test_after_an_end_before_the_state_event_the_endpoint_is_checked(
    dedicated: Dedicated,
) -> None:
    room_id = dedicated.room()
    dedicated.homeserver.fault("PUT", PUT_POLICY, Fault.hang())
    await dedicated.say(f"!policy enable {room_id}")
    await dedicated.homeserver.wait_for(lambda: dedicated.homeserver.calls("PUT", PUT_POLICY))
    await dedicated.stop()
    dedicated.clock.now += TOO_OLD_MS
    dedicated.front.answer = 404, "{}"
    await dedicated.start()
    await dedicated.notice("⚠️ “Lobby” is not checked yet.", "something else answers")
    assert policy(dedicated, room_id) == {}


# -- leaving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["the room", "all"])
async def test_the_user_leaves_before_the_room_is_forgotten(
    idle_dedicated: Dedicated, word: str
) -> None:
    dedicated = idle_dedicated
    dedicated.quicken()
    await dedicated.start()
    room_id = await dedicated.enabled()
    reply = await dedicated.ask(f"!policy disable {'all' if word == 'all' else room_id}")
    assert f"Then {POLICY_USER} leaves." in reply
    dedicated.clock.now += 7 * DAY_MS - 60_000
    await dedicated.maintained()
    assert dedicated.membership(room_id) == "join"
    dedicated.federation.faults = [AWAY]
    dedicated.clock.now += 60_000
    await dedicated.maintained()
    assert dedicated.membership(room_id) == "leave"
    assert [room for room, _ in dedicated.federation.leaves] == [room_id, room_id]
    assert (await dedicated.sign(room_id)).status == 404


async def test_while_the_user_cannot_leave_the_room_is_answered(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    dedicated.quicken()
    await dedicated.start()
    room_id = await dedicated.enabled()
    await dedicated.ask(f"!policy disable {room_id}")
    dedicated.federation.faults = [AWAY] * 1000
    dedicated.clock.now += 7 * DAY_MS
    await dedicated.maintained()
    assert (await dedicated.sign(room_id)).signed


# -- removed by others ----------------------------------------------------------------------------


@pytest.mark.parametrize("away", [False, True], ids=["", "while away"])
async def test_a_kick_is_told_once_with_the_cure(dedicated: Dedicated, away: bool) -> None:
    room_id = await dedicated.enabled()
    if away:
        await dedicated.stop()
    await dedicated.kick(room_id, CAROL)
    if away:
        await dedicated.start()
    notice = await dedicated.notice(f"⚠️ My user {POLICY_USER} was removed from “Lobby” by {CAROL}")
    assert f"nothing is checked. To let it join again: !policy rejoin {room_id}" in notice
    await dedicated.homeserver.set_state(room_id, CAROL, "m.room.topic", {"topic": "Hello"})
    await dedicated.restart()
    assert len(dedicated.notices()) == 1
    assert dedicated.membership(room_id) == "leave"
    status = await dedicated.ask("!policy status")
    assert f"“Lobby”: ⚠️ {POLICY_USER} is not in the room any more, so nothing is" in status
    assert f"Policy user: {POLICY_USER}, missing in 1 room" in status


async def test_a_ban_is_told_with_the_cure(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled()
    await dedicated.kick(room_id, CAROL, "ban")
    notice = await dedicated.notice(f"⚠️ My user {POLICY_USER} was banned from “Lobby” by {CAROL}")
    assert f"lifts the ban; then write: !policy rejoin {room_id}" in notice
    assert f"{POLICY_USER} is banned there" in await dedicated.ask("!policy status")


async def test_who_kicks_the_user_before_we_are_named_has_his_way(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    dedicated.quicken()
    await dedicated.start()
    room_id = dedicated.room(join_rule="public", power_levels={})
    assert "I may not set the policy server" in await dedicated.ask(f"!policy enable {room_id}")
    await dedicated.maintained()
    await dedicated.kick(room_id, CAROL)
    await dedicated.notice(f"⚠️ My user {POLICY_USER} was removed from “Lobby” by {CAROL}")
    await dedicated.maintained()
    await dedicated.maintained()
    assert dedicated.membership(room_id) == "leave" and len(dedicated.notices()) == 1


@pytest.mark.parametrize("later", [False, True], ids=["", "after another try"])
@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_a_room_whose_bots_remove_the_user_at_once(
    dedicated: Dedicated, later: bool, membership: str
) -> None:
    room_id = dedicated.room(join_rule="public")
    dedicated.federation.faults = [AWAY] if later else []
    gate = dedicated.homeserver.gate("PUT", PUT_POLICY)
    event_id = await dedicated.say(f"!policy enable {room_id}")
    await dedicated.homeserver.wait_for(lambda: dedicated.homeserver.calls("PUT", PUT_POLICY))
    await dedicated.kick(room_id, CAROL, membership)
    gate.set()
    if later:
        await dedicated.notice(f"My user {POLICY_USER} was", f"from “Lobby” by {CAROL}")
    else:
        reply = (await dedicated.reply_to(event_id))["body"]
        assert reply.startswith(f"❌ My user {POLICY_USER} joined, but was removed again at once")
    await dedicated.caught_up()
    assert dedicated.membership(room_id) == membership
    assert len(dedicated.federation.joins) == 1 + later
    assert len(dedicated.notices()) == later
    assert f"⚠️ {POLICY_USER} is" in await dedicated.ask("!policy status")


async def test_where_we_are_not_named_any_more_a_kick_is_no_news(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled()
    await dedicated.homeserver.set_state(room_id, CAROL, POLICY, {})
    await dedicated.notice("was removed", f"by {CAROL}")
    await dedicated.kick(room_id, CAROL)
    await dedicated.caught_up()
    assert len(dedicated.notices()) == 1


async def test_a_moderators_own_invitation_brings_the_user_back(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled()
    await dedicated.kick(room_id, CAROL)
    await dedicated.notice("was removed from “Lobby”")
    await dedicated.homeserver.invite(room_id, POLICY_USER, CAROL)
    await dedicated.notice(f"✅ My user {POLICY_USER} is in “Lobby” again, so I am asked there.")
    assert protected(dedicated, room_id)


async def test_an_invitation_that_led_to_no_join_is_not_forgotten(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    without_retries(dedicated)
    await dedicated.start()
    room_id = await dedicated.enabled()
    await dedicated.kick(room_id, CAROL)
    await dedicated.notice("was removed from “Lobby”")
    dedicated.federation.faults = [AWAY]
    await dedicated.homeserver.invite(room_id, POLICY_USER, CAROL)
    await dedicated.homeserver.wait_for(lambda: not dedicated.federation.faults)
    await dedicated.restart()
    await dedicated.notice("✅ The policy server stands in “Lobby” now")
    assert protected(dedicated, room_id)


# -- what is said ---------------------------------------------------------------------------------


async def test_status_names_the_user(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled()
    reply = await dedicated.ask("!policy status")
    assert reply.startswith("✅ All is well.")
    assert f"Policy user: {POLICY_USER}, missing in no room" in reply
    reply = await dedicated.ask(f"!policy status {room_id}")
    assert f"policy user {POLICY_USER} joined" in reply and "not checked on" not in reply
    await dedicated.homeserver.set_state(room_id, CAROL, "m.room.server_acl", SHUT_OUT)
    await dedicated.caught_up()
    reply = await dedicated.ask("!policy status")
    assert f"“Lobby”: ⚠️ its server ACL shuts {POLICY_NAME} out" in reply
    assert f"shuts {POLICY_NAME} out" in await dedicated.ask(f"!policy status {room_id}")


async def test_a_ban_has_no_blind_spot(dedicated: Dedicated) -> None:
    room_id = await dedicated.enabled()
    reply = await dedicated.ask(f"!policy ban {SPAMMER}")
    assert "refused in 1 protected room" in reply and "not checked on" not in reply
    await dedicated.kick(room_id, CAROL)
    await dedicated.caught_up()
    assert "nothing is refused" in await dedicated.ask(f"!policy ban {SPAMMER}")


async def test_the_question_about_a_moderation_room_says_who_could_write(
    dedicated: Dedicated,
) -> None:
    reply = await dedicated.ask(f"!policy enable {dedicated.mods}")
    assert reply.startswith("❓") and "nobody can write there, and so nobody could tell" in reply


# -- guards ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entity", [POLICY_USER, POLICY_NAME, "@policy:*", "policy.*", "*.example.org"]
)
async def test_no_rule_is_written_against_the_policy_user(
    dedicated: Dedicated, entity: str
) -> None:
    reply = await dedicated.ask(f"!policy ban {entity}")
    assert reply.startswith(f"❌ That would ban my user {POLICY_USER} or its server")


async def test_rules_of_others_against_the_policy_user_are_left_unused(
    dedicated: Dedicated,
) -> None:
    rule = {"entity": "@policy:*", "recommendation": "m.ban", "reason": "x"}
    list_id = dedicated.policy_list(a=rule)
    await dedicated.ask(f"!policy watch {list_id}")
    assert "unused, since they would hit a moderator or me" in await dedicated.ask("!policy lists")


# -- invitations ----------------------------------------------------------------------------------


async def test_whose_invitations_are_taken(dedicated: Dedicated) -> None:
    enabled, disabled = await dedicated.enabled("One"), await dedicated.enabled("Two")
    await dedicated.ask(f"!policy disable {disabled}")
    wanted = dedicated.chat.invitations.wanted
    assert [wanted(enabled, who) for who in (BOT, ALICE, CAROL)] == [True, True, True]
    assert not wanted(enabled, SPAMMER)
    assert not wanted(disabled, BOT) and not wanted(dedicated.mods, ALICE)
    public = {"join_rule": "public"}
    await dedicated.homeserver.set_state(dedicated.mods, ALICE, "m.room.join_rules", public)
    await dedicated.caught_up()
    assert [wanted(enabled, who) for who in (BOT, ALICE, CAROL)] == [True, False, True]


# -- from the homeserver's name to one of its own -------------------------------------------------


async def moved_to_own_name(dedicated: Dedicated, **options: Any) -> str:
    """A room that was enabled when the policy server had the homeserver's name."""
    federation, server = dedicated.federation, dedicated.settings["policy_server"]
    server["name"] = NAME
    del dedicated.federation
    await dedicated.start()
    room_id = await dedicated.enabled(**options)
    await dedicated.stop()
    server["name"], dedicated.federation = POLICY_NAME, federation
    await dedicated.start()
    await dedicated.notice("Under my former name (1 room, example.org): “Lobby”")
    return room_id


async def test_rooms_under_the_former_name_need_no_policy_user(
    idle_dedicated: Dedicated,
) -> None:
    dedicated = idle_dedicated
    room_id = await moved_to_own_name(dedicated)
    status = await dedicated.ask("!policy status")
    assert "“Lobby”: protected" in status and "missing in no room" in status
    assert "is missing in no room here" in await dedicated.ask("!policy rejoin")
    assert "refused in 1 protected room" in await dedicated.ask(f"!policy ban {SPAMMER}")
    assert dedicated.federation.joins == []
    reply = await dedicated.ask(f"!policy rejoin {room_id}")
    assert f"names me by a former name. To move it: !policy migrate {room_id}" in reply


async def test_migrate_lets_the_user_join_first(idle_dedicated: Dedicated) -> None:
    dedicated = idle_dedicated
    room_id = await moved_to_own_name(dedicated)
    reply = await dedicated.ask("!policy migrate")
    assert f"✅ 1 room moved to {POLICY_NAME}: “Lobby”." in reply
    assert protected(dedicated, room_id)


@pytest.mark.parametrize("fault", [AWAY, FORBIDDEN])
async def test_a_room_is_not_moved_before_the_user_could_join(
    idle_dedicated: Dedicated, fault: MembershipFault
) -> None:
    dedicated = idle_dedicated
    room_id = await moved_to_own_name(dedicated, join_rule="public")
    dedicated.federation.faults = [fault]
    reply = await dedicated.ask("!policy migrate")
    assert reply.startswith("❌ 1 room not moved:") and "could not join that room" in reply
    assert dedicated.homeserver.rooms[room_id].content(POLICY)["via"] == NAME
    await dedicated.caught_up()
    assert "“Lobby”: protected" in await dedicated.ask("!policy status")
    assert "1 room moved" in await dedicated.ask("!policy migrate")
    assert protected(dedicated, room_id)

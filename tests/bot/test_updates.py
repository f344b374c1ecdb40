"""What came by sync goes to the part that it concerns; which invitations are accepted."""

import pytest

from policybot.bot.sync import Membership, RoomUpdate, SyncBatch
from policybot.protocol.canonical_json import JsonObject

from .fake_homeserver import Fault
from .moderated import ALICE, BOT, NAME, OURS, SPAMMER, Moderated, ban

MALLORY = "@mallory:evil.example"
CAROL = f"@carol:{NAME}"


def joined(bot: Moderated, room_id: str) -> bool:
    return BOT in bot.homeserver.rooms[room_id].joined_at


async def invite(bot: Moderated, room_id: str, sender: str) -> None:
    await bot.homeserver.set_membership(room_id, BOT, "invite", sender)
    await bot.caught_up()


@pytest.mark.parametrize(("inviter", "accepted"), [(ALICE, True), (MALLORY, False)])
async def test_invitations_come_from_moderators(
    bot: Moderated, inviter: str, accepted: bool
) -> None:
    room_id = bot.homeserver.create_room(MALLORY, members=[ALICE])
    await invite(bot, room_id, inviter)
    assert joined(bot, room_id) is accepted


@pytest.mark.parametrize("senders", [[ALICE, MALLORY], [MALLORY, ALICE], []])
async def test_an_invitation_that_claims_another_sender_is_ignored(
    bot: Moderated, senders: list[str]
) -> None:
    # A server may put what it likes into the state that comes with an invitation.
    room_id = bot.homeserver.create_room(MALLORY, join_rule="public")
    await bot.homeserver.say(bot.mods, ALICE, "hello")
    stripped = tuple(
        {
            "type": "m.room.member",
            "sender": sender,
            "state_key": BOT,
            "content": {"membership": "invite"},
        }
        for sender in senders
    )
    update = RoomUpdate(room_id, Membership.INVITED, stripped, (), False)
    await bot.app.on_batch(SyncBatch("s1", "s2", (update,)))
    await bot.caught_up()
    assert not joined(bot, room_id)


async def test_anybody_may_invite_into_a_configured_room(moderated: Moderated) -> None:
    reports = moderated.homeserver.create_room(MALLORY, name="Reports")
    later = moderated.homeserver.create_room(MALLORY, name="Later")
    moderated.settings["moderation_rooms"] = [
        {"room": moderated.mods, "reports": reports},
        "#later:example.org",
    ]
    await moderated.start()
    assert not joined(moderated, reports)
    await invite(moderated, reports, MALLORY)
    assert joined(moderated, reports)
    moderated.homeserver.aliases["#later:example.org"] = later
    await moderated.homeserver.set_membership(later, ALICE, "join")
    await invite(moderated, later, MALLORY)
    await moderated.caught_up()
    assert joined(moderated, later)
    assert (await moderated.ask("!policy help", ALICE, later)).startswith("✅ What you")


async def test_an_invitation_while_one_moderation_room_is_not_entered_yet(
    moderated: Moderated,
) -> None:
    closed = moderated.homeserver.create_room(MALLORY, name="Closed")
    moderated.settings["moderation_rooms"] = [moderated.mods, closed]
    await moderated.start()
    room_id = moderated.homeserver.create_room(MALLORY, members=[ALICE])
    await invite(moderated, room_id, ALICE)
    assert joined(moderated, room_id)


async def test_anybody_may_invite_back_into_a_watched_list(bot: Moderated) -> None:
    list_id = bot.policy_list(a=ban(SPAMMER))
    await bot.ask(f"!policy watch {list_id}")
    await bot.homeserver.set_membership(list_id, BOT, "leave", MALLORY)
    await bot.notice("I was removed from the list")
    await invite(bot, list_id, MALLORY)
    assert joined(bot, list_id)


async def test_an_invitation_that_fails_is_tried_again(
    bot: Moderated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policybot.bot.updates.RETRY_FIRST_S", 0.01)
    room_id = bot.homeserver.create_room(CAROL, members=[ALICE])
    bot.homeserver.fault("POST", f"/join/{room_id}", Fault.bad_gateway(times=2))
    await invite(bot, room_id, ALICE)
    await bot.homeserver.wait_for(lambda: joined(bot, room_id))


async def test_an_invitation_from_while_the_bot_was_away(bot: Moderated) -> None:
    room_id = bot.homeserver.create_room(CAROL, members=[ALICE])
    await bot.stop()
    await bot.homeserver.set_membership(room_id, BOT, "invite", ALICE)
    await bot.start()
    await bot.homeserver.wait_for(lambda: joined(bot, room_id))


async def test_a_moderator_who_leaves_loses_the_exemption(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.homeserver.set_membership(bot.mods, SPAMMER, "join")
    await bot.caught_up()
    list_id = bot.policy_list(a=ban(SPAMMER))
    await bot.ask(f"!policy watch {list_id}")
    assert (await bot.sign(room_id)).signed
    await bot.homeserver.set_membership(bot.mods, SPAMMER, "leave")
    await bot.caught_up()
    assert not (await bot.sign(room_id)).signed


async def test_a_timeline_with_a_gap_makes_a_protected_room_be_read_again(
    bot: Moderated,
) -> None:
    room_id = await bot.enabled()
    await bot.stop()
    await bot.homeserver.set_state(room_id, CAROL, "m.room.policy", {})
    for number in range(150):
        await bot.homeserver.say(room_id, CAROL, f"chat {number}")
    await bot.begin()
    await bot.notice("was removed")


async def test_odd_events_do_no_harm(bot: Moderated) -> None:
    room_id = await bot.enabled()
    odd = (
        {"type": "m.room.policy", "sender": CAROL, "content": {}, "state_key": "x"},
        {"type": "m.room.message", "sender": ALICE, "content": {"body": "!policy help"}},
        {"type": "m.room.message", "sender": ALICE, "content": {"msgtype": []}, "event_id": "$"},
        {"type": "m.policy.rule.user", "sender": "", "content": {"entity": []}, "state_key": ""},
        {"type": "m.room.member", "sender": MALLORY, "content": {}, "state_key": BOT},
    )
    rooms = tuple(
        RoomUpdate(place, kind, odd, odd, False)
        for place in (room_id, bot.mods, "!unknown:example.org", "", "\u202e")
        for kind in (Membership.JOINED, Membership.INVITED)
    )
    await bot.app.on_batch(SyncBatch("s1", "s2", rooms))
    await bot.caught_up()
    assert bot.notices() == []
    assert (await bot.ask("!policy status")).startswith("✅")


async def test_a_room_that_was_entered_and_names_us_is_signed(bot: Moderated) -> None:
    room_id = bot.room(members=[ALICE])
    await bot.homeserver.set_state(room_id, CAROL, "m.room.policy", OURS)
    await invite(bot, room_id, ALICE)
    await bot.notice("no moderation room enabled them")
    assert (await bot.sign(room_id)).signed


@pytest.mark.parametrize("readable", [True, False])
async def test_encrypted_messages_are_read_where_the_client_can(
    bot: Moderated, readable: bool
) -> None:
    async def decrypted(room_id: str, event: JsonObject) -> JsonObject | None:
        content = {"msgtype": "m.text", "body": "!policy lists"}
        return {**event, "type": "m.room.message", "content": content} if readable else None

    bot.decrypt_with(decrypted)
    for event_id in ("$one", "$other"):
        sealed: JsonObject = {
            "type": "m.room.encrypted",
            "event_id": event_id,
            "sender": ALICE,
            "origin_server_ts": bot.clock(),
            "content": {},
        }
        update = RoomUpdate(bot.mods, Membership.JOINED, (), (sealed,), False)
        await bot.app.on_batch(SyncBatch("s1", "s2", (update,)))
        await bot.caught_up()
        if readable:
            assert (await bot.reply_to(event_id))["body"].startswith("✅")
        else:
            await bot.notice("could not decrypt")
    told = [notice for notice in bot.notices() if "could not decrypt" in notice]
    assert len(told) == (0 if readable else 1)

"""enable, disable and status as moderators see them, and what they do to the room."""

import pytest

from .fake_homeserver import Fault
from .moderated import ALICE, BOB, BOT, NAME, OTHER_KEY, OURS, SPAMMER, Moderated

POLICY = "m.room.policy"
UNSTABLE = "org.matrix.msc4284.policy"
CAROL = f"@carol:{NAME}"


def policy(bot: Moderated, room_id: str) -> object:
    return bot.homeserver.rooms[room_id].content(POLICY)


@pytest.mark.parametrize("version", ["3", "6", "10", "11", "12"])
async def test_enable_sets_the_policy_server_and_says_how_to_undo_it(
    bot: Moderated, version: str
) -> None:
    room_id = bot.room("Lobby", version=version)
    reply = await bot.ask(f"!policy enable {room_id}")
    assert reply.startswith("✅ “Lobby” is protected.")
    assert f"!policy disable {room_id}" in reply
    assert f"Users of {NAME} are not checked on {NAME} itself" in reply
    assert policy(bot, room_id) == OURS
    assert bot.front.asked == 1
    assert (await bot.sign(room_id)).signed


async def test_enable_again_changes_nothing(bot: Moderated) -> None:
    room_id = await bot.enabled()
    sent = len(bot.homeserver.calls("PUT", POLICY))
    reply = await bot.ask(f"!policy enable {room_id}")
    assert "was protected already, and still is" in reply
    assert len(bot.homeserver.calls("PUT", POLICY)) == sent


@pytest.mark.parametrize(
    "form",
    [
        "#lobby:example.org",
        "https://matrix.to/#/%23lobby:example.org",
        "https://matrix.to/#/#lobby:example.org?via=spam.example",
        "matrix:r/lobby:example.org",
        "<https://matrix.to/#/%23lobby:example.org>",
    ],
)
async def test_rooms_are_named_by_alias_or_link(bot: Moderated, form: str) -> None:
    room_id = bot.room(alias="#lobby:example.org")
    assert (await bot.ask(f"!policy enable {form}")).startswith("✅")
    assert policy(bot, room_id) == OURS


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("enable https://matrix.to/#/", "❌"),
        ("enable matrix:zz/lobby", "❌"),
        ("enable @alice:example.org", "This is a user, not a room."),
        ("enable $event", "This is an event, not a room"),
        ("enable lobby", "This is not a room"),
        ("enable #nowhere:example.org", "I could not enter that room"),
        ("enable !nowhere:example.org", "I could not enter that room"),
        ("enable", "Something is missing. Write it like this: !policy enable <room>"),
        ("enable #a:b #c:d", "That is one word too many"),
        ("enable #a:b --dry", "enable has no such option"),
        ("disable #nowhere:example.org", "I cannot find that room"),
        ("disable !nowhere:example.org", "I do not protect that room."),
        ("status !nowhere:example.org", "I do not protect that room."),
        ("enabel #a:b", "I do not know that command. What I know: !policy help"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_what_to_do(
    bot: Moderated, words: str, answer: str
) -> None:
    reply = await bot.ask(f"!policy {words}")
    assert reply.startswith("❌ ")
    assert answer in reply


async def test_an_invitation_is_asked_for_where_the_bot_cannot_enter(bot: Moderated) -> None:
    room_id = bot.room(members=[])
    reply = await bot.ask(f"!policy enable {room_id}")
    assert f"invite {BOT} to it, and try again" in reply
    await bot.homeserver.set_membership(room_id, BOT, "invite", ALICE)
    assert (await bot.ask(f"!policy enable {room_id}")).startswith("✅")


async def test_another_policy_server_goes_only_with_replace(bot: Moderated) -> None:
    room_id = bot.room()
    other = {"via": "other.example", "public_keys": {"ed25519": "A" * 43}}
    await bot.homeserver.set_state(room_id, CAROL, POLICY, other)
    reply = await bot.ask(f"!policy enable {room_id}")
    assert "Another policy server stands in this room: “other.example”" in reply
    assert "--replace" in reply
    assert policy(bot, room_id) == other
    # telephones make a dash of two hyphens
    reply = await bot.ask(f"!policy enable {room_id} —replace")
    assert reply.startswith("✅") and "in place of other.example" in reply
    assert policy(bot, room_id) == OURS


async def test_an_unstable_event_of_another_is_emptied_with_replace(bot: Moderated) -> None:
    room_id = bot.room()
    other = {"via": "other.example", "public_key": "A" * 43}
    await bot.homeserver.set_state(room_id, CAROL, UNSTABLE, other)
    assert "Another policy server" in await bot.ask(f"!policy enable {room_id}")
    assert (await bot.ask(f"!policy enable {room_id} --replace")).startswith("✅")
    assert bot.homeserver.rooms[room_id].content(UNSTABLE) == {}


async def test_a_room_that_was_upgraded_is_not_protected(bot: Moderated) -> None:
    room_id = bot.room()
    await bot.homeserver.set_state(
        room_id, CAROL, "m.room.tombstone", {"replacement_room": "!new:example.org"}
    )
    assert "Enable the new room instead" in await bot.ask(f"!policy enable {room_id}")


async def test_an_unknown_room_version_is_named(bot: Moderated) -> None:
    room_id = bot.room(version="org.example.\u202eodd")
    reply = await bot.ask(f"!policy enable {room_id}")
    assert "I cannot protect this room" in reply and "Update policybot" in reply
    assert "\u202e" not in reply


# -- the public name and the keys -----------------------------------------------------------------


async def test_unreachable_under_the_public_name(bot: Moderated) -> None:
    room_id = bot.room()
    await bot.front.close()
    reply = await bot.ask(f"!policy enable {room_id}")
    assert "I could not reach this policy server under its public name" in reply
    assert "--unchecked" in reply
    assert policy(bot, room_id) == {}
    reply = await bot.ask(f"!policy enable {room_id} --unchecked")
    assert reply.startswith("✅")
    assert "Not checked: whether I answer under my public name" in reply
    assert policy(bot, room_id) == OURS


async def test_something_else_under_the_public_name(bot: Moderated) -> None:
    room_id = bot.room()
    bot.front.answer = (404, '{"errcode": "M_UNRECOGNIZED"}')
    reply = await bot.ask(f"!policy enable {room_id}")
    assert "something else answers instead of this policy server" in reply
    assert "/_matrix/policy/" in reply
    assert policy(bot, room_id) == {}


async def test_a_homeserver_that_delivers_no_keys(bot: Moderated) -> None:
    room_id = bot.room()
    bot.homeserver.fault("GET", "/key/v2/server", Fault(404, "M_UNRECOGNIZED", times=9))
    reply = await bot.ask(f"!policy enable {room_id} --unchecked")
    assert "does not deliver the keys of other servers" in reply
    assert policy(bot, room_id) == {}


# -- disable --------------------------------------------------------------------------------------


async def test_disable_empties_every_form_and_goes_on_signing(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER} spam")
    await bot.homeserver.set_state(
        room_id, CAROL, UNSTABLE, {"via": NAME, "public_key": OURS["public_keys"]["ed25519"]}
    )
    assert not (await bot.sign(room_id)).signed
    reply = await bot.ask(f"!policy disable {room_id}")
    assert reply.startswith("✅ The policy server is out of “Lobby”")
    assert "7 days" in reply
    assert policy(bot, room_id) == {}
    assert bot.homeserver.rooms[room_id].content(UNSTABLE) == {}
    assert (await bot.sign(room_id)).signed


async def test_disable_needs_neither_endpoint_nor_keys(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.front.close()
    bot.homeserver.fault("GET", "/key/v2", Fault(404, "M_UNRECOGNIZED", times=99))
    assert (await bot.ask(f"!policy disable {room_id}")).startswith("✅")


async def test_disable_all(bot: Moderated) -> None:
    rooms = [await bot.enabled(name) for name in ("One", "Two", "Three")]
    reply = await bot.ask("!policy disable ALL")
    assert all(name in reply for name in ("“One”", "“Two”", "“Three”"))
    assert [policy(bot, room_id) for room_id in rooms] == [{}, {}, {}]
    assert "No room is protected here." in await bot.ask("!policy disable all")


async def test_disable_without_power_signs_everything_and_shows_what_to_paste(
    bot: Moderated,
) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.homeserver.set_state(room_id, CAROL, "m.room.power_levels", {"users": {}})
    reply = await bot.ask(f"!policy disable {room_id}")
    assert reply.startswith("❌ I could not take the policy server out of “Lobby”")
    assert "m.room.policy" in reply and "/devtools" in reply and "{}" in reply
    assert (await bot.sign(room_id)).signed
    assert "the state event still names me" in await bot.ask("!policy status")
    await bot.homeserver.set_state(room_id, CAROL, POLICY, {})
    await bot.notice("✅ The policy server is out of “Lobby” now.")


# -- status ---------------------------------------------------------------------------------------


async def test_status_of_an_empty_bot_says_how_to_begin(bot: Moderated) -> None:
    reply = await bot.ask("!policy status")
    assert reply.startswith("✅ All is well.")
    assert "!policy enable #room:example.org" in reply
    assert "!policy watch #list:example.org" in reply


async def test_status_tells_each_room(bot: Moderated) -> None:
    good, removed = await bot.enabled("Good"), await bot.enabled("Removed")
    wrong_key, gone = await bot.enabled("Wrong key"), await bot.enabled("Off")
    await bot.ask(f"!policy ban {SPAMMER}")
    assert not (await bot.sign(good)).signed
    await bot.homeserver.set_state(removed, CAROL, POLICY, {})
    await bot.homeserver.set_state(wrong_key, CAROL, POLICY, OTHER_KEY)
    await bot.ask(f"!policy disable {gone}")
    await bot.caught_up()
    reply = await bot.ask("!policy status")
    assert reply.startswith("⚠️ A room needs attention")
    assert "“Good”: protected, 1 refused in 24 hours" in reply
    assert "“Removed”: ⚠️ no policy server is set there, nothing is checked" in reply
    assert "“Wrong key”: ⚠️ it carries another key than mine" in reply
    assert "“Off”: disabled, still signed for 7 more days" in reply
    assert f"Policy server: {NAME}, key {OURS['public_keys']['ed25519']}" in reply
    assert "rules: 1 user, 0 server, 0 room; I write here" in reply


async def test_status_of_one_room(bot: Moderated) -> None:
    room_id = await bot.enabled(alias="#lobby:example.org")
    for name in (room_id, "#lobby:example.org", f"https://matrix.to/#/{room_id}"):
        reply = await bot.ask(f"!policy status {name}", BOB)
        assert reply.startswith("✅ “Lobby”: protected, 0 refused in 24 hours")
        assert f"ID: {room_id}" in reply and "room version 12" in reply and "key right" in reply
        assert "2 users with power there" in reply

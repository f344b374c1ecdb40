"""allow and disallow as moderators see them, and what they do to the next event."""

import pytest

from policybot.bot import exemptions

from .moderated import ALICE, BOB, BOT, NAME, SPAMMER, Moderated, ban

CAROL = f"@carol:{NAME}"
SERVER = "spam.example"


async def watching(bot: Moderated) -> None:
    """A list of others that bans the spammer."""
    list_id = bot.policy_list(a=ban(SPAMMER))
    assert (await bot.ask(f"!policy watch {list_id} coffee")).startswith("✅")


async def test_an_exemption_beats_every_list_at_once(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await watching(bot)
    await bot.ask(f"!policy ban {SERVER}")
    version = bot.homeserver.rooms[room_id].version
    event = bot.other.message(room_id, SPAMMER, version=version)
    assert [answer.signed for answer in await bot.asked_about([event])] == [False]
    reply = await bot.ask(f"!policy allow {SPAMMER} he has changed")
    assert reply.startswith(f"✅ {SPAMMER} is exempt from all lists now, in 1 protected room of")
    assert f"This rule no longer counts for them: {SPAMMER} (user rule" in reply
    assert "New messages pass. What was refused stays refused; it can be sent again." in reply
    assert f"To undo: !policy disallow {SPAMMER}" in reply
    assert (await bot.sign(room_id)).signed
    # the first verdict stands
    assert [answer.signed for answer in await bot.asked_about([event])] == [False]
    assert not (await bot.sign(room_id, f"@other:{SERVER}")).signed
    # members and lists of the moderation room may change meanwhile
    await bot.homeserver.set_membership(bot.mods, BOB, "leave", BOB)
    await bot.caught_up()
    assert (await bot.sign(room_id)).signed
    await bot.ask("!policy unwatch coffee")
    assert (await bot.sign(room_id)).signed


async def test_it_holds_after_a_restart_while_the_homeserver_is_away(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.ask(f"!policy allow {SPAMMER}")
    assert (await bot.sign(room_id)).signed
    await bot.stop()
    gate = bot.homeserver.gate("GET", "/joined_members")
    await bot.begin()
    assert (await bot.sign(room_id)).signed
    gate.set()
    await bot.caught_up()
    assert (await bot.sign(room_id)).signed
    assert (await bot.ask(f"!policy disallow {SPAMMER}")).startswith("✅")
    assert not (await bot.sign(room_id)).signed
    await bot.restart()
    assert not (await bot.sign(room_id)).signed


async def test_disallow_tells_what_decides_now(bot: Moderated) -> None:
    await bot.enabled()
    await watching(bot)
    await bot.ask(f"!policy allow {SPAMMER}")
    reply = await bot.ask(f"!policy disallow {SPAMMER}")
    assert reply.startswith(f"✅ {SPAMMER} is no longer exempt. New messages are refused by")
    assert "“Coffee”" in reply
    reply = await bot.ask(f"!policy disallow {SPAMMER}")
    assert reply.startswith(f"❌ {SPAMMER} is not exempt here, so nothing changed.")
    await bot.ask("!policy allow @harmless:a.example")
    reply = await bot.ask("!policy disallow @harmless:a.example")
    assert "No rule matches, so messages are signed as before" in reply
    assert "!policy ban @harmless:a.example" in reply


async def test_allow_again(bot: Moderated) -> None:
    reply = await bot.ask("!policy allow @a:a.example known to us")
    assert "No rule matches at present; the exemption is for rules to come." in reply
    for again in ("", " known to us"):
        reply = await bot.ask(f"!policy allow @a:a.example{again}", BOB)
        assert (
            "@a:a.example was exempt already: exempted by @alice:example.org on 2027-01-15, "
            in reply
        )
        assert "reason “known to us”" in reply
    reply = await bot.ask("!policy allow @a:a.example another reason", BOB)
    assert reply.startswith("✅ @a:a.example is exempt from all lists now")
    status = await bot.ask("!policy status")
    assert f"• @a:a.example exempted by {BOB} on 2027-01-15, reason “another reason”" in status
    assert "1 user" in status.partition("Exempt")[2]


@pytest.mark.parametrize(
    "form",
    [
        "https://matrix.to/#/@spammer:spam.example",
        "matrix:u/spammer:spam.example",
        "@SPAMMER:spam.example",
    ],
)
async def test_forms_of_a_user_id(bot: Moderated, form: str) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    assert (await bot.ask(f"!policy allow {form}")).startswith(f"✅ {SPAMMER} is exempt")
    assert (await bot.sign(room_id)).signed


async def test_a_pill_of_a_user(bot: Moderated) -> None:
    html = f'!policy allow <a href="https://matrix.to/#/{SPAMMER}">Spammy</a> our friend'
    reply = await bot.ask(
        "!policy allow Spammy our friend",
        format="org.matrix.custom.html",
        formatted_body=html,
    )
    assert reply.startswith(f"✅ {SPAMMER} is exempt")


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (f"allow @*:{SERVER}", ["single users", f"`unban @*:{SERVER}`", "`unwatch`"]),
        (f"allow {SERVER}", ["single users", f"`unban {SERVER}`"]),
        ("allow #lobby:example.org", ["not rooms", "--dry-run"]),
        ("allow !lobby:example.org", ["not rooms"]),
        ("disallow #lobby:example.org", ["not rooms"]),
        (f"disallow @*:{SERVER}", ["is not exempt here", f"!policy ban @*:{SERVER}"]),
        (f"disallow {SERVER}", ["is not exempt here", f"!policy ban {SERVER}"]),
        ("allow @spammer", ["@name:example.org"]),
        ("allow", ["Something is missing", "!policy allow <user> [reason…]"]),
        ("disallow @a:b c", ["one word too many"]),
    ],
)
async def test_what_is_no_user_is_refused_with_what_to_do(
    bot: Moderated, words: str, answers: list[str]
) -> None:
    reply = await bot.ask(f"!policy {words}")
    assert reply.startswith("❌ ")
    for answer in answers:
        assert answer in reply
    assert "Exempt" not in await bot.ask("!policy status")


async def test_other_commands_tell_of_it(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await watching(bot)
    # unban of one whom a list of others bans
    await bot.ask(f"!policy ban {SPAMMER}")
    reply = await bot.ask(f"!policy unban {SPAMMER}")
    assert f"To let this one user through all the same: !policy allow {SPAMMER}" in reply

    await bot.ask(f"!policy allow {SPAMMER} a friend")
    answer = await bot.sign(room_id)
    assert answer.signed

    reply = await bot.ask(f"!policy match {SPAMMER}")
    assert f"messages are signed: exempted by {ALICE} on 2027-01-15, reason “a friend”. " in reply
    assert (
        f"Otherwise they would be refused by {SPAMMER} (user rule of the list “Coffee”)" in reply
    )
    reply = await bot.ask(f"!policy why {answer.event_id}")
    assert "the rule that would have refused it: @spammer" in reply
    assert f"signed because its sender was exempt here, exempted by {ALICE}" in reply
    assert "1 exempt user" in await bot.ask(f"!policy status {room_id}")

    reply = await bot.ask(f"!policy ban {SPAMMER}")
    assert "But they are exempt here, so nothing is refused" in reply
    assert f"!policy disallow {SPAMMER}" in reply and "From now on" not in reply
    reply = await bot.ask(f"!policy ban {SERVER}")
    assert "From now on its users' messages are refused in 1 protected room." in reply
    assert f"Exempt here, so not refused: {SPAMMER}." in reply
    reply = await bot.ask(f"!policy unban {SPAMMER}")
    assert "Still banned by" in reply
    assert "But they are exempt here, so messages are signed." in reply


async def test_an_exemption_without_a_rule(bot: Moderated) -> None:
    await bot.ask("!policy allow @a:a.example")
    reply = await bot.ask("!policy match @a:a.example")
    assert "They would be signed without that as well." in reply
    reply = await bot.ask("!policy match @b:a.example")
    assert "no rule decides, messages are signed." in reply


async def test_why_does_not_name_an_exemption_made_later(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.ask(f"!policy allow {SPAMMER}")
    answer = await bot.sign(room_id)
    await bot.ask(f"!policy disallow {SPAMMER}")
    bot.clock.now += 1
    await bot.ask(f"!policy allow {SPAMMER}", BOB)
    reply = await bot.ask(f"!policy why {answer.event_id}")
    assert "signed because its sender was exempt here\n" in reply


async def test_many_exemptions(bot: Moderated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemptions, "MOST", 12)
    for number in range(12):
        assert (await bot.ask(f"!policy allow @u{number}:a.example")).startswith("✅")
    reply = await bot.ask("!policy allow @u12:a.example")
    assert reply.startswith("❌ There are 12 exemptions here, and I keep no more.")
    assert (await bot.ask("!policy allow @u0:a.example again")).startswith("✅")
    status = await bot.ask("!policy status")
    # the latest ten
    assert "@u0:a.example" in status and "@u11:a.example" in status
    assert "@u1:a.example" not in status and "@u2:a.example" not in status
    assert "and 2 more" in status
    reply = await bot.ask("!policy ban a.example")
    assert reply.count(":a.example") == 10 and "and 2 more." in reply


async def test_an_exemption_is_stored_before_it_counts(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    database = bot.app._database
    await database.execute("ALTER TABLE exemption RENAME TO gone")
    reply = await bot.ask(f"!policy allow {SPAMMER}")
    assert reply.startswith("❌ That failed by a fault of mine")
    assert not (await bot.sign(room_id)).signed
    await database.execute("ALTER TABLE gone RENAME TO exemption")


async def test_it_is_for_the_rooms_of_one_moderation_room(moderated: Moderated) -> None:
    others = moderated.homeserver.create_room(BOB, name="Others", members=[BOT])
    moderated.settings["moderation_rooms"] = [moderated.mods, others]
    await moderated.start()
    levels = {"users": {BOT: 100, ALICE: 100, BOB: 100}}
    first = moderated.room("First", power_levels=levels)
    second = moderated.room("Second", power_levels=levels)
    list_id = moderated.policy_list(a=ban(SPAMMER))
    for room_id, sender, mods in ((first, ALICE, moderated.mods), (second, BOB, others)):
        for command in (f"enable {room_id}", f"watch {list_id}"):
            assert (await moderated.ask(f"!policy {command}", sender, mods)).startswith("✅")
    await moderated.ask(f"!policy allow {SPAMMER}", ALICE, moderated.mods)
    assert (await moderated.sign(first)).signed
    assert not (await moderated.sign(second)).signed
    assert "Exempt" not in await moderated.ask("!policy status", BOB, others)
    reply = await moderated.ask(f"!policy disallow {SPAMMER}", BOB, others)
    assert "is not exempt here" in reply
    assert (await moderated.sign(first)).signed


async def test_only_who_may_command(moderated: Moderated) -> None:
    moderated.settings["moderation_rooms"] = [{"room": moderated.mods, "command_power_level": 50}]
    await moderated.start()
    for command in ("allow", "disallow"):
        assert (await moderated.ask(f"!policy {command} @a:b.example", BOB)).startswith("❌")
    assert "Exempt" not in await moderated.ask("!policy status", BOB)

"""why: the stored verdict in words."""

from .moderated import BOT, NAME, SPAMMER, Moderated

CAROL = f"@carol:{NAME}"


async def test_a_refusal_by_reference_event_and_link(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER} selling things")
    answer = await bot.sign(room_id)
    report = await bot.notice("🚫")
    reference = report.rpartition("Reference: ")[2]
    assert reference in answer.body["error"]
    names = (
        reference,
        reference.lower().replace("-", ""),
        answer.event_id,
        f"https://matrix.to/#/{room_id}/{answer.event_id}?via=spam.example",
    )
    for name in names:
        reply = await bot.ask(f"!policy why {name}")
        assert reply.startswith(f"✅ Refused: message by {SPAMMER} in “Lobby”.")
        assert f"rule: {SPAMMER} (user rule of the list “Moderators bans”)" in reply
        assert f"reason “selling things”, written by {BOT}" in reply
        assert "decided on 2027-01-15 at 08:01:00 UTC, asked first by spam.example" in reply
        assert answer.event_id in reply and reference in reply


async def test_an_exemption(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy ban {SPAMMER}")
    await bot.homeserver.set_state(
        room_id, CAROL, "m.room.power_levels", {"users": {BOT: 100, SPAMMER: 50}}
    )
    await bot.caught_up()
    answer = await bot.sign(room_id)
    assert answer.signed
    reply = await bot.ask(f"!policy why {answer.event_id}")
    assert f"Signed: message by {SPAMMER}" in reply
    assert "the rule that would have refused it: @spammer" in reply
    assert "signed because its sender has power in the room" in reply


async def test_an_event_of_a_disabled_room(bot: Moderated) -> None:
    room_id = await bot.enabled()
    await bot.ask(f"!policy disable {room_id}")
    answer = await bot.sign(room_id)
    reply = await bot.ask(f"!policy why {answer.event_id}")
    assert "signed because the policy server of the room was disabled" in reply


async def test_what_is_not_known(bot: Moderated) -> None:
    for name in ("ABCD-EFGH", "$" + "a" * 43):
        reply = await bot.ask(f"!policy why {name}")
        assert reply.startswith("❌ I know of no refusal or exemption under that name")
    for name in (
        "@x:y",
        "#room:example.org",
        "https://matrix.to/#/!r:example.org",
        "no reference",
    ):
        assert (await bot.ask(f"!policy why {name}")).startswith("❌ ")

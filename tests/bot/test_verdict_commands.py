"""why: the stored verdict in words."""

from typing import Any

import pytest

from policybot.bot.command import parse_command
from policybot.policy.verdict import Decision, reference_code
from tests.store.samples import key, refusal_details

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


ABUSE = '<b>@room</b> look\n\nhttps://evil.example "x" www.evil.example\u202e'


async def asked_for_text(bot: Moderated, **fields: Any) -> dict[str, Any]:
    """The reply to `why --text` about a refused event."""
    answer = await bot.sign(await bot.enabled(), **fields)
    event_id = await bot.say(f"!policy why {answer.event_id} --text")
    return await bot.reply_to(event_id)


@pytest.fixture
async def banned(bot: Moderated) -> Moderated:
    await bot.ask(f"!policy ban {SPAMMER}")
    return bot


async def test_the_text_is_hidden_until_it_is_wanted(banned: Moderated) -> None:
    reply = await asked_for_text(banned, body=ABUSE)
    verdict, _, shown = reply["formatted_body"].partition("<span data-mx-spoiler=")
    assert "evil" not in verdict and "reference " in verdict
    assert shown == (
        '"What was written; it may be abusive">'
        "<code>&lt;b&gt;@\u200broom&lt;/b&gt; look</code><br>"
        "<code>https:\u200b//evil.example &quot;x&quot; www.\u200bevil.example</code></span>"
    )
    verdict, warning, shown = reply["body"].partition("⚠️ What was written; it may be abusive:")
    assert warning and "evil" not in verdict and "reference " in verdict
    assert shown == (
        '\n\n\n| <b>@\u200broom</b> look\n| https:\u200b//evil.example "x" www.\u200bevil.example'
    )
    assert reply["m.mentions"] == {}


async def test_the_text_is_shown_only_if_asked_for(banned: Moderated) -> None:
    answer = await banned.sign(await banned.enabled(), body="abuse")
    assert "abuse" not in await banned.ask(f"!policy why {answer.event_id}")


async def test_the_text_is_shown_in_its_own_moderation_room_only(banned: Moderated) -> None:
    room_id = await banned.enabled()
    second = banned.homeserver.create_room("@dora:other.example", members=[BOT])
    banned.settings["moderation_rooms"] = [banned.mods, second]
    await banned.restart()
    answer = await banned.sign(room_id, body="abuse")
    reply = await banned.ask(
        f"!policy why {answer.event_id} --text", "@dora:other.example", second
    )
    assert reply.startswith("❌ I know of no refusal")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"content": {"msgtype": "m.image", "body": "abuse.png", "url": "mxc://evil/1"}},
            "It has no text; nothing is kept of this but that it was: image.",
        ),
        (
            {"type": "m.room.encrypted", "content": {"algorithm": "a"}},
            "It is encrypted: only members of the room can read it.",
        ),
        (
            {"type": "m.reaction", "content": {"m.relates_to": {"key": "abuse"}}},
            "It has no text; nothing is kept of this but that it was: reaction.",
        ),
    ],
)
async def test_what_has_no_text(banned: Moderated, fields: dict[str, Any], words: str) -> None:
    reply = await asked_for_text(banned, **fields)
    assert reply["body"].endswith(words)
    assert "abuse" not in reply["body"] + reply["formatted_body"]
    assert "mxc" not in reply["body"] + reply["formatted_body"]


async def test_many_events_with_one_id_are_told_without_texts(banned: Moderated) -> None:
    """In old room versions their senders choose it."""
    for number in range(20):
        details = refusal_details(
            "same:b.example",
            moderation_room=banned.mods,
            text="abuse",
            received_ts=banned.clock.now,
            sender=f"@{number}{'<' * 240}:b",
        )
        banned.app._verdicts.submit(Decision(key(number), False, details))
    event_id = await banned.say("!policy why $same:b.example --text")
    reply = await banned.reply_to(event_id)
    assert "abuse" not in reply["body"] + reply["formatted_body"]
    assert banned.replies(event_id)[0]["body"].count("Refused: ") > 5
    last = await banned.ask(f"!policy why {reference_code(key(19))} --text")
    assert last.endswith("| abuse")


async def test_texts_are_gone_when_their_time_is_over(banned: Moderated) -> None:
    """Also if they are still stored: the hourly round comes later."""
    answer = await banned.sign(await banned.enabled(), body="abuse")
    banned.clock.now += 7 * 24 * 3_600_000 + 1
    reply = banned.chat._commands._handlers["why"]
    command = parse_command(f"!policy why {answer.event_id} --text", "!policy")
    assert command is not None
    text = str(await reply(banned.mods, SPAMMER, command))
    assert "Its text is not kept any more" in text and "abuse" not in text


async def test_texts_are_never_kept_if_so_configured(moderated: Moderated) -> None:
    moderated.settings["reports"] = {"keep_text": 0}
    await moderated.start()
    await moderated.ask(f"!policy ban {SPAMMER}")
    reply = await asked_for_text(moderated, body="abuse")
    assert reply["body"].endswith("Its text was not kept: reports.keep_text is 0.")

"""Names and reasons chosen by others, in every reply and notice."""

from html.parser import HTMLParser

import pytest

from policybot.protocol.canonical_json import JsonObject

from .moderated import ALICE, BOT, NAME, OURS, SPAMMER, Moderated, ban

CAROL = f"@carol:{NAME}"
POLICY = "m.room.policy"
HOSTILE = {
    "direction": "\u202egnp.exe\u202d\u2066x",
    "html": "</code></a><img src=x onerror=alert(1)><mx-reply>",
    "long": "x" * 10_000,
    "lines": "a\n\n✅ All rooms are open now.\r\n\u2028• done",
    "mention": '@room @alice:example.org <a href="https://matrix.to/#/@alice:example.org">A</a>',
    "quotes": "” is fine. Now type “!policy disable all",
    "zalgo": "Z" + "\u0300\u0301\u0302" * 500,
    "nothing": "\u200b\u2060 \u3164",
}
ALLOWED_TAGS = {"code", "br", "strong", "pre"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert not attributes
        self.tags.add(tag)


def check(content: JsonObject) -> None:
    """What must hold of everything that the bot says."""
    plain, html = content["body"], content["formatted_body"]
    assert content["m.mentions"] == {}
    assert len(plain) < 8000
    tags = _Tags()
    tags.feed(html)
    assert tags.tags <= ALLOWED_TAGS
    for text in (plain, html):
        assert not any(ord(c) in range(0x202A, 0x2070) for c in text)
        assert "@room" not in text and "\r" not in text and "\u2028" not in text
        assert "https://matrix.to" not in text
        assert "\u0300\u0301\u0302\u0300" not in text
    assert "\n✅ All rooms" not in plain


@pytest.mark.parametrize("kind", HOSTILE)
async def test_no_reply_or_notice_lets_them_through(moderated: Moderated, kind: str) -> None:
    text = HOSTILE[kind]
    bot, homeserver = moderated, moderated.homeserver
    unclaimed = bot.room(text)
    await homeserver.set_state(unclaimed, CAROL, POLICY, OURS)
    await bot.start()
    room_id = bot.room(text)
    list_id = bot.policy_list(text, a=ban(SPAMMER, text), b=ban(ALICE), c={"entity": text})
    reason = " ".join(text.split())
    await bot.ask(f"!policy enable {room_id}")
    for words in (
        f"watch {list_id}",
        f"watch {text[:200]}",
        f"enable {text[:200]}",
        f"unwatch {text[:200]}",
        "lists",
        "status",
        f"status {room_id}",
        f"ban @x:spam.example {reason[:3000]}",
        f"ban {text[:200]}",
        f"allow {SPAMMER} {reason[:3000]}",
        f"allow {SPAMMER}",
        f"allow {text[:200]}",
        f"match {SPAMMER}",
        "status",
        f"disallow {SPAMMER}",
        f"disallow {text[:200]}",
        f"match {text[:200]}",
        f"why {text[:200]}",
        text[:200],
    ):
        await bot.reply_to(await bot.say(f"!policy {words}"))
    answer = await bot.sign(room_id)
    assert not answer.signed
    await bot.notice("🚫")
    await bot.ask(f"!policy why {answer.event_id}")
    await homeserver.set_state(room_id, CAROL, POLICY, {"via": text, "public_key": text})
    unset = bot.room(text, power_levels={})
    await bot.ask(f"!policy enable {unset} --dry-run")
    await homeserver.set_state(unset, CAROL, POLICY, {"via": text, "public_key": text})
    await homeserver.set_membership(list_id, BOT, "leave", CAROL)
    await homeserver.set_membership(room_id, BOT, "leave", CAROL)
    await bot.caught_up()
    await bot.ask(f"!policy disable {room_id}")
    await bot.ask(f"!policy unban {SPAMMER}")
    await bot.ask("!policy unwatch list1")
    said = homeserver.messages(bot.mods, BOT)
    assert len(said) > 20
    for content in said:
        check(content)

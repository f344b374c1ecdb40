"""The bot without its homeserver: the endpoint goes on, and the rest waits."""

import pytest

from policybot.demo import acts
from policybot.demo.cast import ACCEPTED, Cast, body_of
from policybot.demo.user import MatrixRefusal
from policybot.protocol.room_version import ROOM_VERSIONS

from .caller import Caller
from .conftest import MakeBot, MakeCast
from .federation_server import FederationServer
from .orders import obeyed
from .recording_proxy import RecordingProxy

REPORTS = {"first_delay": "0s", "interval": "1s"}


async def refused(cast: Cast) -> str:
    """Let the spammer write, and return the reference code that he was told."""
    with pytest.raises(MatrixRefusal) as refusal:
        await cast.spammer.send_text(cast.lounge, "cheap watches")
    assert (refusal.value.status, refusal.value.errcode) == (400, "M_FORBIDDEN")
    code = acts.REFERENCE_CODE.search(refusal.value.error)
    assert code is not None
    return code.group()


async def all_is_caught_up(cast: Cast, unban: str, code: str) -> None:
    """Wait until the command ``unban``, sent while the homeserver was away, was carried out, and
    until the refusal ``code`` from then was reported."""
    await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: event["sender"] == cast.bot.user_id and body_of(event).startswith(ACCEPTED),
        after=unban,
        deadline=40,
    )
    event_id = await cast.spammer.send_text(cast.lounge, "sorry")
    await cast.moderator.wait_for_event_id(cast.lounge, event_id)
    await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: event["sender"] == cast.bot.user_id and code in body_of(event),
        deadline=40,
    )


async def test_a_bot_started_without_its_homeserver_answers_and_later_carries_on(
    way: RecordingProxy, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    bot = await make_bot(
        cast, start=False, reports=REPORTS, standalone=way.standalone(cast.bot.account)
    )
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    await obeyed(cast, f"!policy ban {cast.spammer.user_id} advertising")
    assert await bot.stop() == 0

    port = way.port
    await way.stop()
    await bot.start()
    await bot.process.wait_for_line("The homeserver does not answer", 20)
    event_id = await cast.visitor.send_text(cast.lounge, "is anybody there?")
    await cast.moderator.wait_for_event_id(cast.lounge, event_id)
    code = await refused(cast)
    command = await cast.moderator.send_text(
        cast.moderation_room, f"!policy unban {cast.spammer.user_id}"
    )

    await way.start(port)
    await all_is_caught_up(cast, command, code)


async def test_a_connection_that_is_lost_meanwhile_is_survived(
    way: RecordingProxy, make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    bot = await make_bot(
        cast, start=False, reports=REPORTS, standalone=way.standalone(cast.bot.account)
    )
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    await obeyed(cast, f"!policy ban {cast.spammer.user_id} advertising")

    port = way.port
    await way.stop()
    await bot.process.wait_for_line("The homeserver does not answer /sync", 20)
    code = await refused(cast)
    event_id = await cast.visitor.send_text(cast.lounge, "is anybody there?")
    await cast.moderator.wait_for_event_id(cast.lounge, event_id)
    command = await cast.moderator.send_text(
        cast.moderation_room, f"!policy unban {cast.spammer.user_id}"
    )

    await way.start(port)
    await all_is_caught_up(cast, command, code)


async def test_a_homeserver_that_delivers_no_keys_shuts_nobody_out(
    way: RecordingProxy, make_cast: MakeCast, make_bot: MakeBot, third_server: FederationServer
) -> None:
    cast = await make_cast(room_version="11")
    bot = await make_bot(
        cast,
        start=False,
        standalone=way.standalone(cast.bot.account),
        federation={"allow_networks": ["127.0.0.0/8"]},
    )
    await acts.start_bot(bot, cast)
    await acts.enable(cast)

    way.broken = "/_matrix/key/"
    way.requests.clear()
    identity = third_server.identity
    event = identity.message(ROOM_VERSIONS["11"], cast.lounge, f"@x:{identity.name}", "hello")
    (answer,) = await Caller(identity, bot, cast.moderator.server).ask_all([event])
    assert (answer.status, list(answer.body)) == (200, [cast.moderator.server])
    assert "POST /_matrix/key/v2/query" in way.requests
    question = await cast.moderator.send_text(cast.moderation_room, "!policy status")
    reply = await cast.moderator.wait_for_event(
        cast.moderation_room, lambda e: e["sender"] == cast.bot.user_id, after=question
    )
    assert "does not deliver keys" in body_of(reply)


async def test_a_dead_token_ends_the_bot_with_a_sentence_and_the_password_brings_it_back(
    make_cast: MakeCast, make_bot: MakeBot
) -> None:
    cast = await make_cast()
    bot = await make_bot(cast, start=False)
    await acts.start_bot(bot, cast)
    await acts.enable(cast)

    # Logs out every device of the account, the bot's own too.
    await cast.bot.request("POST", "logout", "all", body={})
    await cast.moderator.send_text(cast.moderation_room, "an event, so that /sync answers")
    await bot.process.wait_for_end(30)
    assert await bot.stop() == 1
    sentences = [line for line in bot.log_tail() if line.startswith("policybot: ")]
    assert len(sentences) == 1
    assert "access token" in sentences[0] and "standalone.homeserver" in sentences[0]
    assert not any("Traceback" in line for line in bot.log_tail(2000))

    await bot.start()
    await obeyed(cast, f"!policy status {cast.lounge_alias}")

"""The bot with a PostgreSQL server that stops and starts again."""

import asyncio

from policybot.demo import acts
from policybot.demo.cast import body_of

from ..postgres import Postgres
from .conftest import MakeBot, MakeCast
from .orders import obeyed
from .test_story import REPORTS, reference_in, refusal_of


async def test_rooms_stay_as_they_are_while_the_database_is_away(
    make_cast: MakeCast, make_bot: MakeBot, postgres: Postgres, postgres_url: str
) -> None:
    cast = await make_cast()
    room = cast.lounge
    bot = await make_bot(cast, start=False, reports=REPORTS, standalone={"database": postgres_url})
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    await obeyed(cast, f"!policy ban {cast.spammer.user_id} advertising")

    await asyncio.to_thread(postgres.stop)
    hello = await cast.visitor.send_text(room, "hello")
    await cast.moderator.wait_for_event_id(room, hello)
    code = reference_in(await refusal_of(cast.spammer, room, "cheap watches"))
    await cast.moderator.send_text(cast.moderation_room, "!policy status")
    await cast.moderator.wait_for_event(
        cast.moderation_room,
        lambda event: "The database cannot be written; 2 verdicts wait" in body_of(event),
    )
    await asyncio.to_thread(postgres.start)

    why = await obeyed(cast, f"!policy why {code}")
    assert cast.spammer.user_id in why and "advertising" in why
    await obeyed(cast, f"!policy unban {cast.spammer.user_id}")
    sorry = await cast.spammer.send_text(room, "sorry")
    await cast.moderator.wait_for_event_id(room, sorry)
    await bot.restart()
    assert cast.spammer.user_id in await obeyed(cast, f"!policy why {code}")

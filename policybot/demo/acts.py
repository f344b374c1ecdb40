"""The acts of the story: what each person does, and the proof that it had its effect.

Each act prints one line when it has ended; what the line says was read back from a homeserver.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import ClientError

from ..protocol.canonical_json import JsonObject
from ..protocol.policy_event import POLICY_EVENT
from ..protocol.signing import POLICY_SERVER_KEY_ID
from .bot_process import BotProcess
from .cast import ACCEPTED, Cast, body_of, gather_cast
from .child_process import ProcessFailed
from .homeserver import Homeserver
from .network import Network
from .user import MatrixRefusal, NotSeen, User

REFERENCE_CODE = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}\b")
"""The code by which a refused person and a moderator name a verdict."""

_SPAM = "Cheap watches at watches.example!"
_REPORT_WAIT = 45.0  # seconds; refusals are gathered before they are reported


class StepFailed(Exception):
    """A step of the story did not happen; the text is one sentence."""


# The last two: a homeserver that is gone or does not answer.
_STORY_ENDS = (MatrixRefusal, NotSeen, ProcessFailed, StepFailed, ClientError, OSError)


@contextmanager
def telling(attempt: str) -> Iterator[Callable[[str], None]]:
    """Time a step and print the sentences that it tells, as one line, when it has ended.

    Raises:
        StepFailed: the step ended with one of the errors that a story may end with.
    """
    begin = time.monotonic()
    sentences: list[str] = []
    try:
        yield sentences.append
    except _STORY_ENDS as error:
        raise StepFailed(f"{attempt}: {str(error) or type(error).__name__}") from error
    print(f"{time.monotonic() - begin:6.2f} s  {' '.join(sentences)}", flush=True)


async def open_the_house(network: Network) -> Cast:
    """Accounts, rooms, guests."""
    with telling("make accounts and rooms") as tell:
        cast = await gather_cast(network)
        tell(f"A moderation room, and {cast.lounge_alias} with people of both homeservers.")
    return cast


async def start_bot(bot: BotProcess, cast: Cast) -> None:
    """The bot comes up and accepts its invitation."""
    with telling("start policybot") as tell:
        await bot.start()
        await cast.moderator.wait_for_event(
            cast.moderation_room,
            lambda event: (
                event["type"] == "m.room.member"
                and event.get("state_key") == cast.bot.user_id
                and event["content"].get("membership") == "join"
            ),
        )
        tell(f"policybot runs as {cast.bot.user_id} and joined the moderation room.")


async def enable(cast: Cast) -> str:
    """The moderator protects the lounge, and the other homeserver learns of it. Returns the
    policy server's name."""
    with telling("protect the room") as tell:
        reply = await _accepted(cast, f"!policy enable {cast.lounge_alias}")
        event = await cast.visitor.wait_for_event(
            cast.lounge, lambda event: event["type"] == POLICY_EVENT and event["content"] != {}
        )
        tell(f"!policy enable {cast.lounge_alias}: {_first_line(reply)}")
        via = event["content"].get("via")
        if not isinstance(via, str):
            raise StepFailed(f"hs2 holds {event['content']}")
        tell(f"(hs2 holds m.room.policy via {via}.)")
        if via != cast.moderator.server:
            tell(f"({await _policy_user(cast, via)} joined by federation.)")
    return via


async def visitor_talks(network: Network, cast: Cast) -> None:
    """An innocent person is not bothered: signed, sent, seen on the other homeserver."""
    with telling("a visitor talks") as tell:
        event_id = await cast.visitor.send_text(cast.lounge, "Good evening, everyone.")
        await cast.moderator.wait_for_event_id(cast.lounge, event_id)
        signer = await _signer(network.hs2, event_id)
        if signer is None:
            raise StepFailed(f"hs2 stores {event_id} without the policy server's signature")
        tell("A visitor on hs2 talks: signed by the policy server before it was sent")
        tell(f"({POLICY_SERVER_KEY_ID} of {signer}), and seen on hs1.")


async def ban(cast: Cast) -> None:
    """The moderator bans the spammer."""
    with telling("ban the spammer") as tell:
        reply = await _accepted(cast, f"!policy ban {cast.spammer.user_id} advertising")
        tell(f"!policy ban {cast.spammer.user_id} advertising: {_first_line(reply)}")


async def spammer_is_refused(cast: Cast) -> str:
    """The spammer's own homeserver does not let the message out. Returns the reference code."""
    with telling("the spammer is refused") as tell:
        text, code = await _refused(cast.spammer, cast.lounge)
        tell(f"The spammer's message does not leave hs2, which tells him: {text}")
    return code


async def own_server_refuses_too(network: Network, cast: Cast) -> User:
    """hs1 asks about its own users as well, which it never does where the policy server has its
    name. Returns hs1's spammer, who is free again."""
    with telling("hs1 refuses its own spammer") as tell:
        spammer = await network.hs1.register(f"own-{cast.spammer.localpart}")
        await spammer.join(cast.lounge)
        event_id = await spammer.send_text(cast.lounge, "Nice room!")
        await cast.visitor.wait_for_event_id(cast.lounge, event_id)
        signer = await _signer(network.hs1, event_id)
        if signer is None:
            raise StepFailed(f"hs1 stores {event_id} without the policy server's signature")
        await _accepted(cast, f"!policy ban {spammer.user_id} advertising")
        text, _ = await _refused(spammer, cast.lounge)
        marker = await cast.moderator.send_text(cast.lounge, "What a quiet evening.")
        await cast.moderator.wait_for_event_id(cast.lounge, marker)
        if any(body_of(event) == _SPAM for event in cast.moderator.seen.events(cast.lounge)):
            raise StepFailed("the moderator sees the message on hs1")
        await _accepted(cast, f"!policy unban {spammer.user_id}")
        tell(f"A user of hs1 itself, {spammer.user_id}, talks and is then banned: hs1 asks too")
        tell(f"({POLICY_SERVER_KEY_ID} of {signer}), does not show his next message, and tells")
        tell(f"him: {text}")
    return spammer


async def refusal_is_reported(cast: Cast, code: str) -> None:
    """The moderators hear of it without having asked."""
    with telling("the refusal is reported") as tell:
        report = await cast.moderator.wait_for_event(
            cast.moderation_room,
            lambda event: event["sender"] == cast.bot.user_id and code in body_of(event),
            deadline=_REPORT_WAIT,
        )
        tell(f"The moderation room reads: {_one_line(body_of(report))}")


async def ask_why(cast: Cast, code: str) -> None:
    """The code in the refusal leads to the rule."""
    with telling("ask why") as tell:
        reply = await _accepted(cast, f"!policy why {code}")
        tell(f"!policy why {code}: {_one_line(reply)}")


async def unban(cast: Cast) -> None:
    """The ban is lifted, and the next message passes."""
    with telling("lift the ban") as tell:
        reply = await _accepted(cast, f"!policy unban {cast.spammer.user_id}")
        event_id = await cast.spammer.send_text(cast.lounge, "Sorry, I will behave.")
        await cast.moderator.wait_for_event_id(cast.lounge, event_id)
        tell(f"!policy unban {cast.spammer.user_id}: {_first_line(reply)}")
        tell("(His next message is seen on hs1.)")


async def disable(network: Network, cast: Cast) -> None:
    """The room is a room as before: nobody asks any more."""
    with telling("stop protecting the room") as tell:
        reply = await _accepted(cast, f"!policy disable {cast.lounge_alias}")
        await cast.visitor.wait_for_event(
            cast.lounge, lambda event: event["type"] == POLICY_EVENT and event["content"] == {}
        )
        event_id = await cast.visitor.send_text(cast.lounge, "Good night.")
        await cast.moderator.wait_for_event_id(cast.lounge, event_id)
        if await _signer(network.hs2, event_id) is not None:
            raise StepFailed(f"hs2 still asked for a signature of {event_id}")
        tell(f"!policy disable {cast.lounge_alias}: {_first_line(reply)}")
        tell("(The visitor's next message is seen on hs1, without a signature.)")


async def whole_story(network: Network, cast: Cast) -> tuple[User, ...]:
    """From a room that is put under the policy server to its release, every act in its order.

    Returns who joined the people on the way.

    Raises:
        StepFailed: something did not happen.
    """
    policy_server = await enable(cast)
    await visitor_talks(network, cast)
    await ban(cast)
    code = await spammer_is_refused(cast)
    await refusal_is_reported(cast, code)
    await ask_why(cast, code)
    await unban(cast)
    newcomers = []
    if policy_server != network.hs1.name:
        newcomers.append(await own_server_refuses_too(network, cast))
    await disable(network, cast)
    return tuple(newcomers)


async def _refused(spammer: User, room_id: str) -> tuple[str, str]:
    """Let the spammer send what must be refused. What he is told, and the reference code in it."""
    try:
        await spammer.send_text(room_id, _SPAM)
    except MatrixRefusal as refusal:
        if (refusal.status, refusal.errcode) != (400, "M_FORBIDDEN"):
            raise
        text = refusal.error
    else:
        raise StepFailed("the message was sent")
    code = REFERENCE_CODE.search(text)
    if code is None:
        raise StepFailed(f"the refusal has no reference code: {text}")
    return text, code.group()


async def _accepted(cast: Cast, command: str) -> str:
    reply = await cast.command(command)
    if not reply.startswith(ACCEPTED):
        raise StepFailed(f"{command}: the bot answered {_one_line(reply)}")
    return reply


async def _policy_user(cast: Cast, name: str) -> str:
    """The user of the policy server's own name that hs2 sees in the lounge."""
    answer = await cast.visitor.request("GET", "rooms", cast.lounge, "joined_members")
    for user_id in answer["joined"]:
        if user_id.endswith(f":{name}"):
            return str(user_id)
    raise StepFailed(f"hs2 sees nobody of {name} in the room")


async def _signer(homeserver: Homeserver, event_id: str) -> str | None:
    """The policy server whose signature the homeserver stores with the event."""
    event: JsonObject = await homeserver.stored_event(event_id)
    signatures = event["signatures"].items()
    return next((name for name, keys in signatures if POLICY_SERVER_KEY_ID in keys), None)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _one_line(text: str, limit: int = 300) -> str:
    line = " / ".join(part.strip() for part in text.split("\n") if part.strip())
    return line if len(line) <= limit else f"{line[:limit]}…"

"""Joining and leaving rooms as a user of a server of ours, by way of the servers that are in them
(server-server API, "Joining Rooms" and "Leaving Rooms").

Any of these may be away, or lie. What they propose is made anew (`member_event`), and what they
say of the room is not looked at: whether the user is in it, the bot reads in the room.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, urlencode

from ..protocol.member_event import Change, InvalidTemplate, MemberEvent, finish_member_event
from ..protocol.room_version import ROOM_VERSIONS, UnknownRoomVersion
from .answer import said
from .client import RequestFailed, Response, ResponseTooLarge
from .signed_client import SignedClient

MAX_RESIDENTS = 5
"""How many servers are asked, one after the other."""

_MAX_TOLD = 3
_MAX_WORDS = 200


class MembershipFailed(Exception):
    """The user did not join, or leave. ``text`` is for the moderators: sentences, with words of
    other servers in them. ``final`` tells that who could say so refused it, so that trying again
    is of no use until somebody changes something in the room."""

    def __init__(self, text: str, final: bool) -> None:
        super().__init__(text)
        self.text = text
        self.final = final


@dataclass(frozen=True, slots=True)
class MembershipTimes:
    """Longest times in seconds: for a server to propose the event, for it to take the event (which
    takes long in a large room), and for all servers together."""

    propose: float = 15.0
    take: float = 60.0
    all: float = 120.0


class _Kind(Enum):
    """What a failure tells about another try."""

    REFUSED = "the room does not let the user"
    NOT_NOW = "it may work later"
    NOTHING = "the server is away, or is not to be believed"


class _Failed(Exception):
    def __init__(self, text: str, kind: _Kind) -> None:
        super().__init__(text)
        self.kind = kind


class Membership:
    """Joins and leaves rooms as ``user_id``, a user of the server that ``client`` asks as;
    ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        user_id: str,
        client: SignedClient,
        clock: Callable[[], int],
        times: MembershipTimes | None = None,
    ) -> None:
        self._user_id = user_id
        self._client = client
        self._clock = clock
        self._times = times or MembershipTimes()

    async def join(self, room_id: str, servers: Sequence[str]) -> None:
        """Join a room by way of one of the servers, which are tried in their order.

        Raises MembershipFailed.
        """
        await self._change(Change.JOIN, room_id, servers)

    async def leave(self, room_id: str, servers: Sequence[str]) -> None:
        """Leave a room, or decline an invitation to it; else like ``join``."""
        await self._change(Change.LEAVE, room_id, servers)

    async def _change(self, change: Change, room_id: str, servers: Sequence[str]) -> None:
        residents = [server for server in dict.fromkeys(servers) if server != self._client.name]
        failures: list[_Failed] = []
        try:
            async with asyncio.timeout(self._times.all):
                for resident in residents[:MAX_RESIDENTS]:
                    try:
                        await self._by_way_of(resident, change, room_id)
                        return
                    except _Failed as failure:
                        failures.append(failure)
        except TimeoutError:
            text = f"The other servers took longer than {self._times.all:g} s."
            failures.append(_Failed(text, _Kind.NOT_NOW))
        if not failures:
            raise MembershipFailed("No other server is known to be in the room.", final=False)
        # What the room refuses comes first: that somebody can change.
        failures.sort(key=lambda failure: failure.kind is not _Kind.REFUSED)
        kinds = {failure.kind for failure in failures}
        raise MembershipFailed(
            " ".join(str(failure) for failure in failures[:_MAX_TOLD]),
            final=_Kind.REFUSED in kinds and _Kind.NOT_NOW not in kinds,
        )

    async def _by_way_of(self, resident: str, change: Change, room_id: str) -> None:
        try:
            proposed = await self._client.get(
                resident, self._make_path(change, room_id), timeout_s=self._times.propose
            )
            if proposed.status != 200:
                raise self._refusal(resident, proposed)
            finished = self._finish(resident, proposed, change, room_id)
            taken = await self._take(resident, finished, change, room_id)
        except RequestFailed as error:
            raise _Failed(f"{resident} was asked, but {error}.", _Kind.NOTHING) from None
        if taken is not None:
            raise self._refusal(resident, taken)

    async def _take(
        self, resident: str, finished: MemberEvent, change: Change, room_id: str
    ) -> Response | None:
        """Hand the event over; the answer if it was not taken. Raises RequestFailed."""
        room, event = quote(room_id, safe=""), quote(finished.event_id, safe="")
        path = f"/_matrix/federation/v2/send_{change.value}/{room}/{event}"
        if change is Change.JOIN:
            path += "?omit_members=true"
        try:
            answer = await self._client.put(
                resident, path, finished.event, timeout_s=self._times.take
            )
        except ResponseTooLarge as error:
            if error.status != 200:
                raise
            # A large room's state, which is of no use here: the rest is left unread.
            return None
        return None if answer.status == 200 else answer

    def _make_path(self, change: Change, room_id: str) -> str:
        room, user = quote(room_id, safe=""), quote(self._user_id, safe="")
        path = f"/_matrix/federation/v1/make_{change.value}/{room}/{user}"
        if change is Change.LEAVE:
            return path
        return path + "?" + urlencode([("ver", version) for version in ROOM_VERSIONS])

    def _finish(
        self, resident: str, proposed: Response, change: Change, room_id: str
    ) -> MemberEvent:
        client = self._client
        try:
            return finish_member_event(
                proposed.json,
                change,
                room_id,
                self._user_id,
                self._clock(),
                client.key_id,
                client.key,
            )
        except UnknownRoomVersion as error:
            raise _Failed(f"{resident} refuses: {error}", _Kind.REFUSED) from None
        except InvalidTemplate as error:
            raise _Failed(
                f"{resident} gave an answer that cannot be used: {error}", _Kind.NOTHING
            ) from None

    def _refusal(self, resident: str, answer: Response) -> _Failed:
        """What an answer without success means."""
        found = answer.json if isinstance(answer.json, dict) else {}
        words = _words(found.get("error")) or said(answer)
        match answer.status, found.get("errcode"):
            case 403, "M_FORBIDDEN":
                return _Failed(f"{resident} refuses: {words}.", _Kind.REFUSED)
            case _, "M_INCOMPATIBLE_ROOM_VERSION":
                text = f"{resident} refuses: the version of the room is none that I know."
                return _Failed(text, _Kind.REFUSED)
            case _, "M_UNABLE_TO_AUTHORISE_JOIN" | "M_UNABLE_TO_GRANT_JOIN":
                text = (
                    f"{resident} cannot let {self._user_id} in by what the join rule names:"
                    f" {words}. With an invitation it can join."
                )
                return _Failed(text, _Kind.NOT_NOW)
            case 401, _:
                text = (
                    f"{resident} could not check my signature: {words}. Other servers must be"
                    f" able to fetch the keys of {self._client.name}; `policybot check` shows"
                    " whether they are."
                )
                return _Failed(text, _Kind.NOT_NOW)
            case 404, _:
                return _Failed(f"{resident} does not know the room: {words}.", _Kind.NOTHING)
            case status, _ if status == 429 or status >= 500:
                return _Failed(f"{resident} cannot do it just now: {words}.", _Kind.NOT_NOW)
        return _Failed(f"{resident} answered something else: {said(answer)}.", _Kind.NOTHING)


def _words(text: object) -> str:
    """What a server says, in one line and not too long, without a full stop at its end."""
    if not isinstance(text, str):
        return ""
    shown = "".join(char if char.isprintable() else " " for char in text[:_MAX_WORDS])
    return shown.strip(" .")

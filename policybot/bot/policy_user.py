"""The user of a policy server with a name of its own, seen from the chat side.

Homeservers ask a policy server only while a user of its name is joined to the room. With the
homeserver's own name the bot is such a user; with another name it is the *policy user*, which
joins by federation. Whether it is joined is believed from the room alone, as the bot's homeserver
shows it, never from what a join was answered.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from policybot.policy.room import may_invite
from policybot.policy.server_acl import acl_allows
from policybot.protocol.identifier import InvalidIdentifier, server_of

from .client import HomeserverAway, MatrixClient, Refused
from .enable_plan import RoomState
from .reply import quoted

MEMBER = "m.room.member"
MAX_RESIDENTS = 5
"""How many servers in a room are asked, one after the other."""

log = logging.getLogger("policybot.rooms")


@dataclass(frozen=True, slots=True)
class MembershipFault:
    """Why the policy user did not join or leave, in a sentence. ``final``: trying again changes
    nothing unless somebody does something about it."""

    text: str
    final: bool


class Federation(Protocol):
    """Joins and leaves rooms as the policy user, by way of one of ``servers``; the fault if that
    failed. The text may hold what servers answered."""

    async def join(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None: ...

    async def leave(self, room_id: str, servers: Sequence[str]) -> MembershipFault | None: ...


@dataclass(frozen=True, slots=True)
class JoinTimes:
    """Seconds until a join is tried again, doubling from ``first_pause`` to ``longest_pause``;
    how long the homeserver has to show one that was accepted, and between two looks at it."""

    first_pause: float = 30.0
    longest_pause: float = 3600.0
    shown_within: float = 30.0
    look_again: float = 0.5


class PolicyUser:
    """The policy user, or without ``user_id`` and ``federation`` nobody: then it counts as joined
    everywhere, since the bot itself is the joined user."""

    def __init__(
        self,
        client: MatrixClient,
        federation: Federation | None,
        user_id: str | None,
        *,
        bot_user_id: str,
        times: JoinTimes,
    ) -> None:
        self._client = client
        self._federation = federation
        self.user_id = user_id
        self._bot_user_id = bot_user_id
        self._times = times
        self._faults: dict[str, str] = {}

    # -- asking ----------------------------------------------------------------------------------

    @property
    def server(self) -> str:
        """The policy user's server name; empty without one."""
        return server_of(self.user_id) if self.user_id is not None else ""

    def is_joined(self, state: RoomState) -> bool:
        """Whether a room's state shows the policy user as joined."""
        return self.user_id is None or self.membership(state) == "join"

    def membership(self, state: RoomState) -> str:
        """The policy user's membership by a room's state; ``leave`` if it never was there."""
        event = state.get((MEMBER, self.user_id or ""))
        return str(event["content"].get("membership")) if event is not None else "leave"

    def was_removed(self, before: RoomState, state: RoomState) -> bool:
        """Whether the policy user was joined before, and is not any more."""
        return self.is_joined(before) and not self.is_joined(state)

    def removed_by(self, state: RoomState) -> str:
        """By whom, as part of a sentence; empty if that cannot be told."""
        event = state.get((MEMBER, self.user_id or ""))
        return f", by {quoted(event['sender'])}" if event is not None else ""

    def is_shut_out(self, state: RoomState) -> bool:
        """Whether the room's server ACL keeps the policy user from joining."""
        if self.user_id is None:
            return False
        acl = state.get(("m.room.server_acl", ""))
        return acl is not None and not acl_allows(acl["content"], self.server)

    def fault(self, room_id: str) -> str:
        """Why the last try to join that room failed; empty if it did not. One sentence."""
        return self._faults.get(room_id, "")

    def obstacle(self, state: RoomState) -> str | None:
        """What keeps the policy user out of a room until somebody there changes it, with the
        cure."""
        if self.is_joined(state):
            return None
        if self.membership(state) == "ban":
            by = quoted(state[MEMBER, self.user_id or ""]["sender"])
            return (
                f"My user {self.user_id} is banned in that room, by {by}. Without it nobody asks "
                "me. Somebody who may has to lift that ban."
            )
        if self.is_shut_out(state):
            return (
                f"The server ACL of that room (m.room.server_acl) shuts {self.server} out, so "
                f"my user {self.user_id} cannot join. Somebody who may has to take the entry that "
                "matches out of “deny”, or put the name into “allow”."
            )
        return None

    # -- joining and leaving; the caller holds the room's lock ------------------------------------

    async def ensure_joined(
        self, room_id: str, state: RoomState, servers: Sequence[str] | None = None
    ) -> MembershipFault | None:
        """Let the policy user join, if the state does not show that, and wait until the homeserver
        shows it; the fault if it does not. Where an invitation is needed, the bot invites it if
        it may. ``servers``: those in the room, those with most members first; None
        if they are to be read."""
        if self.is_joined(state):
            self._faults.pop(room_id, None)
            return None
        fault = await self._join(room_id, state, servers)
        if fault is not None and await self._shown(room_id, 0.0):
            fault = None  # whatever was answered
        if fault is None:
            self._faults.pop(room_id, None)
        else:
            log.warning("%s did not join %s: %s", self.user_id, room_id, fault.text)
            self._faults[room_id] = fault.text
        return fault

    async def _join(
        self, room_id: str, state: RoomState, servers: Sequence[str] | None
    ) -> MembershipFault | None:
        assert self._federation is not None
        obstacle = self.obstacle(state)
        if obstacle is not None:
            return MembershipFault(obstacle, final=True)
        if not _is_public(state) and self.membership(state) != "invite":
            fault = await self._invite(room_id, state)
            if fault is not None:
                return fault
        residents = await self._residents(room_id, servers)
        fault = await self._federation.join(room_id, residents)
        if fault is not None:
            text = quoted(fault.text.rstrip("."), 500)
            cure = " Somebody who moderates there has to let it in." if fault.final else ""
            text = f"My user {self.user_id} could not join that room: {text}.{cure}"
            return MembershipFault(text, fault.final)
        if await self._shown(room_id, self._times.shown_within):
            return None
        return MembershipFault(
            f"My user {self.user_id} was let in, but your homeserver does not show it yet.",
            final=False,
        )

    async def _invite(self, room_id: str, state: RoomState) -> MembershipFault | None:
        power = may_invite(state, self._bot_user_id)
        if not power.allowed:
            return MembershipFault(
                f"My user {self.user_id} can enter that room only by invitation, and I may not "
                f"invite there: my power level is {power.has}, needed is {power.needed}. Invite "
                f"{self.user_id} yourself, or give me that power level.",
                final=False,
            )
        try:
            await self._client.invite(room_id, self.user_id or "")
        except (Refused, HomeserverAway) as error:
            refused = isinstance(error, Refused) and error.status != 429
            return MembershipFault(
                f"Your homeserver did not deliver my invitation of {self.user_id}: "
                f"{quoted(error.message)}. It asks me under my public name first; `status` says "
                "if that does not work.",
                final=refused,
            )
        return None

    async def leave(self, room_id: str) -> MembershipFault | None:
        """Let the policy user leave a room, or decline its invitation; the fault if it is still
        there."""
        if self.user_id is None or self._federation is None:
            return None
        try:
            if await self._read(room_id) not in ("join", "invite", "knock"):
                return None
        except (Refused, HomeserverAway) as error:
            return MembershipFault(str(error), final=False)
        self._faults.pop(room_id, None)
        return await self._federation.leave(room_id, await self._residents(room_id, None))

    async def _residents(self, room_id: str, servers: Sequence[str] | None) -> list[str]:
        """The servers to ask: the bot's own, which is in the room for sure, then the largest."""
        if servers is None:
            try:
                servers = servers_of(await self._client.joined_members(room_id))
            except (Refused, HomeserverAway) as error:
                log.warning("Could not read the members of %s: %s", room_id, error)
                servers = ()
        found = dict.fromkeys([server_of(self._bot_user_id), *servers])
        found.pop(self.server, None)
        return list(found)[:MAX_RESIDENTS]

    async def _shown(self, room_id: str, within: float) -> bool:
        """Whether the homeserver shows the policy user as joined within so many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            try:
                if await self._read(room_id) == "join":
                    return True
            except (Refused, HomeserverAway) as error:
                log.warning("Could not read whether %s is joined: %s", self.user_id, error)
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(self._times.look_again)

    async def _read(self, room_id: str) -> str:
        event = await self._client.state_event(room_id, MEMBER, self.user_id or "")
        return self.membership({(MEMBER, self.user_id or ""): event} if event is not None else {})


def servers_of(members: Iterable[str]) -> tuple[str, ...]:
    """The members' servers, those with most members first."""
    counts: Counter[str] = Counter()
    for user_id in members:
        with contextlib.suppress(InvalidIdentifier):
            counts[server_of(user_id)] += 1
    return tuple(server for server, _ in counts.most_common())


def _is_public(state: RoomState) -> bool:
    event = state.get(("m.room.join_rules", ""))
    return event is not None and event["content"].get("join_rule") == "public"

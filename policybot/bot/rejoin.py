"""The command `rejoin`: the policy user joins rooms again that somebody removed it from."""

import asyncio
from dataclasses import replace

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode

from .client import HomeserverAway, MatrixClient, Refused
from .command import Command
from .enable_checks import EnableChecks
from .errors import CommandError
from .former_names import former_name
from .joins import CONCURRENT, Joins
from .policy_change import Standing
from .policy_user_lines import is_missing
from .protected_rooms import ProtectedRooms
from .reply import Reply, quoted
from .room_reference import resolve_room


class RejoinCommand:
    """Carries out `rejoin`."""

    def __init__(
        self,
        client: MatrixClient,
        protected_rooms: ProtectedRooms,
        checks: EnableChecks,
        joins: Joins,
        *,
        bot_user_id: str,
    ) -> None:
        self._client = client
        self._rooms = protected_rooms
        self._policy_user = protected_rooms.policy_user
        self._checks = checks
        self._joins = joins
        self._bot_user_id = bot_user_id

    async def rejoin(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Let the policy user join the named rooms again, or all where it is missing."""
        if self._policy_user.user_id is None:
            raise CommandError(
                "This policy server has the name of your homeserver, so I am the joined user "
                f"myself. Invite {self._bot_user_id} to the room instead."
            )
        room_ids = [await resolve_room(self._client, word) for word in command.words]
        records = [self._record(room_id, moderation_room) for room_id in dict.fromkeys(room_ids)]
        records = records or await self._missing(moderation_room)
        if records and "unchecked" not in command.flags:
            await self._checks.check_endpoint()  # from the join on every server asks
        replies = await self._rejoin_all(records)
        if not replies:
            reply = Reply.done().code(self._policy_user.user_id)
            return reply.text(" is missing in no room here.")
        reply = replies[0]
        for other in replies[1:]:
            reply.line().add(other)
        return reply

    def _record(self, room_id: str, moderation_room: str) -> RoomRecord:
        record = self._rooms.record(room_id)
        if record is None or record.moderation_room != moderation_room:
            raise CommandError("I do not protect that room.")
        if record.mode is RoomMode.DISABLED:
            raise CommandError("That room is disabled. Enable it instead.")
        return record

    async def _missing(self, moderation_room: str) -> list[RoomRecord]:
        """The rooms where the policy user is not joined, by what they say now."""
        for record in self._rooms.owned_by(moderation_room):
            if record.mode is not RoomMode.DISABLED:
                await self._rooms.refresh(record.room_id)
        return [
            record
            for record in self._rooms.owned_by(moderation_room)
            if is_missing(self._rooms, record)
        ]

    async def _rejoin_all(self, records: list[RoomRecord]) -> list[Reply]:
        """What became of each, in their order."""
        limit = asyncio.Semaphore(CONCURRENT)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._rejoin(record, limit)) for record in records]
        return [task.result() for task in tasks]

    async def _rejoin(self, record: RoomRecord, limit: asyncio.Semaphore) -> Reply:
        name = self._rooms.name(record.room_id)
        if self._rooms.left(record.room_id):
            # Nobody could read there whether it worked.
            reply = Reply.refused().name(name).text(": I am not in the room any more. Invite ")
            return reply.code(self._bot_user_id).text(" to it first.")
        try:
            async with limit:
                return await self._join(record.room_id, name)
        except (Refused, HomeserverAway) as error:
            reply = Reply.refused().name(name).text(": your homeserver does not let me read it: ")
            return reply.text(
                f"{quoted(error.message)}. Try again, or invite {self._bot_user_id} to it."
            )

    async def _join(self, room_id: str, name: str) -> Reply:
        async with self._rooms.lock(room_id):
            record = self._rooms.record(room_id)
            if record is None or record.mode is RoomMode.DISABLED:
                return Reply.refused().name(name).text(" is not protected any more.")
            state = await self._rooms.read(room_id)
            joined = self._policy_user.is_joined(state)
            fault = await self._policy_user.ensure_joined(room_id, state)
            stands = self._rooms.standing(state) is Standing.OURS
            if fault is None and not joined:
                state = await self._rooms.read(room_id)
            kept = replace(record, state=tuple(state.values()))
            if stands and fault is not None and not fault.final:
                kept = replace(kept, settled=False)  # a wish that outlives the process
            elif fault is None:
                kept = replace(kept, settled=record.settled or self._rooms.is_as_wished(state))
            await self._rooms.keep(kept)
        if not kept.settled:
            self._joins.begin(room_id, failed=fault is not None)
        if fault is not None:
            return self._failed(kept, name, fault.text)
        reply = Reply.done().code(self._policy_user.user_id or "")
        reply.text(" was in " if joined else " is in ").name(name)
        reply.text(" already." if joined else " again.")
        if former_name(self._rooms, kept) is not None:
            reply.text(" But the room names me by a former name. To move it: ")
            reply.command(f"migrate {room_id}")
        elif not stands:
            reply.text(" But the room does not name this policy server, so nothing is checked: ")
            reply.command(f"enable {room_id}")
        return reply

    def _failed(self, record: RoomRecord, name: str, fault: str) -> Reply:
        reply = Reply.refused().name(name).text(" is not checked. ").text(fault)
        if record.settled:
            return reply.text(" Then write: ").command(f"rejoin {record.room_id}")
        return reply.text(" I go on trying and tell you here when it worked.")

"""The command `migrate`: from a former name of the policy server to its present one.

Each room is moved by itself, by what `enable` does, or stays as it is: under the former name it is
answered all the same. So a move that was broken off goes on where it is begun again.
"""

from dataclasses import dataclass, field

from policybot.policy.records import RoomRecord
from policybot.policy.room import RoomMode
from policybot.protocol.identifier import server_of

from .client import HomeserverAway, MatrixClient, Refused
from .command import Command
from .enable_checks import Checks
from .errors import CommandError, NotStored, PowerMissing
from .former_names import MAX_SHOWN, former_name, rooms_to_move
from .protected_rooms import ProtectedRooms
from .reply import Reply
from .report_text import count
from .room_commands import checks_of
from .room_protection import RoomProtection
from .room_reference import resolve_room


@dataclass(slots=True)
class _Move:
    """How far it has come: rooms that were moved, by which names they named us, and the rest:
    what to call each and what keeps it."""

    moved: list[RoomRecord] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    kept: list[tuple[str, Reply]] = field(default_factory=list)
    power: PowerMissing | None = None


class MigrateCommand:
    """Carries out `migrate`."""

    def __init__(
        self,
        client: MatrixClient,
        protection: RoomProtection,
        protected_rooms: ProtectedRooms,
        *,
        bot_user_id: str,
    ) -> None:
        self._client = client
        self._protection = protection
        self._rooms = protected_rooms
        self._bot_user_id = bot_user_id

    async def migrate(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Let the rooms that name us by a former name, or those of them that are given, name us by
        the present one.

        Raises:
            CommandError: nothing was changed; the text says why.
        """
        move = _Move()
        if command.words:
            records = await self._named(moderation_room, command.words, move)
        else:
            records = rooms_to_move(self._rooms, moderation_room)
        if records:
            await self._protection.check(records[0].room_id, checks_of(command))
        for record in records:
            await self._move(record, sender, move)
        return self._reply(move, unclaimed=not command.words)

    async def _named(
        self, moderation_room: str, words: tuple[str, ...], move: _Move
    ) -> list[RoomRecord]:
        """The rooms to move among those that are given."""
        found: dict[str, RoomRecord] = {}
        for word in words:
            try:
                room_id = await resolve_room(self._client, word)
            except CommandError as error:
                move.kept.append((word, Reply().text(error.text)))
                continue
            record = self._rooms.record(room_id)
            if record is None or record.moderation_room != moderation_room:
                move.kept.append((word, self._not_here(record)))
            elif record.mode is RoomMode.DISABLED or former_name(self._rooms, record) is None:
                why = Reply().text("it does not name me by a former name")
                move.kept.append((self._rooms.name(room_id), why))
            else:
                found[room_id] = record
        return list(found.values())

    def _not_here(self, record: RoomRecord | None) -> Reply:
        if record is not None and not record.moderation_room:
            reply = Reply().text("no moderation room enabled it. To protect it: ")
            return reply.command(f"enable {record.room_id}")
        return Reply().text("I do not protect that room")

    async def _move(self, record: RoomRecord, sender: str, move: _Move) -> None:
        former = former_name(self._rooms, record) or ""
        why = Reply()
        if self._rooms.left(record.room_id):
            # Nobody could read there whether it worked.
            why.text(f"I am not in the room any more. Invite {self._bot_user_id} to it")
            move.kept.append((self._rooms.name(record.room_id), why))
            return
        try:
            outcome = await self._protection.enable(
                record.room_id,
                record.moderation_room,
                sender,
                mode=record.mode,
                replace_other=False,
                checks=Checks.MADE,
            )
            if outcome.settled:
                move.moved.append(record)
                move.names.add(former)
                return
            why.text("your homeserver does not tell whether it took it")
        except PowerMissing as error:
            move.power = error
            why.text(error.missing)
        except CommandError as error:
            why.text(error.text)
        except NotStored as error:
            why.text("my database does not take it: ").name(str(error), 200)
        except HomeserverAway as error:
            why.text("your homeserver does not answer: ").name(str(error), 200)
        except Refused as error:
            why.text("your homeserver refused: ").name(error.message, 200)
        move.kept.append((self._rooms.name(record.room_id), why))

    # -- the reply -------------------------------------------------------------------------------

    def _reply(self, move: _Move, *, unclaimed: bool) -> Reply:
        reply = Reply.refused() if move.kept else Reply.done()
        if move.kept:
            reply.text(f"{count(len(move.kept), 'room')} not moved:")
            for name, why in move.kept[:MAX_SHOWN]:
                reply.item().name(name).text(": ").add(why)
            if len(move.kept) > MAX_SHOWN:
                reply.item().text(f"and {len(move.kept) - MAX_SHOWN:,} more")
            reply.line().text("Where a former name stands I answer under it. To try again: ")
            reply.command("migrate").line()
        if move.power is not None and move.power.paste is not None:
            reply.text(move.power.by_hand).json(move.power.paste)
        if move.moved:
            reply.text(f"{count(len(move.moved), 'room')} moved to ").code(self._rooms.ours.via)
            reply.text(": ").several(move.moved, MAX_SHOWN, self._called).text(".")
            self._add_afterwards(reply, sorted(move.names))
        elif not move.kept:
            reply.text("No room here names me by a former name, so there is nothing to move.")
        if unclaimed:
            self._add_unclaimed(reply)
        return reply

    def _called(self, record: RoomRecord) -> Reply:
        return Reply().name(self._rooms.name(record.room_id))

    def _add_afterwards(self, reply: Reply, names: list[str]) -> None:
        """What becomes of the names by which rooms named us."""
        reply.line().text("Keep the proxy lines of ")
        reply.several(names, MAX_SHOWN, lambda name: Reply().code(name))
        reply.text(" for 7 days more: servers that missed the change go on asking there.")
        own = [name for name in names if name != server_of(self._bot_user_id)]
        if own:
            reply.text(" After that the policy user of ")
            reply.several(own, MAX_SHOWN, lambda name: Reply().code(name))
            reply.text(" can be removed from the rooms.")

    def _add_unclaimed(self, reply: Reply) -> None:
        """The rooms that are nobody's are not moved, since somebody has to want them."""
        found = [
            record
            for record in self._rooms.unclaimed()
            if former_name(self._rooms, record) is not None
        ]
        if not found:
            return
        reply.line().text("No moderation room enabled these; I sign everything there:")
        for record in found[:MAX_SHOWN]:
            reply.item().add(self._called(record)).text(". To protect it: ")
            reply.command(f"enable {record.room_id}")
        if len(found) > MAX_SHOWN:
            reply.item().text(f"and {len(found) - MAX_SHOWN:,} more: ").command("status")

"""The commands about rooms: enable and disable."""

from policybot.policy.room import RoomMode

from .blind_spot import blind_spot
from .client import HomeserverAway, MatrixClient, Refused
from .command import Command
from .enable_checks import Checks
from .errors import CommandError
from .moderation_rooms import ModerationRooms
from .policy_lists import PolicyLists
from .protected_rooms import ProtectedRooms
from .question import Question
from .reply import Reply, quoted
from .room_protection import Enabled, RoomProtection
from .room_reference import resolve_room, room_reference
from .room_release import Disabled, RoomRelease


class RoomCommands:
    """Carries out the commands about rooms; each returns the reply."""

    def __init__(
        self,
        client: MatrixClient,
        protection: RoomProtection,
        release: RoomRelease,
        protected_rooms: ProtectedRooms,
        moderation_rooms: ModerationRooms,
        lists: PolicyLists,
        *,
        bot_user_id: str,
    ) -> None:
        self._client = client
        self._protection = protection
        self._release = release
        self._rooms = protected_rooms
        self._moderation_rooms = moderation_rooms
        self._lists = lists
        self._bot_user_id = bot_user_id

    # -- enable ----------------------------------------------------------------------------------

    async def enable(
        self, moderation_room: str, sender: str, command: Command
    ) -> Reply | Question:
        """Put a room under the policy server; first ask, if moderators could be shut out."""
        reference = room_reference(command.words[0])
        try:
            room_id = await self._client.join(reference.room_id_or_alias, reference.via)
        except Refused as error:
            raise CommandError(
                f"I could not enter that room: {quoted(error.message)}. Check the name, or invite "
                f"{self._bot_user_id} to it, and try again."
            ) from None
        if self._moderation_rooms.is_ours(room_id) and command.agreed is None:
            record = self._rooms.record(room_id)
            if record is None or record.mode is not RoomMode.ENABLED:
                return self._question(moderation_room, room_id, command)
        outcome = await self._protection.enable(
            room_id,
            moderation_room,
            sender,
            mode=RoomMode.DRY_RUN if "dry-run" in command.flags else RoomMode.ENABLED,
            replace_other="replace" in command.flags,
            checks=checks_of(command),
        )
        return self._enabled(moderation_room, outcome)

    def _question(self, moderation_room: str, room_id: str, command: Command) -> Question:
        """What it means to protect a moderation or reports room."""
        text = Reply()
        if room_id == moderation_room:
            text.text("Protect this very room? ")
        else:
            text.text("Protect ").code(room_id).text("? It is a moderation or reports room. ")
        text.text("I refuse no member of this room, but each message there has to be signed by ")
        text.text("me: while I am down or out of reach, ")
        if self._rooms.policy_user.user_id is None:
            text.text("only users of ").code(self._rooms.ours.via)
            text.text(" can write there, and nobody else could tell me to stop.")
        else:
            text.text("nobody can write there, and so nobody could tell me to stop.")
        return Question(command, text)

    def _enabled(self, moderation_room: str, outcome: Enabled) -> Reply:
        room_id = outcome.record.room_id
        name = self._rooms.name(room_id)
        if outcome.waiting:
            reply = Reply.problem().name(name).text(" is not checked yet. ").text(outcome.waiting)
            reply.text(
                " I go on trying, also after a restart, and tell you when it worked. To stop: "
            )
            return reply.command(f"disable {room_id}")
        if not outcome.settled:
            reply = Reply.problem("I sent the policy server for ").name(name)
            reply.text(
                ", but your homeserver does not tell whether it took it. I answer for the room "
                "and tell you here when I know. To stop: "
            )
            return reply.command(f"disable {room_id}")
        reply = Reply.done().name(name).text(_what_changed(outcome))
        if outcome.record.mode is RoomMode.DRY_RUN:
            reply.text(
                " Everything there is signed, and I report what would have been refused. To "
                "refuse such messages: "
            ).command(f"enable {room_id}")
        reply.line().text("Set: ").code("m.room.policy").text(" names ")
        reply.code(self._rooms.ours.via)
        if outcome.replaced is not None:
            reply.text(" in place of ").code(outcome.replaced)
        reply.text(". Checked: it stands there, ")
        if self._rooms.policy_user.user_id is not None:
            reply.code(self._rooms.policy_user.user_id).text(" is joined, ")
        reply.text("the keys of other servers come")
        reply.text(
            ", and I answer under my public name."
            if outcome.checked
            else ". Not checked: whether I answer under my public name."
        )
        spot = blind_spot(self._rooms)
        if spot is not None:
            reply.line().add(spot)
        if not self._lists.subscriptions.of(moderation_room):
            reply.line().text(
                "No list is followed yet, so nothing is refused. Write a first rule: "
            )
            reply.command("ban @user:example.org spam")
        return reply.line().text("To undo: ").command(f"disable {room_id}")

    # -- disable ---------------------------------------------------------------------------------

    async def disable(self, moderation_room: str, sender: str, command: Command) -> Reply:
        """Take the policy server out of one room or of all."""
        if command.words[0].lower() == "all":
            return await self._disable_all(moderation_room, sender)
        room_id = await resolve_room(self._client, command.words[0])
        outcome = await self._release.disable(room_id, moderation_room, sender)
        return self._disabled(outcome)

    async def _disable_all(self, moderation_room: str, sender: str) -> Reply:
        records = [
            record
            for record in (*self._rooms.owned_by(moderation_room), *self._rooms.unclaimed())
            if not (record.mode is RoomMode.DISABLED and record.settled)
        ]
        if not records:
            return Reply.done("No room is protected here.")
        replies = []
        for record in records:
            try:
                outcome = await self._release.disable(record.room_id, moderation_room, sender)
                replies.append(self._disabled(outcome))
            except (CommandError, HomeserverAway) as error:
                reply = Reply.refused().name(self._rooms.name(record.room_id))
                replies.append(reply.text(": ").name(str(error), 300))
        reply = replies[0]
        for other in replies[1:]:
            reply.line().add(other)
        return reply

    def _disabled(self, outcome: Disabled) -> Reply:
        name = self._rooms.name(outcome.record.room_id)
        if outcome.settled:
            reply = Reply.done("The policy server is out of ").name(name)
            reply.text(
                ". I go on signing everything there for 7 days, for servers that missed it."
            )
            if self._rooms.policy_user.user_id is not None:
                reply.text(" Then ").code(self._rooms.policy_user.user_id).text(" leaves.")
            return reply
        reply = Reply.refused("I could not take the policy server out of ").name(name).text(": ")
        reply.name(outcome.fault or "unknown", 300)
        reply.text(
            ". I sign everything there, so nobody is locked out, and try again every hour. Or "
            "somebody who may change the room's settings empties it. In Element on a computer: "
            "open the room, type /devtools, choose “Explore room state”, "
        )
        for form in outcome.forms or ("m.room.policy",):
            reply.code(form).text(", ")
        return reply.text("edit it and save this content:").json({})


def checks_of(command: Command) -> Checks:
    """What a command leaves to check."""
    return Checks.WITHOUT_ENDPOINT if "unchecked" in command.flags else Checks.ALL


def _what_changed(outcome: Enabled) -> str:
    dry, before = outcome.record.mode is RoomMode.DRY_RUN, outcome.mode_before
    if before is None:
        return " is protected as a dry run." if dry else " is protected."
    if before is outcome.record.mode:
        same = "in dry run" if dry else "protected"
        return f" was {same} already, and still is."
    if dry:
        return " is in dry run now: nothing is refused there any more."
    return (
        " is protected in earnest now, no longer as a dry run. What was signed in dry run stays "
        "signed."
    )

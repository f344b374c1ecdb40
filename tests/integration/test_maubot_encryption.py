"""An encrypted moderation room, which the plugin reads and writes with maubot's keys."""

import pytest

from policybot.demo import acts
from policybot.demo.network import Network

from .conftest import MakeCast
from .encrypting_user import encrypting
from .maubot_server import Instance, MaubotServer
from .test_story import reference_in, refusal_of


# mautrix reads a field that it calls deprecated itself.
@pytest.mark.filterwarnings("ignore:The sender_key field in Megolm events:DeprecationWarning")
async def test_commands_and_reports_in_an_encrypted_moderation_room(
    network: Network, make_cast: MakeCast, maubot: MaubotServer
) -> None:
    cast = await make_cast()
    room = await cast.moderator.create_room(
        name="Encrypted moderation",
        invite=[cast.bot.user_id],
        initial_state=[
            {
                "type": "m.room.encryption",
                "state_key": "",
                "content": {"algorithm": "m.megolm.v1.aes-sha2"},
            }
        ],
    )
    instance = Instance(maubot, network, cast)
    instance.config["moderation_rooms"] = [room]
    async with encrypting(cast.moderator, room) as moderator:
        await instance.begin(encryption=True)
        await cast.moderator.wait_for_event(
            room,
            lambda event: (
                event.get("state_key") == cast.bot.user_id
                and event["content"].get("membership") == "join"
            ),
        )
        await moderator.send("!policy status")
        await moderator.heard("✅", "No room is protected")
        await moderator.send(f"!policy enable {cast.lounge_alias}")
        await moderator.heard("✅", "is protected")
        await acts.visitor_talks(network, cast)
        await moderator.send(f"!policy ban {cast.spammer.user_id} advertising")
        await moderator.heard("✅", "Banned")
        code = reference_in(await refusal_of(cast.spammer, cast.lounge, "cheap watches"))
        await moderator.heard("Refused", code)
        # Also what is said while the plugin is stopped, and is carried out afterwards.
        await maubot.change(started=False)
        await moderator.heard("I am being switched off", "“Lounge”")
        await moderator.send("!policy lists")
        await maubot.change(started=True)
        await moderator.heard("✅ Lists", "Encrypted moderation bans")
    sent = [e for e in await cast.moderator.messages(room) if e["sender"] == cast.bot.user_id]
    assert {e["type"] for e in sent if "state_key" not in e} <= {"m.room.encrypted", "m.reaction"}

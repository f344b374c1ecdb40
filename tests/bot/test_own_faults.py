"""What the moderators hear of a fault of the bot itself."""

from dataclasses import replace

import pytest

from .moderated import Moderated


@pytest.mark.parametrize(
    ("dry_run", "on_failure", "answered"),
    [
        (False, "sign", "signed it unchecked"),
        (False, "refuse", "refused it"),
        (True, "refuse", "signed it unchecked"),
    ],
)
async def test_they_are_told_what_was_answered(
    moderated: Moderated, dry_run: bool, on_failure: str, answered: str
) -> None:
    moderated.settings["policy_server"]["on_failure"] = on_failure
    await moderated.start()
    room_id = moderated.room()
    await moderated.ask(f"!policy enable {room_id}" + (" --dry-run" if dry_run else ""))
    values = moderated.app._shared.moderation_rooms
    # A value that no code of ours makes stands for whatever bug there may be.
    values[moderated.mods] = replace(values[moderated.mods], lists=([],))  # type: ignore[arg-type]
    answer = await moderated.sign(room_id)
    assert answer.signed is (answered != "refused it")
    await moderated.notice("I failed to judge an event in “Lobby” by a fault of mine", answered)

"""The command that everybody tries first, as it is typed."""

import os
from pathlib import Path

import pytest

from policybot.demo.child_process import ChildProcess
from policybot.demo.requirements import what_is_missing
from tests.command import COMMAND

_OWN_SPAMMER = "A user of hs1 itself"


@pytest.mark.parametrize("options", [(), ("--dedicated",)])
async def test_the_whole_story_happens(tmp_path: Path, options: tuple[str, ...]) -> None:
    if (sentence := what_is_missing()) is not None:
        pytest.fail(sentence)
    demo = ChildProcess("policybot demo")
    command = [*COMMAND, "demo", *options]
    await demo.start(command, {**os.environ, "TMPDIR": str(tmp_path)})
    await demo.wait_for_end(180)
    exit_code = await demo.stop()
    log = "\n".join(demo.log)
    assert exit_code == 0, log
    for text in (
        "signed by the policy server before it was sent",
        "does not leave hs2, which tells him",
        "The moderation room reads",
        "!policy why",
        "!policy unban",
        "without a signature",
        "All of it happened.",
    ):
        assert text in log, log
    assert (_OWN_SPAMMER in log) == ("--dedicated" in options)
    assert os.listdir(tmp_path) == []

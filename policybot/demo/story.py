"""``policybot demo``: the whole story on two real homeservers, and an end that leaves nothing.

The modules that need more than policybot itself does are imported only once it is known that they
can be.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from .child_process import ProcessFailed
from .requirements import what_is_missing

if TYPE_CHECKING:
    from .cast import Cast
    from .user import User

_Log = Callable[[int], list[str]]
_LOG_LINES = 25
_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(keep: bool, dedicated: bool = False) -> int:
    """Run the demonstration and return the exit code of the command.

    With ``dedicated`` the policy server has a name of its own, else that of hs1.
    """
    if (sentence := what_is_missing()) is not None:
        print(sentence, file=sys.stderr)
        return 1
    for stream in (sys.stdout, sys.stderr):
        # Replies hold characters that a terminal may not have.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    return asyncio.run(_until_interrupted(run_demo(keep, dedicated)))


async def run_demo(keep: bool, dedicated: bool) -> int:
    """Play the story; with ``keep`` leave everything up afterwards, until cancelled.

    Returns the exit code: 0, or 1 if a step did not happen; stderr then tells why.
    """
    from . import acts
    from .bot_process import BotProcess, bot_config
    from .network import running_network

    begin = time.monotonic()
    logs: dict[str, _Log] = {}
    async with AsyncExitStack() as stack:
        try:
            with acts.telling("start two homeservers") as tell:
                network = await stack.enter_async_context(running_network())
                hs1, hs2 = network.hs1, network.hs2
                tell(f"Two Synapse homeservers run: hs1 = {hs1.name}, hs2 = {hs2.name}.")
                name = network.dedicated_name if dedicated else None
                if dedicated:
                    tell(f"policybot has a name of its own: {name}.")
            logs |= {each.process.name: each.log_tail for each in (hs1, hs2)}
            cast = await acts.open_the_house(network)
            config = bot_config(network, cast.bot.account, [cast.moderation_room], name)
            bot = BotProcess(network, network.directory / "bot", config)
            stack.push_async_callback(bot.stop)
            logs[bot.process.name] = bot.log_tail
            await acts.start_bot(bot, cast)

            newcomers = await acts.whole_story(network, cast)
        except acts.StepFailed as failure:
            _explain(failure, logs)
            return 1
        print(f"{time.monotonic() - begin:6.2f} s  All of it happened.", flush=True)
        if keep:
            _introduce(cast, newcomers)
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    return 0


async def _until_interrupted(demo: Coroutine[Any, Any, int]) -> int:
    """Run the story; the first signal ends it in order, further ones change nothing."""
    story = asyncio.create_task(demo)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            story.cancel()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        # Under nohup a hang-up is to be ignored.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, interrupt)
    try:
        code = await story
    except asyncio.CancelledError:
        if not interrupted:
            raise
        code = _INTERRUPTED
    if interrupted:
        print("Stopped; nothing is left behind.", flush=True)
    return code


def _explain(failure: Exception, logs: Mapping[str, _Log]) -> None:
    """Tell on stderr what did not happen, with what the processes logged."""
    print(f"It did not happen: {failure}", file=sys.stderr)
    tails = {name: tail(_LOG_LINES) for name, tail in logs.items()}
    if isinstance(failure.__cause__, ProcessFailed):
        # A process that did not get up at all is known only to its error.
        tails[failure.__cause__.name] = list(failure.__cause__.log)
    for name, lines in tails.items():
        print(f"\n--- last lines of {name}", *lines, sep="\n", file=sys.stderr)


def _introduce(cast: "Cast", newcomers: Iterable["User"]) -> None:
    """Tell how to go on by hand."""
    print("\nLog in with a Matrix client (plain HTTP, no encryption in these rooms):")
    for user in (*cast.people, *newcomers):
        print(f"  {user.homeserver_url}  {user.user_id}  password {user.account.password}")
    print(f"The room is {cast.lounge_alias}, the moderation room {cast.moderation_room}.")
    print("The room is not protected now; `!policy enable` in the moderation room does it again.")
    print("Ctrl-C ends everything.", flush=True)

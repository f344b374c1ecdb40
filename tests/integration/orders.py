"""What the moderator orders, and that it was done."""

from policybot.demo.cast import ACCEPTED, Cast


async def obeyed(cast: Cast, command: str) -> str:
    """Send a command that the bot must carry out, and return its reply."""
    reply = await cast.command(command)
    assert reply.startswith(ACCEPTED), f"{command}: {reply}"
    return reply

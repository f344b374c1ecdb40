"""The command `help`: what can be asked."""

from .command import Command
from .command_forms import COMMAND_FORMS
from .reply import Reply


async def help_command(moderation_room: str, sender: str, command: Command) -> Reply:
    """What can be asked, in short; or one command in full."""
    if command.words:
        form = COMMAND_FORMS.get(command.words[0].lower())
        if form is None:
            return Reply.refused("I do not know that command. What I know: ").command("help")
        reply = Reply.done().command(form.usage).line()
        reply.text(f"{form.summary[0].upper()}{form.summary[1:]}.")
        return reply.line().text(form.details) if form.details else reply
    reply = Reply.done().strong("What you can tell me").text(" (more: ").command("help <command>")
    reply.text(")")
    for form in COMMAND_FORMS.values():
        if form.name != "help":
            reply.item().command(form.usage).text(f" – {form.summary}")
    return reply

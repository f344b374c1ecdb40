"""Why a command was not carried out."""

from policybot.protocol.canonical_json import JsonObject


class CommandError(Exception):
    """A command that was refused. The text says what to do next; what it holds from outside was
    cleaned before.

    ``paste`` is a state event's content that the person can set himself, shown as a code block.
    """

    def __init__(self, text: str, *, paste: JsonObject | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.paste = paste


class PowerMissing(CommandError):
    """The bot may not set a state event itself, as ``missing`` says in a sentence; ``by_hand``
    says what a person can do about it."""

    def __init__(self, missing: str, by_hand: str, paste: JsonObject) -> None:
        super().__init__(f"{missing} {by_hand}", paste=paste)
        self.missing = missing
        self.by_hand = by_hand


class NotStored(Exception):
    """The database does not take what has to be there before anything is done. Nothing was done.
    The text is the database's."""

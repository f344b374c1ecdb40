"""policybot: a Matrix bot that manages policy servers (MSC4284) from the moderation room."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # maubot looks for the name in this module before it loads the plugin.
    from .plugin import PolicyBot as PolicyBot

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Resolve the maubot plugin class on demand, so that importing needs no maubot.

    Raises:
        ImportError: for ``PolicyBot`` where maubot is not installed.
    """
    if name != "PolicyBot":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .plugin import PolicyBot
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "maubot":
            raise
        raise ImportError(
            "policybot.PolicyBot is for maubot, which is not installed here; run policybot on its "
            "own with `policybot run`."
        ) from error
    return PolicyBot

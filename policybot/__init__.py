"""policybot: a Matrix bot that manages policy servers (MSC4284) from the moderation room."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Resolve the maubot plugin class on demand, so that importing needs no maubot.

    Raises:
        ImportError: always for ``PolicyBot``, since the maubot plugin is not part of this version.
    """
    if name == "PolicyBot":
        raise ImportError(
            "policybot does not run inside maubot yet; run it on its own with `policybot run`."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

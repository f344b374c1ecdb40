"""What can go wrong with a request to the fake homeserver, and what a request was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request, after ``skip`` others.

    ``status`` None means no answer at all until the caller gives up. ``body`` None means a
    Matrix error made of ``errcode`` and ``extra``; an ``endless`` one does not stop. With
    ``after_the_deed`` the request is carried out first, and only its answer is lost.
    """

    status: int | None = None
    errcode: str = "M_UNKNOWN"
    extra: Mapping[str, Any] | None = None
    body: str | None = None
    headers: Mapping[str, str] | None = None
    after_the_deed: bool = False
    times: int = 1
    skip: int = 0
    endless: bool = False

    @classmethod
    def forbidden(cls, times: int = 1) -> "Fault":
        """403 M_FORBIDDEN."""
        return cls(403, "M_FORBIDDEN", times=times)

    @classmethod
    def rate_limit(cls, retry_after_ms: int, times: int = 1) -> "Fault":
        """429 M_LIMIT_EXCEEDED."""
        return cls(429, "M_LIMIT_EXCEEDED", {"retry_after_ms": retry_after_ms}, times=times)

    @classmethod
    def bad_gateway(cls, times: int = 1) -> "Fault":
        """502 with the HTML page of a proxy."""
        return cls(502, body="<html>Bad Gateway</html>", times=times)

    @classmethod
    def hang(cls, times: int = 1, *, after_the_deed: bool = False, skip: int = 0) -> "Fault":
        """No answer."""
        return cls(after_the_deed=after_the_deed, times=times, skip=skip)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came; ``path`` is decoded, ``raw_path`` as it was sent."""

    method: str
    path: str
    raw_path: str
    query: Mapping[str, tuple[str, ...]]
    json: Any
    user_id: str | None

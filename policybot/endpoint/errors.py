"""What is answered instead of what was asked for: errors with a status and a Matrix error code."""

from http import HTTPStatus


class MatrixError(Exception):
    """An answer with the standard Matrix error body (`errcode` and `error`).

    Specification: Server-Server API, "Standard error response".
    """

    status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR
    errcode: str = "M_UNKNOWN"

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error

    def to_json(self) -> dict[str, str]:
        """The body of the answer."""
        return {"errcode": self.errcode, "error": self.error}


class NotJson(MatrixError):
    """The request body is not JSON."""

    status = HTTPStatus.BAD_REQUEST
    errcode = "M_NOT_JSON"


class BadJson(MatrixError):
    """The body is JSON, but no event of the room's version."""

    status = HTTPStatus.BAD_REQUEST
    errcode = "M_BAD_JSON"


class TooLarge(MatrixError):
    """The request body is larger than any such request's can be."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    errcode = "M_TOO_LARGE"


class Unauthorized(MatrixError):
    """The calling server is not who it says it is, or its key is not known."""

    status = HTTPStatus.UNAUTHORIZED
    errcode = "M_UNAUTHORIZED"


class RoomNotProtected(MatrixError):
    """The room never was ours, or was dropped. Final for received events, so given with care."""

    status = HTTPStatus.NOT_FOUND
    errcode = "M_NOT_FOUND"


class CheckFailed(MatrixError):
    """This copy of the event failed a check. It says nothing about the event itself.

    The code is the only one that every calling homeserver reads as a refusal.
    """

    status = HTTPStatus.BAD_REQUEST
    errcode = "M_FORBIDDEN"


class UnrecognizedPath(MatrixError):
    """No such path."""

    status = HTTPStatus.NOT_FOUND
    errcode = "M_UNRECOGNIZED"


class UnrecognizedMethod(MatrixError):
    """The path exists, the method does not."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    errcode = "M_UNRECOGNIZED"


class Forbidden(MatrixError):
    """What the calling server wants is not done for it."""

    status = HTTPStatus.FORBIDDEN
    errcode = "M_FORBIDDEN"


class UserUnknown(MatrixError):
    """There is no such user here."""

    status = HTTPStatus.NOT_FOUND
    errcode = "M_NOT_FOUND"


class NoResident(MatrixError):
    """Who wants to join, leave or knock does so by way of another server in the room. This code
    makes Synapse ask the next one; with M_UNRECOGNIZED it gives up, and so does the user."""

    status = HTTPStatus.NOT_FOUND
    errcode = "M_NOT_FOUND"


class MissingParam(MatrixError):
    """The request lacks something that it must have."""

    status = HTTPStatus.BAD_REQUEST
    errcode = "M_MISSING_PARAM"


class InvalidParam(MatrixError):
    """Something in the request contradicts the rest, or makes no sense."""

    status = HTTPStatus.BAD_REQUEST
    errcode = "M_INVALID_PARAM"


class IncompatibleRoomVersion(MatrixError):
    """The room is of a version that we do not know, or that the path is not for."""

    status = HTTPStatus.BAD_REQUEST
    errcode = "M_INCOMPATIBLE_ROOM_VERSION"

    def __init__(self, room_version: str) -> None:
        super().__init__("That room version is not supported here.")
        self._room_version = room_version[:32]

    def to_json(self) -> dict[str, str]:
        """The body of the answer, with the version that the caller named."""
        return {**super().to_json(), "room_version": self._room_version}


class TooManyLargeBodies(MatrixError):
    """Other large requests are under way. The caller may come back."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    errcode = "M_LIMIT_EXCEEDED"


class BadRequest(MatrixError):
    """The bytes are not an HTTP request."""

    status = HTTPStatus.BAD_REQUEST
    errcode = "M_UNRECOGNIZED"


class HeadTooLarge(MatrixError):
    """Request line and headers are larger than any homeserver's."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    errcode = "M_TOO_LARGE"


class CodedBody(MatrixError):
    """The body is compressed. No homeserver does so, and what it unpacks to has no bound."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    errcode = "M_UNRECOGNIZED"


class TooSlow(MatrixError):
    """The request did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    errcode = "M_UNRECOGNIZED"

"""The one gap of a policy server that has its homeserver's name."""

from .protected_rooms import ProtectedRooms
from .reply import Reply


def blind_spot(rooms: ProtectedRooms) -> Reply | None:
    """Who is not checked where: a homeserver never asks a policy server of its own name. None for
    a policy server with a name of its own, which every server asks."""
    if rooms.policy_user.user_id is not None:
        return None
    name = rooms.ours.via
    reply = Reply().text("Users of ").code(name).text(" are not checked on ").code(name)
    return reply.text(" itself, only by all other servers.")

"""The support document: whom to ask about a server.

Specification: Client-Server API, "Server Administration" (well-known document for support).
"""

import re
from urllib.parse import quote

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.identifier import is_room_alias, is_user_id

_MAIL_ADDRESS = re.compile(r"[^\s@<>]+@[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)+")
_WEB_ADDRESS = re.compile(r"https://[!-~]+")


def support_document(contact: str | None) -> JsonObject | None:
    """The document, if the contact is a user ID, a mail address, a web address or a room alias;
    None for any other text, which clients could not use."""
    if contact is None:
        return None
    if is_user_id(contact):
        return _contact("matrix_id", contact)
    if _MAIL_ADDRESS.fullmatch(contact):
        return _contact("email_address", contact)
    if is_room_alias(contact):
        return {"support_page": f"https://matrix.to/#/{quote(contact, safe='')}"}
    return {"support_page": contact} if _WEB_ADDRESS.fullmatch(contact) else None


def _contact(kind: str, address: str) -> JsonObject:
    return {"contacts": [{kind: address, "role": "m.role.admin"}]}

"""The JSON that a request carries."""

from policybot.protocol.canonical_json import InvalidJson, ParsedJson, read_json

from .errors import BadJson, NotJson


def json_object(body: bytes) -> ParsedJson:
    """The JSON object in a body.

    Raises:
        NotJson: it is no JSON.
        BadJson: it is something else than an object.
    """
    try:
        parsed = read_json(body)
    except InvalidJson as error:
        raise NotJson(str(error)) from None
    if not isinstance(parsed.value, dict):
        raise BadJson("The request body is not a JSON object.")
    return parsed

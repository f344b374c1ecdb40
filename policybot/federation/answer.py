"""Who answers under a public path of ours, told from the answer and put into words.

The reader is the operator who has to mend the reverse proxy.
"""

import re
from dataclasses import dataclass

from ..protocol.paths import INSTANCE_HEADER
from .client import Response

# 520 to 526 are what Cloudflare answers in place of a server that it cannot reach.
_GATEWAY_FAULTS = frozenset({502, 503, 504, *range(520, 527)})
# What a server says of itself is shown only if it can do nothing to a terminal.
_PRODUCT = re.compile(r"[\w./ ()-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong; ``line`` if the reverse proxy's line is missing or wrong."""

    text: str
    line: bool = False


def fault_in(
    response: Response, instance_id: str, path: str, prefix: str, expected: int
) -> Fault | None:
    """What is wrong with the answer, or None if it is ours with the ``expected`` status.

    ``prefix`` is what the reverse proxy must send to us, in words."""
    status = response.status
    instance = response.headers.get(INSTANCE_HEADER)
    if instance == instance_id:
        if status == expected:
            return None
        return Fault(
            f"policybot was reached, but the path was not: it answered {status}. The reverse"
            f" proxy must hand over {path} unchanged.",
            line=True,
        )
    if instance is not None:
        return Fault(f"another installation of policybot answers here (status {status}).")
    if status == expected and (status == 401 or _is_key_document(response)):
        return Fault(
            f"another policy server answers here ({status} without the header"
            f" {INSTANCE_HEADER}), or the reverse proxy takes that header away."
        )
    if status in _GATEWAY_FAULTS:
        return Fault(
            f"the reverse proxy answers {status}: it cannot reach policybot. Compare the address"
            f" in the proxy's line for {prefix} with `listen` in the configuration.",
            line=True,
        )
    if 300 <= status < 400:
        return Fault(
            f"the reverse proxy redirects ({status}), which servers do not follow here.", line=True
        )
    errcode = response.json.get("errcode") if isinstance(response.json, dict) else None
    if status in (404, 405) and errcode == "M_UNRECOGNIZED":
        who = f"a homeserver answers ({status} M_UNRECOGNIZED)"
    else:
        who = f"something other than policybot answers ({said(response)})"
    return Fault(f"{who}: the reverse proxy does not send {prefix} to policybot.", line=True)


def _is_key_document(response: Response) -> bool:
    document = response.json
    return isinstance(document, dict) and ("public_keys" in document or "public_key" in document)


def said(response: Response) -> str:
    """An answer in a few words: its status, what kind it is, and who says to have made it."""
    words = [str(response.status)]
    errcode = response.json.get("errcode") if isinstance(response.json, dict) else None
    if isinstance(errcode, str) and _PRODUCT.fullmatch(errcode):
        words[0] += f" {errcode}"
    if response.headers.get("Content-Type", "").startswith("text/html"):
        words.append("a web page")
    product = response.headers.get("Server", "")
    if _PRODUCT.fullmatch(product):
        words.append(f"from {product}")
    return ", ".join(words)

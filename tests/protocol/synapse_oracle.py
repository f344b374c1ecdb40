"""Answers what Synapse makes of events. Run as a program, in a process of its own: JSON lines in,
JSON lines out, one answer per line. The first line tells whether Synapse could be imported.

A question is ``{"version", "event", "name", "key_id", "seed"}``; the answer has ``event_id``,
``content_hash``, ``redacted`` and ``signature``, or ``error``.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

Question = dict[str, Any]
Answer = dict[str, Any]


def load_synapse() -> Callable[[Question], Answer]:
    """A function that asks Synapse's own functions about one event.

    The modules are imported by name, so that type checkers do not follow them.
    """
    room_versions = import_module("synapse.api.room_versions").KNOWN_ROOM_VERSIONS
    event_signing = import_module("synapse.crypto.event_signing")
    make_event = import_module("synapse.events").make_event_from_dict
    prune_event = import_module("synapse.events.utils").prune_event
    decode_key = import_module("signedjson.key").decode_signing_key_base64
    encode_base64 = import_module("unpaddedbase64").encode_base64

    def answer_for(question: Question) -> Answer:
        version = room_versions[question["version"]]
        algorithm, key_version = question["key_id"].split(":")
        key = decode_key(algorithm, key_version, question["seed"])
        name, event = question["name"], question["event"]
        signatures = event_signing.compute_event_signature(version, dict(event), name, key)
        parsed = make_event(dict(event), version)
        redacted = prune_event(parsed).get_pdu_json()
        redacted.pop("unsigned", None)
        _, digest = event_signing.compute_content_hash(event, hashlib.sha256)
        return {
            "event_id": parsed.event_id,
            "content_hash": encode_base64(digest),
            "redacted": redacted,
            "signature": signatures[name][question["key_id"]],
        }

    return answer_for


def main() -> None:
    """Serve until standard input ends."""
    try:
        answer_for = load_synapse()
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        try:
            answer = answer_for(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""Synapse's own functions as the oracle, over generated events of every room version."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policybot.protocol.canonical_json import JsonObject
from policybot.protocol.event_hash import (
    content_hash,
    event_id,
    pdu_signing_bytes,
    signing_bytes,
)
from policybot.protocol.pdu import parse_pdu, room_id_of
from policybot.protocol.redaction import redact
from policybot.protocol.room_version import RoomVersion
from policybot.protocol.signing import SigningKey

from .conftest import Synapse
from .events import SEED, VERSIONS, events, steady

KEY = SigningKey.from_base64(SEED)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@settings(steady(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_same_as_synapse(version: RoomVersion, data: st.DataObject, synapse: Synapse) -> None:
    compare(data.draw(events(version)), version, synapse)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize(
    "event_type", ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules"]
)
@settings(steady(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_same_as_synapse_where_redaction_differs(
    version: RoomVersion, event_type: str, data: st.DataObject, synapse: Synapse
) -> None:
    compare(data.draw(events(version, event_type)), version, synapse)


def compare(event: JsonObject, version: RoomVersion, synapse: Synapse) -> None:
    theirs = synapse.ask(event, version)
    assert event_id(event, version) == theirs["event_id"]
    assert content_hash(event) == theirs["content_hash"]
    assert redact(event, version) == theirs["redacted"]
    assert KEY.sign(signing_bytes(event, version)) == theirs["signature"]
    # What Synapse takes, we take too.
    pdu = parse_pdu(event, version, room_id_of(event))
    assert KEY.sign(pdu_signing_bytes(pdu)) == theirs["signature"]
    if "room_id" not in event:
        assert pdu.room_id == "!" + theirs["event_id"][1:]

from hypothesis import given
from hypothesis import strategies as st

from policybot.federation.known_keys import (
    DAY_MS,
    GRACE_MS,
    MAX_OLDER_DOCUMENTS,
    KnownDocument,
    KnownKeys,
    KnownServer,
)
from policybot.protocol.server_keys import ServerKeys
from policybot.protocol.signing import SigningKey, VerifyKey

NOW = 1_800_000_000_000
A, B, C = (SigningKey.generate().verify_key for _ in range(3))


def known(
    until: int,
    keys: dict[str, VerifyKey] | None = None,
    old: dict[str, tuple[VerifyKey, int]] | None = None,
    fetched: int = NOW,
) -> KnownDocument:
    verify_keys = {"ed25519:a": A} if keys is None else keys
    return KnownDocument.fetched(ServerKeys("a.example", verify_keys, old or {}, until), fetched)


def test_validity_ends_after_seven_days_at_most() -> None:
    assert known(NOW + DAY_MS).end_ts == NOW + DAY_MS
    assert known(NOW + 400 * DAY_MS).end_ts == NOW + 7 * DAY_MS
    assert known(NOW + 400 * DAY_MS, fetched=NOW - DAY_MS).end_ts == NOW + 6 * DAY_MS


def test_request_key_up_to_its_end() -> None:
    server = KnownServer(known(NOW + DAY_MS, old={"ed25519:old": (B, NOW + 2 * DAY_MS)}))
    assert server.request_key("ed25519:a", NOW) == A
    assert server.request_key("ed25519:a", NOW + DAY_MS) == A
    assert server.request_key("ed25519:a", NOW + DAY_MS + 1) is None
    assert server.request_key("ed25519:b", NOW) is None
    assert server.request_key("ed25519:old", NOW) is None


def test_after_a_failed_refresh_a_key_serves_seven_days_more() -> None:
    end = NOW + DAY_MS
    server = KnownServer(known(end))
    server.refresh_failed = True
    assert not server.in_grace(end)
    assert server.in_grace(end + 1)
    assert server.request_key("ed25519:a", end + GRACE_MS) == A
    assert server.request_key("ed25519:a", end + GRACE_MS + 1) is None
    assert server.request_key("ed25519:b", end + 1) is None
    server.take(known(end + 1))
    assert server.request_key("ed25519:a", end + 2) is None


def test_event_key_by_room_version() -> None:
    server = KnownServer(known(NOW + DAY_MS))
    assert server.event_key("ed25519:a", NOW + DAY_MS, strict=True) == A
    assert server.event_key("ed25519:a", 0, strict=True) == A
    assert server.event_key("ed25519:a", NOW + DAY_MS + 1, strict=True) is None
    assert server.event_key("ed25519:a", NOW + DAY_MS + 1, strict=False) == A
    assert server.event_key("ed25519:b", NOW, strict=False) is None


def test_a_retired_key_is_good_for_events_before_its_end() -> None:
    server = KnownServer(known(NOW + DAY_MS, old={"ed25519:old": (B, NOW - DAY_MS)}))
    for strict in (True, False):
        assert server.event_key("ed25519:old", NOW - DAY_MS, strict) == B
        assert server.event_key("ed25519:old", NOW - DAY_MS + 1, strict) is None


def test_a_newer_document_replaces_an_older_one() -> None:
    server = KnownServer(known(NOW + DAY_MS))
    newer = known(NOW + 2 * DAY_MS, {"ed25519:b": B})
    assert server.take(newer)
    assert server.newest == newer
    assert server.request_key("ed25519:a", NOW) is None
    assert server.request_key("ed25519:b", NOW) == B


def test_an_older_document_only_adds_keys() -> None:
    newest = known(NOW + 2 * DAY_MS, {"ed25519:a": A}, {"ed25519:old": (C, 5)})
    server = KnownServer(newest)
    assert not server.take(known(NOW + DAY_MS, {"ed25519:a": B}))
    assert not server.take(known(NOW + DAY_MS, {"ed25519:old": C}))
    assert server.older == ()
    assert not server.take(known(NOW + DAY_MS, {"ed25519:b": B}))
    assert server.newest == newest
    assert server.request_key("ed25519:a", NOW) == A
    assert server.request_key("ed25519:b", NOW) == B
    server.refresh_failed = True
    assert server.request_key("ed25519:b", NOW + DAY_MS + 1) is None
    assert server.event_key("ed25519:b", NOW + DAY_MS, strict=True) == B
    assert server.event_key("ed25519:b", NOW + DAY_MS + 1, strict=True) is None


def test_few_older_documents_are_kept() -> None:
    server = KnownServer(known(NOW + DAY_MS))
    for number in range(10):
        for _ in range(2):
            server.take(known(NOW + number, {f"ed25519:{number}": B}))
    assert len(server.older) == MAX_OLDER_DOCUMENTS
    assert server.request_key("ed25519:9", NOW) == B


@given(st.lists(st.integers(0, 20 * DAY_MS), min_size=1, max_size=20))
def test_the_one_that_ends_last_is_the_newest(ends: list[int]) -> None:
    first, *others = (known(NOW + end, {f"ed25519:{i}": A}) for i, end in enumerate(ends))
    server = KnownServer(first)
    for document in others:
        server.take(document)
    assert server.newest.end_ts == max(known(NOW + end).end_ts for end in ends)


def test_refresh_is_due_from_half_of_the_validity() -> None:
    server = KnownServer(known(NOW + DAY_MS))
    assert not server.refresh_due(NOW)
    assert not server.refresh_due(NOW + DAY_MS // 2 - 1)
    assert server.refresh_due(NOW + DAY_MS // 2)
    assert server.refresh_due(NOW + 30 * DAY_MS)
    assert server.refresh_due(NOW - 1)  # the clock was set back


def test_the_server_not_looked_up_for_longest_is_forgotten() -> None:
    servers = KnownKeys(3)
    for name in ("a", "b", "c"):
        assert servers.take(name, known(NOW + DAY_MS))
    assert servers.get("a") is not None
    servers.take("d", known(NOW + DAY_MS))
    assert len(servers) == 3
    assert [name for name in "abcd" if servers.get(name) is not None] == ["a", "c", "d"]
    a = servers.get("a")
    assert a is not None
    a.refresh_failed = True
    assert servers.in_grace(NOW) == 0
    assert servers.in_grace(NOW + DAY_MS + 1) == 1


def test_servers_with_many_keys_leave_room_for_fewer() -> None:
    servers = KnownKeys(3)
    many = {f"ed25519:{number}": (B, NOW) for number in range(20)}
    for name in ("1.example", "2.example"):
        servers.take(name, known(NOW))
    servers.take("many.example", known(NOW, old=many))
    assert len(servers) == 3
    servers.take("1.example", known(NOW + 1, old=many))
    assert servers.get("1.example") is not None
    assert servers.get("2.example") is servers.get("many.example") is None
    # What went no longer counts.
    for name in ("3.example", "4.example"):
        servers.take(name, known(NOW))
    assert len(servers) == 3
    # One alone may have more.
    alone = KnownKeys(1)
    alone.take("many.example", known(NOW, old=many))
    assert len(alone) == 1

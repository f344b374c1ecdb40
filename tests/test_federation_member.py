"""The keys of a name of its own over restarts, and what the chat side hears of the federation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policybot.account import StartFailed
from policybot.federation.reach import Reach
from policybot.federation_member import FederationMember, federation_member
from policybot.protocol.signing import SigningKey
from policybot.store.database import close_database, open_database
from policybot.store.settings import Setting, Settings

NAME = "policy.example.org"
USER = f"@policy:{NAME}"
NOW_MS = 1_700_000_000_000


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    database = await open_database(f"sqlite://{tmp_path}/policybot.db")
    yield Settings(database)
    await close_database(database)


@pytest.fixture
async def reach() -> AsyncIterator[Reach]:
    reach = Reach.guarded((), lambda: NOW_MS)
    yield reach
    await reach.close()


async def load(settings: Settings, reach: Reach, key: str | None = None) -> FederationMember:
    member = await federation_member({NAME: USER}, USER, settings, key, reach, lambda: NOW_MS)
    assert member is not None
    return member


async def test_the_key_is_made_once(settings: Settings, reach: Reach) -> None:
    first = await load(settings, reach)
    again = await load(settings, reach)
    assert first.keys.key_id == again.keys.key_id
    assert first.keys.signing_key.seed == again.keys.signing_key.seed
    assert first.keys.name == NAME


async def test_a_name_that_it_had_keeps_its_keys(settings: Settings, reach: Reach) -> None:
    before = await load(settings, reach)
    now = await federation_member({NAME: USER}, None, settings, None, reach, lambda: NOW_MS)
    assert now is not None and now.user_id is None
    assert now.keys.key_id == before.keys.key_id
    assert await federation_member({}, None, settings, None, reach, lambda: NOW_MS) is None


async def test_a_configured_key_takes_its_place(settings: Settings, reach: Reach) -> None:
    before = await load(settings, reach)
    configured = SigningKey.generate()
    member = await load(settings, reach, configured.seed)
    assert member.keys.signing_key.public_key == configured.public_key
    document = member.keys.document(NOW_MS)
    assert document["old_verify_keys"][before.keys.key_id]["expired_ts"] == NOW_MS


async def test_unreadable_keys_keep_it_from_starting(settings: Settings, reach: Reach) -> None:
    await settings.set(Setting.FEDERATION_KEYS, "{}")
    with pytest.raises(StartFailed, match="federation key"):
        await load(settings, reach)
    assert await settings.get(Setting.FEDERATION_KEYS) == "{}"


async def test_a_failed_join_or_leave_is_told(settings: Settings, reach: Reach) -> None:
    member = await load(settings, reach)
    # An address of this machine, which strangers may not have us ask.
    for change in (member.join, member.leave):
        fault = await change("!room:127.0.0.1", ["127.0.0.1:1"])
        assert fault is not None and not fault.final
        assert "127.0.0.1:1" in fault.text

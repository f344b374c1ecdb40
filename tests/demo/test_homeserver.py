import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from policybot.demo import homeserver as homeserver_module
from policybot.demo.certificates import Certificates, write_certificates
from policybot.demo.child_process import ProcessFailed
from policybot.demo.homeserver import Homeserver
from policybot.demo.network import running_network
from policybot.demo.ports import LOOPBACK, free_ports
from policybot.demo.requirements import what_is_missing


@pytest.fixture(autouse=True)
def synapse_is_there() -> None:
    if (sentence := what_is_missing()) is not None:
        pytest.fail(sentence)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return write_certificates(tmp_path)


@pytest_asyncio.fixture
async def homeserver(tmp_path: Path, certificates: Certificates) -> AsyncIterator[Homeserver]:
    homeserver = Homeserver("hs", tmp_path / "hs", certificates)
    yield homeserver
    await homeserver.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_accounts_and_rooms_survive_a_restart(homeserver: Homeserver) -> None:
    await homeserver.start()
    name, pid = homeserver.name, homeserver.process.pid
    assert pid is not None
    alice = await homeserver.register("alice")
    assert alice.user_id == f"@alice:{name}"
    room_id = await alice.create_room(name="Room")
    event_id = await alice.send_text(room_id, "hello")

    await homeserver.stop()
    assert not _is_alive(pid)
    await homeserver.start()
    assert homeserver.name == name
    event = await alice.event(room_id, event_id)
    assert event is not None and event["content"]["body"] == "hello"

    pid = homeserver.process.pid
    assert pid is not None
    await homeserver.close()
    assert not _is_alive(pid)


async def test_a_port_that_is_taken_costs_one_attempt(
    homeserver: Homeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        choices = iter([(taken.getsockname()[1], *free_ports(1)), free_ports(2)])
        monkeypatch.setattr(homeserver_module, "free_ports", lambda count: next(choices))
        await homeserver.start()
    assert (await homeserver.register("alice")).server == homeserver.name


async def test_a_homeserver_that_cannot_start_is_told_with_its_log(
    homeserver: Homeserver, certificates: Certificates
) -> None:
    certificates.certificate.write_text("no certificate")
    with pytest.raises(ProcessFailed, match="Synapse hs ended by itself") as failure:
        await homeserver.start()
    assert failure.value.log
    assert homeserver.process.pid is None


async def test_a_network_that_is_cancelled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pids: list[int | None] = []
    runs = asyncio.Event()

    async def use() -> None:
        async with running_network() as network:
            assert os.listdir(tmp_path) == [network.directory.name]
            pids.extend(each.process.pid for each in (network.hs1, network.hs2))
            runs.set()
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    async with asyncio.timeout(120):
        await asyncio.wait(
            [using, asyncio.create_task(runs.wait())], return_when=asyncio.FIRST_COMPLETED
        )
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert len(pids) == 2
    assert not any(pid is None or _is_alive(pid) for pid in pids)
    assert os.listdir(tmp_path) == []

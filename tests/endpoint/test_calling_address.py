import pytest

from policybot.endpoint.calling_address import calling_address

from .both_servers import make_server
from .conftest import Open
from .scene import ALICE, event_of

__all__ = ["make_server"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("1.1.1.1", [], "1.1.1.1"),
        ("1.1.1.1", ["9.9.9.9"], "1.1.1.1"),
        ("2606:4700::1111", [], "2606:4700::/64"),
        ("::ffff:1.1.1.1", [], "1.1.1.1"),
        ("127.0.0.1", ["9.9.9.9"], "9.9.9.9"),
        ("::1", ["9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9"], "9.9.9.9"),
        ("", ["6.6.6.6,9.9.9.9"], "9.9.9.9"),
        ("127.0.0.1", ["6.6.6.6", "9.9.9.9"], "9.9.9.9"),
        ("127.0.0.1", ["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),
        ("127.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.2"),
        ("127.0.0.1", ["2606:4700::1:2:3:4"], "2606:4700::/64"),
        ("127.0.0.1", ["6.6.6.6, unknown"], "unknown"),
        ("127.0.0.1", ["x" * 1_000], "x" * 64),
        ("127.0.0.1", [""], ""),
        ("127.0.0.1", [], ""),
        ("", [], ""),
    ],
)
def test_whose_request_it_is(peer: str, forwarded: list[str], address: str) -> None:
    assert calling_address(peer, forwarded) == address


async def test_both_look_ups_of_a_request_are_charged_to_its_caller(open_scene: Open) -> None:
    scene = await open_scene(servers=("caller.example",))
    forwarded = [("X-Forwarded-For", "6.6.6.6"), ("x-forwarded-for", "7.7.7.7, 9.9.9.9")]
    await scene.ask(event_of(ALICE), origin="unknown.example", headers=forwarded)
    await scene.ask(event_of(ALICE), headers=forwarded)
    await scene.ask(event_of(ALICE, body="2"))
    fetched = [server for server, _ in scene.keys.fetched]
    assert fetched == ["unknown.example", "good.example", "good.example"]
    assert scene.keys.addresses == ["9.9.9.9", "9.9.9.9", ""]

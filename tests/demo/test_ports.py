import socket

import pytest

from policybot.demo.ports import LOOPBACK, free_ports


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_ports_are_different_and_can_be_bound(count: int) -> None:
    ports = free_ports(count)
    assert len(set(ports)) == count
    for port in ports:
        with socket.socket() as listener:
            listener.bind((LOOPBACK, port))


def test_a_port_in_use_is_not_given() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        assert listener.getsockname()[1] not in free_ports(50)

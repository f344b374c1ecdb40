import socket

import pytest

from policybot.federation.dns_lookup import MAX_ADDRESSES, MAX_SERVICES, DnsLookup

from .dns_server import DnsServer, lookup_at, serving_dns


async def test_addresses_of_both_kinds(dns: DnsLookup, dns_server: DnsServer) -> None:
    dns_server.records = {
        ("a.example", "A"): ["192.0.2.1", "192.0.2.2"],
        ("a.example", "AAAA"): ["2001:db8::1"],
        ("v4.example", "A"): ["192.0.2.3"],
        ("alias.example", "CNAME"): ["v4.example."],
    }
    found = await dns.resolve("a.example", 443)
    assert sorted((result["host"], result["family"]) for result in found) == [
        ("192.0.2.1", socket.AF_INET),
        ("192.0.2.2", socket.AF_INET),
        ("2001:db8::1", socket.AF_INET6),
    ]
    assert found[0]["host"] == "2001:db8::1"
    assert {(result["hostname"], result["port"]) for result in found} == {("a.example", 443)}
    for name in ("v4.example", "v4.example.", "alias.example"):
        assert [r["host"] for r in await dns.resolve(name, 1)] == ["192.0.2.3"]
    only = await dns.resolve("a.example", 443, socket.AF_INET6)
    assert [result["host"] for result in only] == ["2001:db8::1"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nowhere.example", socket.EAI_NONAME),
        ("text.example", socket.EAI_NONAME),
        ("broken.example", socket.EAI_AGAIN),
        ("a..example", socket.EAI_AGAIN),
        ("x" * 64 + ".example", socket.EAI_AGAIN),
        ("loop.example", socket.EAI_AGAIN),
    ],
)
async def test_names_without_an_address(
    dns: DnsLookup, dns_server: DnsServer, name: str, code: int
) -> None:
    dns_server.records = {("text.example", "TXT"): ["x"]}
    for number in range(20):
        alias = "loop" if number == 0 else f"loop{number}"
        dns_server.records[f"{alias}.example", "CNAME"] = [f"loop{number + 1}.example."]
    dns_server.broken.add("broken.example")
    with pytest.raises(socket.gaierror) as error:
        await dns.resolve(name, 443)
    assert error.value.errno == code


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "a.localhost"])
async def test_localhost_is_this_machine_and_nobody_is_asked(
    dns: DnsLookup, dns_server: DnsServer, name: str
) -> None:
    dns_server.hosts(name.lower().rstrip("."), address="192.0.2.1")
    assert [result["host"] for result in await dns.resolve(name, 1)] == ["::1", "127.0.0.1"]
    only = await dns.resolve(name, 1, socket.AF_INET)
    assert [result["host"] for result in only] == ["127.0.0.1"]


async def test_one_kind_is_enough(dns: DnsLookup, dns_server: DnsServer) -> None:
    dns_server.hosts("a.example")
    dns_server.broken_kinds.add("AAAA")
    found = await dns.resolve("a.example", 443)
    assert [result["host"] for result in found] == ["127.0.0.1"]


async def test_name_servers_that_do_not_answer_are_given_up() -> None:
    async with serving_dns() as (server, port):
        server.silent |= {"a.example", "_matrix._tcp.a.example"}
        dns = lookup_at(port, timeout_s=0.02)
        with pytest.raises(socket.gaierror) as error:
            await dns.resolve("a.example", 443)
        assert error.value.errno == socket.EAI_AGAIN
        assert await dns.services("_matrix._tcp.a.example") == ()


async def test_services_in_their_order(dns: DnsLookup, dns_server: DnsServer) -> None:
    name = "_matrix-fed._tcp.a.example"
    assert await dns.services(name) == ()
    dns_server.records = {
        (name, "SRV"): ["20 5 443 c.example.", "10 0 8448 b.example.", "5 1 4443 a.example."]
    }
    assert await dns.services(name) == (
        ("a.example", 4443),
        ("b.example", 8448),
        ("c.example", 443),
    )
    dns_server.broken.add(name)
    assert await dns.services(name) == ()


async def test_services_that_are_none(dns: DnsLookup, dns_server: DnsServer) -> None:
    name = "_matrix-fed._tcp.a.example"
    dns_server.records = {
        (name, "SRV"): [
            "0 0 443 .",
            "1 0 0 a.example.",
            r"2 0 443 a\032b.example.",
            r"3 0 443 a.example/\@x.",
            r"4 0 443 \240.example.",
        ]
    }
    assert await dns.services(name) == ()


async def test_no_more_is_taken_than_needed(dns: DnsLookup, dns_server: DnsServer) -> None:
    numbers = range(1, 20)
    dns_server.records = {
        ("a.example", "A"): [f"192.0.2.{number}" for number in numbers],
        ("_matrix._tcp.a.example", "SRV"): [f"1 0 {number} a.example." for number in numbers],
    }
    assert len(await dns.resolve("a.example", 443)) == MAX_ADDRESSES
    assert len(await dns.services("_matrix._tcp.a.example")) == MAX_SERVICES

"""A DNS server on loopback that knows what the test tells it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from policybot.federation.dns_lookup import DnsLookup


class DnsServer(asyncio.DatagramProtocol):
    """``records`` holds texts of records by name and type, such as
    ``("a.example", "SRV"): ["10 5 443 b.example."]``; a name without any does not exist. Questions
    about ``silent`` names are not answered, those about ``broken`` names or kinds fail."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.silent: set[str] = set()
        self.broken: set[str] = set()
        self.broken_kinds: set[str] = set()
        self.questions: list[tuple[str, str]] = []
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind))
        if name in self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if name in self.broken or kind in self.broken_kinds:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._answer(answer, name, kind)
        self._transport.sendto(answer.to_wire(), addr)

    def _answer(self, answer: dns.message.Message, name: str, kind: str) -> None:
        """What is there, behind an alias too."""
        for each in ("CNAME", kind):
            texts = self.records.get((name, each), [])
            if texts:
                answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", each, *texts))
            if each == "CNAME" and texts:
                self._answer(answer, texts[0].rstrip("."), kind)
                return

    def hosts(self, *names: str, address: str = "127.0.0.1") -> None:
        """Let names have an IPv4 address."""
        for name in names:
            self.records[name, "A"] = [address]


@asynccontextmanager
async def serving_dns() -> AsyncIterator[tuple[DnsServer, int]]:
    """Gives the server and its port."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(DnsServer, local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def lookup_at(port: int, timeout_s: float = 5.0) -> DnsLookup:
    """What asks the server at ``port``."""
    return DnsLookup(["127.0.0.1"], port, timeout_s)

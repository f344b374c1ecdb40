"""Until when certificates are good, against what the library says that made them."""

import datetime
import ssl

import pytest

from policybot.endpoint.certificate_dates import not_after

from ..federation.authority import Authority
from ..federation.conftest import authority

__all__ = ["authority"]


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 9999])
def test_the_end_of_a_certificate(authority: Authority, year: int) -> None:
    until = datetime.datetime(year, 12, 31, 23, 59, 58, tzinfo=datetime.UTC)
    pem = authority.server_file("a.example", until=until).read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    assert not_after(der) == int(until.timestamp()) * 1000
    for size in range(0, 60, 7):
        with pytest.raises(ValueError, match="its dates cannot be read"):
            not_after(der[:size])


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x00", b"\x30\x80", b"\x30\x84\xff", b"x" * 99]
)
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(ValueError, match="its dates cannot be read"):
        not_after(der)

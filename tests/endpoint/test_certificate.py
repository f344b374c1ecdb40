"""The certificate's files: what is told of bad ones, and what happens when they change."""

import datetime
import logging
import os
import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from policybot.endpoint.certificate import (
    DAY_MS,
    Certificate,
    CertificateFiles,
    CertificateUnusable,
)

from ..federation.authority import Authority
from ..federation.conftest import authority

__all__ = ["authority"]

NAME = "policy.example.org"
NEW_YEAR = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
NEW_YEAR_TS = int(NEW_YEAR.timestamp()) * 1000


class Files:
    """Certificate and key as certbot keeps them: links to the newest of each."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._directory = directory
        self._authority = authority
        self._count = 0
        (directory / "live").mkdir()
        self.certificate, self.key = directory / "live/fullchain.pem", directory / "live/key.pem"
        self.renew()

    @property
    def names(self) -> CertificateFiles:
        return CertificateFiles(str(self.certificate), str(self.key))

    def renew(self, until: datetime.datetime = NEW_YEAR) -> None:
        text = self._authority.server_file(NAME, until=until).read_text()
        start = text.index("-----BEGIN CERTIFICATE")
        self.put(self.key, text[:start])
        self.put(self.certificate, text[start:])

    def put(self, link: Path, text: str) -> None:
        self._count += 1
        file = self._directory / f"{link.stem}{self._count}.pem"
        file.write_text(text)
        new = link.with_suffix(".new")
        new.symlink_to(file)
        os.replace(new, link)


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    return Files(tmp_path, authority)


class Clock:
    """Ten hours before the old certificate has a month left."""

    def __init__(self) -> None:
        self.now = NEW_YEAR_TS - 30 * DAY_MS

    def __call__(self) -> int:
        return self.now


def loaded(files: Files, clock: Clock | None = None) -> Certificate:
    certificate = Certificate(files.names, clock=clock or Clock())
    certificate.load()
    return certificate


def refusal(files: Files) -> str:
    with pytest.raises(CertificateUnusable) as caught:
        loaded(files)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("listen.tls")
    return text


def test_a_good_pair(files: Files) -> None:
    certificate = loaded(files)
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert certificate.faults() == []


def test_a_file_that_is_not_there(files: Files) -> None:
    files.key.unlink()
    assert f"listen.tls.key: {files.key} cannot be read (No such file" in refusal(files)
    files.certificate.unlink()
    assert f"listen.tls.certificate: {files.certificate} cannot be read" in refusal(files)


def test_a_file_that_cannot_be_read(files: Files) -> None:
    files.key.unlink()
    files.key.mkdir()
    assert "(Is a directory). Does it exist, and may the user" in refusal(files)


def test_files_of_another_kind(files: Files) -> None:
    certificate, key = files.certificate.read_text(), files.key.read_text()
    files.put(files.certificate, key)
    assert "holds no certificate in PEM form" in refusal(files)
    files.put(files.certificate, certificate)
    files.put(files.key, certificate)
    assert f"{files.key} holds no private key in PEM form" in refusal(files)


def test_a_key_of_another_certificate(files: Files) -> None:
    key = files.key.read_text()
    files.renew()
    files.put(files.key, key)
    assert f"the key in {files.key} is not the one of the certificate" in refusal(files)


def test_an_encrypted_key_asks_nobody(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    files.put(files.key, encrypted.decode())
    assert f"{files.key} is encrypted; write it without a passphrase: openssl" in refusal(files)


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_damaged_files(files: Files, which: str) -> None:
    file: Path = getattr(files, which)
    files.put(file, re.sub(r"\n[^-\n]{20}", "\nAAAA", file.read_text()))
    assert "cannot be used (" in refusal(files)


# -- changes --------------------------------------------------------------------------------------


def test_a_new_pair_is_taken(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    certificate = loaded(files)
    before = certificate.context
    certificate.look()
    assert certificate.context is before
    files.renew(NEW_YEAR.replace(month=2))
    certificate.look()
    assert certificate.context is not before
    assert "was changed; it is good until 2030-02-01" in caplog.text
    assert certificate.faults() == []


def test_one_file_after_the_other_is_no_fault(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = loaded(files)
    before = certificate.context
    key = files.key.read_text()
    files.renew()
    new = files.key.read_text()
    files.put(files.key, key)
    certificate.look()
    assert certificate.context is before
    files.put(files.key, new)
    certificate.look()
    assert certificate.context is not before
    assert caplog.text == ""


def test_a_bad_new_pair_keeps_the_old_one_and_is_told_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = loaded(files)
    before = certificate.context
    good = files.certificate.resolve()
    files.put(files.certificate, "nonsense")
    for _ in range(4):
        certificate.look()
    assert caplog.text.count("holds no certificate in PEM form") == 1
    assert certificate.context is before
    (fault,) = certificate.faults()
    assert fault.startswith("The new TLS certificate cannot be used; my log says why.")

    files.certificate.unlink()
    for _ in range(4):
        certificate.look()
    assert caplog.text.count("cannot be read (No such file") == 1

    files.certificate.symlink_to(good)
    certificate.look()
    assert certificate.faults() == []


def test_the_end_is_told_each_day(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    certificate = loaded(files, clock)
    clock.now = NEW_YEAR_TS - 14 * DAY_MS - 1
    certificate.look()
    assert (certificate.faults(), caplog.text) == ([], "")

    clock.now += 1
    for _ in range(3):
        certificate.look()
    assert caplog.text.count("The TLS certificate ends in 14 days, on 2030-01-01, and") == 1
    assert certificate.faults() == [
        "The TLS certificate ends in 14 days, on 2030-01-01, and was not renewed yet."
    ]
    clock.now += DAY_MS
    for _ in range(3):
        certificate.look()
    assert caplog.text.count("ends in 13 days") == 1

    clock.now = NEW_YEAR_TS - 1
    assert "ends within a day" in certificate.faults()[0]
    clock.now += 1
    certificate.look()
    assert "ended on 2030-01-01: other servers ask me no more" in caplog.text
    assert "ended on 2030-01-01" in certificate.faults()[0]

    files.renew(NEW_YEAR.replace(month=6))
    certificate.look()
    assert certificate.faults() == []

"""The TLS certificate that the endpoint's own listener shows, taken anew when its files change."""

import asyncio
import logging
import os
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import NamedTuple, NoReturn

from .certificate_dates import not_after

LOOK_S = 10.0
"""How often the files are looked at, in seconds."""

DAY_MS = 24 * 3_600_000
WARN_MS = 14 * DAY_MS
"""So long before its end a certificate is complained about."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = "PRIVATE KEY-----"

log = logging.getLogger("policybot.endpoint")


class CertificateUnusable(Exception):
    """Certificate or key cannot be used. The text is one sentence for the operator."""


class CertificateFiles(NamedTuple):
    """PEM files: the certificate with those between it and its authority, and the key to it."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate with its key as they were read; ``end_ts`` in milliseconds since 1970."""

    context: ssl.SSLContext
    end_ts: int


class Certificate:
    """The certificate in use; the files may be replaced at any time, also one after the other.

    ``clock`` gives milliseconds since 1970, ``look_s`` is how often `watch` looks, in seconds.
    """

    def __init__(
        self,
        files: CertificateFiles,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        look_s: float = LOOK_S,
    ) -> None:
        self.files = files
        self._clock = clock
        self._look_s = look_s
        self._pair: _Pair | None = None
        self._used: tuple[object, ...] = ()
        self._seen: tuple[object, ...] = ()
        self._refused: tuple[object, ...] = ()
        self._fault = ""
        self._told_end_ts = 0

    def load(self) -> None:
        """Read the files for the first time.

        Raises:
            CertificateUnusable: they are not a certificate and its key.
        """
        self._used = _state(self.files)
        self._pair = _read_pair(self.files)

    @property
    def context(self) -> ssl.SSLContext:
        """What a new connection is served with."""
        assert self._pair is not None, "nothing is loaded"
        return self._pair.context

    def faults(self) -> list[str]:
        """What is wrong with the certificate, as sentences; nothing if all is well."""
        return [fault for fault in (self._fault, self._end_fault()) if fault]

    async def watch(self) -> None:
        """Look at the files again and again, for ever."""
        while True:
            self.look()
            await asyncio.sleep(self._look_s)

    def look(self) -> None:
        """Take the files if they were changed and can be used, and log what is wrong."""
        found = _state(self.files)
        if found == self._used:
            self._fault = ""
        else:
            self._take(found)
        self._seen = found
        end = self._end_fault()
        if end and self._clock() - self._told_end_ts >= DAY_MS:
            self._told_end_ts = self._clock()
            log.warning("%s: %s", self.files.certificate, end)

    def _take(self, found: tuple[object, ...]) -> None:
        try:
            self._pair = _read_pair(self.files)
        except CertificateUnusable as error:
            # Whoever replaces them one after the other makes a pair that does not match for a
            # moment. So only what stays is told.
            if found == self._seen and found != self._refused:
                self._refused = found
                self._fault = "The new TLS certificate cannot be used; my log says why."
                log.error("%s Until then the certificate before is shown.", error)
        else:
            self._used, self._refused, self._fault = found, (), ""
            log.info("The TLS certificate was changed; it is good until %s.", self._end())

    def _end_fault(self) -> str:
        left = (self._pair.end_ts if self._pair is not None else 0) - self._clock()
        if left <= 0:
            return f"The TLS certificate ended on {self._end()}: other servers ask me no more."
        if left > WARN_MS:
            return ""
        days = ceil(left / DAY_MS)
        within = "within a day" if days == 1 else f"in {days} days"
        return f"The TLS certificate ends {within}, on {self._end()}, and was not renewed yet."

    def _end(self) -> str:
        end_ts = self._pair.end_ts if self._pair is not None else 0
        return f"{datetime.fromtimestamp(end_ts / 1000, UTC):%Y-%m-%d}"


def _state(files: CertificateFiles) -> tuple[object, ...]:
    """Differs when a file was written or replaced, also at the end of a symbolic link."""
    state: list[object] = []
    for path in files:
        try:
            found = os.stat(path)
        except OSError as error:
            state.append(error.errno)
        else:
            state.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    return tuple(state)


class _Encrypted(Exception):
    """The key asks for a passphrase."""


def _encrypted() -> NoReturn:
    raise _Encrypted


def _read_pair(files: CertificateFiles) -> _Pair:
    certificate = _CERTIFICATE.search(_text("certificate", files.certificate))
    if certificate is None:
        raise CertificateUnusable(
            f"listen.tls.certificate: {files.certificate} holds no certificate in PEM form "
            "(-----BEGIN CERTIFICATE-----)."
        )
    if _KEY not in _text("key", files.key):
        raise CertificateUnusable(f"listen.tls.key: {files.key} holds no private key in PEM form.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A caller could have us compute without end.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a function OpenSSL would ask on the terminal.
        context.load_cert_chain(files.certificate, files.key, _encrypted)
        return _Pair(context, not_after(ssl.PEM_cert_to_DER_cert(certificate[0])))
    except _Encrypted:
        raise CertificateUnusable(
            f"listen.tls.key: {files.key} is encrypted; write it without a passphrase: "
            f"openssl pkey -in {files.key} -out new.key"
        ) from None
    except (OSError, ValueError) as error:
        raise CertificateUnusable(_reason(files, error)) from None


def _text(key: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="latin-1")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CertificateUnusable(
            f"listen.tls.{key}: {path} cannot be read ({reason}). Does it exist, and may the user "
            "that policybot runs as read it?"
        ) from None


def _reason(files: CertificateFiles, error: OSError | ValueError) -> str:
    reason = getattr(error, "reason", None) or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return (
            f"listen.tls: the key in {files.key} is not the one of the certificate in "
            f"{files.certificate}: name two files that belong together."
        )
    return (
        f"listen.tls: {files.certificate} and {files.key} cannot be used ({reason}). The first "
        "must hold the certificate and those between it and its authority, the second its key."
    )

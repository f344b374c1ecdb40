"""The endpoint's own listener, opened as the configuration says."""

from .account import StartFailed
from .config import ListenConfig
from .endpoint.certificate import Certificate, CertificateFiles, CertificateUnusable
from .endpoint.exchange import Endpoint
from .endpoint.listener import AddressUnusable, Listener


def listener_for(endpoint: Endpoint, listen: ListenConfig) -> Listener:
    """A listener that is not open yet."""
    return Listener(endpoint, listen.host, listen.port, certificate=_certificate(listen))


async def open_listener(endpoint: Endpoint, listen: ListenConfig) -> Listener:
    """Open the listener.

    Raises:
        StartFailed: the address or the certificate cannot be used.
    """
    listener = listener_for(endpoint, listen)
    try:
        await listener.start()
    except (AddressUnusable, CertificateUnusable) as error:
        raise StartFailed(str(error)) from error
    return listener


async def change_certificate(listener: Listener, listen: ListenConfig) -> None:
    """Let an open listener show the certificate that ``listen`` names, or speak plain HTTP.

    Raises:
        StartFailed: it cannot be used; nothing is changed.
    """
    try:
        await listener.show(_certificate(listen))
    except CertificateUnusable as error:
        raise StartFailed(str(error)) from error


def _certificate(listen: ListenConfig) -> Certificate | None:
    if listen.tls is None:
        return None
    return Certificate(CertificateFiles(listen.tls.certificate, listen.tls.key))

import ssl
import stat
from pathlib import Path

import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession, web

from policybot.demo.certificates import Certificates, write_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


async def _listen(certificates: Certificates) -> web.ServerRunner:
    async def hello(request: web.BaseRequest) -> web.Response:
        return web.Response(text="hello")

    runner = web.ServerRunner(web.Server(hello), shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificates.server_context()).start()
    return runner


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_client_that_trusts_the_authority_reaches_both_names(
    certificates: Certificates, host: str
) -> None:
    context = certificates.client_context()
    strict = getattr(ssl, "VERIFY_X509_STRICT", 0)  # Python 3.13's default
    context.verify_flags |= strict
    runner = await _listen(certificates)
    try:
        url = f"https://{host}:{runner.addresses[0][1]}/"
        async with ClientSession() as session, session.get(url, ssl=context) as response:
            assert await response.text() == "hello"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("trusted", "server_hostname"), [(True, "other.example"), (False, "localhost")]
)
async def test_another_name_or_an_unknown_authority_is_refused(
    certificates: Certificates, trusted: bool, server_hostname: str
) -> None:
    context = certificates.client_context() if trusted else ssl.create_default_context()
    runner = await _listen(certificates)
    try:
        url = f"https://localhost:{runner.addresses[0][1]}/"
        async with ClientSession() as session:
            with pytest.raises(ClientConnectorCertificateError):
                await session.get(url, ssl=context, server_hostname=server_hostname)
    finally:
        await runner.cleanup()


def test_only_the_owner_reads_the_key(certificates: Certificates) -> None:
    assert stat.S_IMODE(certificates.key.stat().st_mode) == 0o600


def test_files_that_exist_are_not_overwritten(tmp_path: Path) -> None:
    first = write_certificates(tmp_path).key.read_bytes()
    with pytest.raises(FileExistsError):
        write_certificates(tmp_path)
    assert (tmp_path / "server-key.pem").read_bytes() == first

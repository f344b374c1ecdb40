"""`policybot check` beside a real homeserver and a bot that runs."""

from pathlib import Path

from policybot.demo import acts
from policybot.demo.network import Network

from ..command import policybot
from .conftest import MakeBot, MakeCast


async def test_each_path_is_answered_by_the_right_one(
    network: Network, make_cast: MakeCast, make_bot: MakeBot, tmp_path: Path
) -> None:
    await make_bot(await make_cast())
    public = f"https://{network.hs1.name}/_matrix"
    trust = {"SSL_CERT_FILE": str(network.certificates.authority)}

    ended = await policybot("check", directory=tmp_path / "bot0", **trust)
    assert (ended.code, ended.err) == (0, "")
    for line in (
        f"The endpoint answers at {public}/policy/v1/sign.",
        f"The endpoint answers at {public}/policy/unstable/org.matrix.msc4284/sign.",
        f"The homeserver answers at {public}/key/v2/server.",
    ):
        assert line in ended.out.splitlines()

    network.route_policy_to(None)
    ended = await policybot("check", directory=tmp_path / "bot0", **trust)
    assert ended.code == 1
    assert ended.err.count("a homeserver answers (404 M_UNRECOGNIZED)") == 2
    assert ended.err.count("location ^~ /_matrix/policy/ ") == 1


async def test_a_name_of_its_own_is_looked_at_as_others_see_it(
    network: Network, make_cast: MakeCast, make_bot: MakeBot, tmp_path: Path
) -> None:
    cast = await make_cast()
    name = network.dedicated_name
    bot = await make_bot(cast, name=name, start=False)
    await acts.start_bot(bot, cast)
    await acts.enable(cast)
    trust = {"SSL_CERT_FILE": str(network.certificates.authority)}

    ended = await policybot("check", directory=tmp_path / "bot0", **trust)
    assert (ended.code, ended.err) == (0, "")
    for path in ("policy/v1/sign", "key/v2/server", "federation/v1/version"):
        assert f"The endpoint answers at https://{name}/_matrix/{path}." in ended.out.splitlines()
    assert f"1 protected room names this policy server, and @policy:{name} is in " in ended.out

    network.route_policy_to(None, name)
    ended = await policybot("check", directory=tmp_path / "bot0", **trust)
    assert ended.code == 1
    assert f"does not send everything of {name} to policybot" in ended.err
    assert ended.err.count("server_name localhost; location / ") == 1

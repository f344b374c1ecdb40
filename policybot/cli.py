"""The command `policybot`: run | demo | init | check | keygen."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .config import Config, ConfigError, load_config

VERBS = ("run", "demo", "init", "check", "keygen")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; `run` if none is named.

    Returns 0 when done and 1 when refused, with one line on stderr; wrong usage exits with 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in (*VERBS, "-h", "--help", "--version"):
        words.insert(0, "run")
    options = _parser().parse_args(words)
    try:
        match options.verb:
            case "run":
                return _run(options.config)
            case "check":
                return _check(options.config)
            case "init":
                return _init(options.config)
            case "keygen":
                return _keygen()
            case _:
                return _demo(options.keep)
    except ConfigError as error:
        print(f"policybot: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="policybot", description="Manages Matrix policy servers from the moderation room."
    )
    parser.add_argument("--version", action="version", version=f"policybot {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, summary in (
        ("run", "run the bot and its endpoint (the default)"),
        ("check", "look at configuration, database, login and endpoint"),
        ("init", "ask a few questions and write a configuration"),
    ):
        command = verbs.add_parser(verb, help=summary, description=summary)
        command.add_argument(
            "-c", "--config", type=Path, default=Path("config.yaml"), metavar="FILE",
            help="the configuration file (default: config.yaml)",
        )  # fmt: skip
    verbs.add_parser("keygen", help="make a new policy key and print it")
    demo = verbs.add_parser("demo", help="play the whole story on two real homeservers")
    demo.add_argument(
        "--keep", action="store_true", help="leave everything running until Ctrl-C, to look around"
    )
    return parser


def _load(path: Path) -> Config:
    return load_config(path, os.environ)


def _run(path: Path) -> int:
    config = _load(path)
    from .standalone import run

    return run(config)


def _check(path: Path) -> int:
    import asyncio

    from .check import check

    return asyncio.run(check(_load(path)))


def _init(path: Path) -> int:
    import asyncio

    from .init import init

    return asyncio.run(init(path))


def _keygen() -> int:
    from .protocol.signing import SigningKey

    key = SigningKey.generate()
    print(f"policy_server.signing_key: {key.seed}")
    print(f"public key, as rooms will name it: {key.public_key}", file=sys.stderr)
    return 0


def _demo(keep: bool) -> int:
    from .demo.story import main as play

    return play(keep)

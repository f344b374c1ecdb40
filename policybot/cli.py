"""The command `policybot`: run | demo | init | check | keygen | export | import.

What a verb needs is imported when it is used, so that `--help` and wrong usage answer at once.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .config import ConfigError, load_config

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; `run` if none is named.

    Returns 0 when done and 1 when refused, with one line on stderr; wrong usage exits with 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
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
            case "export" | "import":
                return _move(options)
            case _:
                return _demo(options.keep, options.dedicated)
    except ConfigError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED


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
        _add_config(command)
    verbs.add_parser("keygen", help="make new keys and print their secret seeds")
    for verb, summary, file in (
        (
            "export",
            "write everything in the database into a file",
            "a new file, or - for standard output; it holds the policy key: keep it safe",
        ),
        (
            "import",
            "read such a file into an empty database; policybot must not run on it",
            "what export has written, or - for standard input",
        ),
    ):
        command = verbs.add_parser(verb, help=summary, description=summary)
        place = command.add_mutually_exclusive_group()
        _add_config(place)
        place.add_argument(
            "--database", metavar="URL",
            help="a database that no configuration names, such as that of a maubot instance",
        )  # fmt: skip
        command.add_argument("file", metavar="FILE", help=file)
    demo = verbs.add_parser("demo", help="play the whole story on two real homeservers")
    demo.add_argument(
        "--keep", action="store_true", help="leave everything running until Ctrl-C, to look around"
    )
    demo.add_argument(
        "--dedicated", action="store_true", help="give the policy server a name of its own"
    )
    return parser


def _add_config(command: argparse._ActionsContainer) -> None:
    command.add_argument(
        "-c", "--config", type=Path, default=Path("config.yaml"), metavar="FILE",
        help="the configuration file (default: config.yaml)",
    )  # fmt: skip


def _run(path: Path) -> int:
    config = load_config(path, os.environ)
    from .standalone import run

    return run(config)


def _check(path: Path) -> int:
    config = load_config(path, os.environ)
    from .check import check

    return asyncio.run(check(config, path))


def _init(path: Path) -> int:
    from .init import InitFailed, check_target, next_steps, prepare, questions, write

    try:
        check_target(path)
        answers = questions()
        write(path, asyncio.run(prepare(answers)))
    except InitFailed as error:
        return _refuse(str(error))
    except EOFError:
        return _refuse("init asks on a terminal, and there was no answer; nothing was written.")
    print(f"Written: {path}")
    print(next_steps(answers, path))
    return 0


def _keygen() -> int:
    from .protocol.signing import SigningKey

    key = SigningKey.generate()
    print(f"signing_key: {key.seed}")
    print(f"federation_key: {SigningKey.generate().seed}")
    print(
        "These are secret seeds, for the section policy_server of the configuration; the second "
        "is of use only with a name of its own. Rooms will name the public key "
        f"{key.public_key}",
        file=sys.stderr,
    )
    return 0


def _move(options: argparse.Namespace) -> int:
    from .move import Place, export_to, import_from

    if options.database is None:
        place = Place.of(load_config(options.config, os.environ))
    else:
        place = Place(options.database)
    return (export_to if options.verb == "export" else import_from)(options.file, place)


def _demo(keep: bool, dedicated: bool) -> int:
    from .demo.story import main as play

    return play(keep, dedicated)


def _refuse(sentence: str) -> int:
    print(f"policybot: {sentence}", file=sys.stderr)
    return 1

"""Options that `kinema serve` and its workers share: how results are marked and signed, who improves prompts."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .making.finishing import Finish


def add_finish_options(parser: argparse.ArgumentParser) -> None:
    """Those of a `Finish`."""
    add = parser.add_argument
    add("--mark", metavar="TEXT", help="words written onto every frame, such as 'Made with AI' (default: "
        "none)")  # fmt: skip
    add(
        "--c2pa-cert",
        type=Path,
        metavar="FILE",
        help="PEM certificates to sign results with (Content Credentials; default: they are not signed)",
    )
    add("--c2pa-key", type=Path, metavar="FILE", help="PEM private key of the first of them")
    add("--c2pa-tsa", metavar="URL", help="a time-stamping authority, which is asked for every result "
        "(default: none)")  # fmt: skip


def finish_of(args: argparse.Namespace) -> "Finish":
    """
    Raises:
        FinishError: some of the options need others.
    """
    from .making.finishing import Finish, FinishError
    from .making.signing import Certificate

    chain, key, timestamps = args.c2pa_cert, args.c2pa_key, args.c2pa_tsa
    if chain is None and key is None and timestamps is None:
        return Finish(args.mark)
    if chain is None or key is None:
        raise FinishError("signing needs both --c2pa-cert FILE and --c2pa-key FILE")
    return Finish(args.mark, Certificate(chain.expanduser().absolute(), key.expanduser().absolute(), timestamps))


def finish_words(finish: "Finish") -> list[str]:
    """What `add_finish_options` reads back."""
    words = [] if finish.mark is None else [f"--mark={finish.mark}"]
    if (certificate := finish.certificate) is not None:
        words += [f"--c2pa-cert={certificate.chain.absolute()}", f"--c2pa-key={certificate.key.absolute()}"]
        words += [] if certificate.timestamps is None else [f"--c2pa-tsa={certificate.timestamps}"]
    return words


def add_improve_options(parser: argparse.ArgumentParser) -> None:
    """Those of `improve.improver_of`."""
    add = parser.add_argument
    add("--improve-url", metavar="URL", help="of an OpenAI-compatible server that improves prompts, with /v1; its "
        "key is read from KINEMA_IMPROVE_KEY")  # fmt: skip
    add("--improve-model", metavar="MODEL", help="as that server calls it; without --improve-url a transformers "
        "text model, folder or hub id (default: rules, for models whose words are known)")  # fmt: skip

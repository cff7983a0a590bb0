"""Where our captioners lie on disk; imports no model."""

from pathlib import Path

from ..engine.commits import CaptionError

PACKAGED = Path(__file__).parents[2] / "pipeline" / "default" / "captioner"
PACKAGED_NAME = "kinema/default"  # in rows, wherever the package is installed


def checked(folder: str) -> Path:
    """The folder of a captioner; "" is the packaged one.

    Raises:
        CaptionError: it holds none.
    """
    path = Path(folder or PACKAGED)
    if not (path / "config.json").is_file():
        raise CaptionError(
            f"{path} holds no captioner; train one with `kinema train conditioner --out RUN` and give "
            "captions.model=RUN/conditioner/final/captioner"
        )
    return path

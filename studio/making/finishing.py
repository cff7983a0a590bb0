"""What is done to a result between the pipeline and the shelf: marked, encoded with its provenance, signed.

What was really done is read back from the file, and stands in `job.result["applied"]`. The order matters: what is
signed cannot be changed any more.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.video_io import VideoError, iter_video, probe
from ...pipeline.provenance import Provenance, read_provenance
from ...pipeline.saving import save_video
from ..jobs.shelf import EXACT, PICTURE, VIDEO
from .marking import check_mark, draw_mark, has_mark
from .signing import Certificate, SigningError, check_certificate, read_signature, sign

if TYPE_CHECKING:
    from ...pipeline.output import KinemaPipelineOutput

PLAYS = "yuv420p"  # what every browser and phone shows
GIVEN = ("video", "a", "b", "image", "mask")  # settings that are files
OF_TEXT = ("generate", "storyboard", "stream")  # tasks that need none
IDS = ("video_", "upload_")

logger = logging.getLogger(__name__)


class FinishError(RuntimeError):
    """Results cannot be marked or signed as the settings say; the message says what to change."""


@dataclass(frozen=True)
class Finish:
    """What every result gets besides its provenance.

    Attributes:
        mark: written onto every frame; None: nothing is.
        certificate: to sign with; None: nothing is signed.
    """

    mark: str | None = None
    certificate: Certificate | None = None

    def check(self) -> None:
        """Try it, before a model is loaded.

        Raises:
            FinishError: it would fail.
        """
        try:
            if self.mark is not None:
                check_mark(self.mark)
            if self.certificate is not None:
                check_certificate(self.certificate)
        except (ValueError, SigningError) as error:
            raise FinishError(str(error)) from None

    def draw(self, frames: np.ndarray) -> str | None:
        """Mark frames, uint8 (T, H, W, 3) or (H, W, 3), in place; returns what is written there now."""
        return None if self.mark is None else draw_mark(frames, self.mark)


PLAIN = Finish()


def save_result(
    output: "KinemaPipelineOutput", frames: np.ndarray, folder: Path, finish: Finish = PLAIN
) -> dict[str, Any]:
    """Write video.mp4, or picture.png of one frame, into a result's folder.

    A video whose given frames come back exactly often needs full colour resolution for that, which Safari and many
    phones do not show. It is then written twice: video.mp4 for all to see, exact.mp4 to go on from.

    A file that cannot be signed is kept: it took long to make. That it is not signed is said.

    Args:
        output: of the pipeline, one video.
        frames: its frames, uint8 (T, H, W, 3); the mark is drawn into them, for what else is made of them.
        folder: the result's.
        finish: what to do.

    Returns:
        What was applied, as the file tells: "provenance" (bool), "mark" (its words, or None), "c2pa" ("signed by
        …", or None), and "problems", what was to be done and was not, in words for people.

    Raises:
        OSError: there is no room.
    """
    path = folder / (PICTURE if len(frames) == 1 else VIDEO)
    made = told(output.provenance[0]) if output.provenance else None
    mark, problems = finish.draw(frames), []
    rate, sound, exact = output.frame_rate or 1.0, output.soundtrack or (), bool(output.exact)
    save_video(path, frames, rate, made, soundtrack=sound, exact=exact)
    if path.name == VIDEO and exact and probe(path).pixel_format != PLAYS:
        path.rename(folder / EXACT)
        save_video(path, frames, rate, made, soundtrack=sound)
    if finish.certificate is not None:
        try:
            sign(path, finish.certificate, mixed=_is_mixed(made), mark=mark)
        except SigningError as error:
            logger.error("%s is not signed: %s", folder.name, error)
            problems.append("it could not be signed; the server's log says why")
            finish = replace(finish, certificate=None)
    applied = applied_to(path, finish)
    if finish.mark is not None and applied["mark"] != finish.mark:
        shown = "nothing is written there" if applied["mark"] is None else f"it shows “{applied['mark']}”"
        problems.append(f"the picture is too small for the mark “{finish.mark}”: {shown}")
    if made is not None and not applied["provenance"]:
        problems.append("the file does not tell how it was made")
    return applied | {"problems": problems}


def applied_to(path: Path, finish: Finish) -> dict[str, Any]:
    """What a finished file shows of a finish; see `save_result`."""
    signer = None if finish.certificate is None else read_signature(path)
    mark = None
    if finish.mark is not None:
        picture = _first_frame(path)
        if has_mark(picture, finish.mark):
            mark = draw_mark(np.zeros_like(picture), finish.mark)
    return {"provenance": is_kinema(path), "mark": mark, "c2pa": None if signer is None else f"signed by {signer}"}


def is_kinema(path: Path) -> bool:
    """Whether a file says how Kinema made it. It is opened here: a stranger's is to be looked into before."""
    try:
        read_provenance(path)
    except (ValueError, OSError, VideoError):
        return False
    return True


def told(made: Provenance) -> Provenance:
    """A provenance without this machine's paths, which are nobody else's business.

    Given files are named by their ids, as they were asked for; a model by its folder's name and its fingerprint.
    """
    model = Path(made.model).name if made.model and Path(made.model).is_absolute() else made.model
    return replace(made, model=model, settings={name: _named(value) for name, value in made.settings.items()})


def _named(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_named(each) for each in value]
    if isinstance(value, str) and (path := Path(value)).is_absolute() and path.parent.name.startswith(IDS):
        return path.parent.name
    return value


def _is_mixed(made: Provenance | None) -> bool:
    """Whether given pictures or videos are in it; not known counts as such."""
    if made is None:
        return True
    settings = made.settings
    if any(name in GIVEN or name.startswith("keyframe ") for name in settings):
        return True
    if any(len(entry) > 2 for entry in settings.get("storyboard") or ()):
        return True
    of_text = made.task in OF_TEXT or (made.task == "loop" and settings.get("video_prompt") is not None)
    return not of_text


def _first_frame(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    for _, picture in iter_video(path):
        return picture
    raise ValueError(f"{path} has no frame")

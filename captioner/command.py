"""`kinema caption DIR --out DATASET`: captions at three levels, with scores, for a folder of videos.

DATASET holds manifest.parquet, quarantine.jsonl (files that could not be used, and why) and sheet.png. The same
command goes on after a kill.
"""

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from ..conditioner.captioner import ContrastiveCaptioner
from ..data.clips import find_rows
from ..data.files import atomic_path
from ..data.manifest import LEVELS, write_manifest
from ..data.sheets import contact_sheet
from ..data.video_io import Video, VideoError, probe, read_video
from .engine import run_once_each

PACKAGED = Path(__file__).parent.parent / "pipeline" / "default" / "captioner"
SHEET_CLIPS = 12


class CaptionError(ValueError):
    """A captioning run that cannot start; the message says what is needed."""


def command(args: argparse.Namespace) -> None:
    """`kinema caption`."""
    folder = args.captioner or PACKAGED
    rows, quarantined = caption_folder(args.source, args.out, folder, device=args.device)
    lines = [f"{len(rows)} clips captioned, {len(quarantined)} set aside", str(args.out / "manifest.parquet")]
    if quarantined:
        lines.append(f"{args.out / 'quarantine.jsonl'} says why")
    lines.append(limits(folder))
    sys.stdout.write("\n".join(filter(None, lines)) + "\n")


def caption_folder(
    source: str | Path, out: str | Path, captioner: str | Path = PACKAGED, *, device: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Caption every video of a folder or manifest, and write the dataset.

    A video is seen as the captioner's number of frames, evenly spaced from its first to its last.

    Args:
        source: a folder of videos, with captions beside them if there are any, or a manifest.
        out: folder of the dataset.
        captioner: folder of a `ContrastiveCaptioner`.
        device: where it runs; None: "cuda" if there is one, else "cpu".

    Returns:
        The manifest's rows, and {"path", "reason"} of each file that could not be used.

    Raises:
        CaptionError: there is no captioner, no video, `out` is the folder of the videos, or it holds the
            captions of another captioner.
        OSError: a file could not be read, though it is there; finished captions are kept.
        FileNotFoundError: there is no source.
    """
    source, out, captioner = Path(source), Path(out), Path(captioner)
    if not (captioner / "config.json").is_file():
        raise CaptionError(
            f"{captioner} holds no captioner; train one with `kinema train conditioner --out RUN` and give "
            "--captioner RUN/conditioner/final/captioner"
        )
    if out.resolve() in (source.resolve(), source.resolve().parent if source.is_file() else None):
        raise CaptionError(
            f"--out is the folder of the videos, {out}, whose tables would then be taken for its captions; give a "
            "folder of its own"
        )
    root, found = find_rows(source)
    if not found:
        raise CaptionError(f"{source} holds no video")
    out.mkdir(parents=True, exist_ok=True)
    _claim(out / "captioner.json", captioner)
    model: Any = ContrastiveCaptioner.from_pretrained(captioner)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    rows = _with_unique_ids(found)
    results = run_once_each(rows, root, out / "records", lambda row: _describe(model, row, root), "captions")
    captioned, quarantined = [], []
    for row, result in zip(rows, results):
        if "reason" in result:
            quarantined.append({"path": row["path"], "reason": result["reason"]})
        else:
            path = os.path.relpath(root / row["path"], out)
            captioned.append({**row, **result, "path": Path(path).as_posix()})
    write_manifest(out / "manifest.parquet", captioned)
    with atomic_path(out / "quarantine.jsonl") as path:
        path.write_text("".join(json.dumps(each) + "\n" for each in quarantined), encoding="utf-8")
    if captioned:
        shown = [_shown(model, row, out) for row in captioned[:SHEET_CLIPS]]
        with atomic_path(out / "sheet.png") as path:
            contact_sheet(shown).save(path)
    return captioned, quarantined


def limits(captioner: str | Path) -> str:
    """What a reader of its captions must know of a captioner; "" if its vocabulary is open."""
    words = json.loads((Path(captioner) / "config.json").read_text(encoding="utf-8")).get("vocabulary")
    if words is None:
        return ""
    return (
        f"This captioner knows the {len(words)} words of Diorama, the built-in world, and nothing else: its "
        "captions of other videos are guesses, whatever their scores. Its card or report.json says how often it "
        "is right on Diorama itself."
    )


def _describe(model: ContrastiveCaptioner, row: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A clip's size, captions and scores; {"reason"} if it cannot be read."""
    try:
        info = probe(root / row["path"])
        video = read_evenly(root / row["path"], model.config["num_frames"], row.get("start"), row.get("end"))
    except VideoError as error:
        return {"reason": str(error)}
    frames = rearrange(torch.from_numpy(video.frames.copy()), "t h w c -> 1 c t h w")
    features, tokens = model.encode_video(frames, video.fps)
    captions = {level: model.caption_tokens(tokens, level)[0] for level in LEVELS}
    scores = (features @ model.encode_text(list(captions.values())).T)[0].tolist()
    return (
        {"width": info.width, "height": info.height, "frames": info.frames, "fps": info.fps}
        | {"duration": info.duration}
        | {f"caption_{level}": text for level, text in captions.items()}
        | {f"score_{level}": score for level, score in zip(captions, scores)}
    )


def read_evenly(path: Path, count: int, start: float | None = None, end: float | None = None) -> Video:
    """Up to `count` frames of a video, evenly spaced from the first to the last of the part asked for.

    Raises:
        VideoError: the part cannot be read whole.
    """
    info = probe(path)
    first, step = start or 0.0, 1 / (info.fps or 30.0)
    last = end if end is not None else info.duration
    if last is None:  # the container does not say how long it is: decode to know
        last = float(read_video(path, start=first, size=(16, 16)).times[-1]) + step
    span = last - first - step  # from the beginning of the first frame to that of the last
    if count == 1 or span <= 0:
        return read_video(path, start=first, num_frames=1, fps=1 / step)
    # A thousandth less than the span, so that rounding never asks for a time behind the last frame.
    return read_video(path, start=first, end=end, fps=(count - 1) / (span * 0.999), num_frames=count)


def _shown(model: ContrastiveCaptioner, row: dict[str, Any], out: Path) -> tuple[str, Any]:
    video = read_evenly(out / row["path"], model.config["num_frames"], row.get("start"), row.get("end"))
    return f"{row['id']}: {row['caption_medium']} ({row['score_medium']:.2f})", video.frames


def _claim(path: Path, captioner: Path) -> None:
    """Note which captioner the folder's captions are by, and refuse another: they would be mixed."""
    wanted = {"weights": _fingerprint(captioner)}
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there["weights"] != wanted["weights"]:
            raise CaptionError(
                f"{path.parent} holds captions by another captioner ({there.get('folder')}); give another "
                "--out, or delete that folder to caption anew"
            )
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(wanted | {"folder": str(captioner)}), encoding="utf-8")


def _fingerprint(captioner: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(captioner.iterdir()):
        if path.suffix in (".json", ".safetensors"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _with_unique_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose ids that occur twice ("cat.mp4", "cat.mov") become their paths."""
    counts = Counter(row["id"] for row in rows)
    return [row | {"id": row["path"]} if counts[row["id"]] > 1 else row for row in rows]

"""Diorama written to disk: MP4 files, a manifest and a contact sheet.

    kinema corpus diorama --n 64 --out DIR

Clips come from the same (seed, index) as in training. Finished files are kept, so the same command goes on after a
kill.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from .diorama import DioramaDataset
from .files import atomic_path
from .manifest import write_manifest
from .sheets import contact_sheet
from .video_io import VideoError, read_video, write_video

SHEET_CLIPS = 16


class Shape(NamedTuple):
    """Which clips, and how they are filmed."""

    seed: int
    split: str
    difficulty: tuple[int, int]
    height: int
    width: int
    num_frames: int
    fps: float


def command(args: argparse.Namespace) -> None:
    """`kinema corpus diorama`."""
    level = (args.level[0], args.level[-1])
    shape = Shape(args.seed, args.split, level, args.height, args.width, args.frames, args.fps)
    manifest = write_corpus(args.out, args.n, shape, workers=args.workers)
    sys.stdout.write(f"{args.n} clips, {manifest}, {manifest.with_name('sheet.png')}\n")


def write_corpus(out: str | Path, count: int, shape: Shape, *, workers: int | None = None) -> Path:
    """Write the first `count` clips of a corpus.

    Args:
        out: folder; clips/, manifest.parquet, corpus.json and sheet.png are made in it.
        count: clips.
        shape: which corpus, and the clips' shape.
        workers: processes; None: one a core; 1: this one.

    Returns:
        Path of the manifest.

    Raises:
        ValueError: the folder holds another corpus, or the count is not positive.
    """
    out = Path(out)
    if count < 1:
        raise ValueError(f"{count} clips were asked for; give --n 1 or more")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    _claim(out / "corpus.json", shape)
    for unfinished in (out / "clips").glob(".*.part.mp4"):  # of a killed run
        unfinished.unlink()
    progress = tqdm(total=count, desc="clips", unit="clip", dynamic_ncols=True)
    rows: list[dict[str, Any]] = []
    with progress:
        for row in _write_clips(out, count, shape, min(count, workers or os.cpu_count() or 1)):
            rows.append(row)
            progress.update()
    rows.sort(key=lambda row: row["path"])
    manifest = out / "manifest.parquet"
    write_manifest(manifest, rows)
    shown = [(row["caption_medium"], read_video(out / row["path"]).frames) for row in rows[:SHEET_CLIPS]]
    with atomic_path(out / "sheet.png") as path:
        contact_sheet(shown).save(path)
    return manifest


def _claim(path: Path, shape: Shape) -> None:
    """Note which corpus the folder holds, and refuse another: the kept clips would not be of it."""
    wanted = json.loads(json.dumps(shape._asdict()))
    if path.is_file() and (there := json.loads(path.read_text())) != wanted:
        changed = ", ".join(
            f"{key} {there.get(key)} there, {wanted[key]} now" for key in wanted if there.get(key) != wanted[key]
        )
        raise ValueError(f"{path.parent} holds another corpus ({changed}); give another --out, or delete that one")
    path.write_text(json.dumps(wanted))


def _write_clips(out: Path, count: int, shape: Shape, workers: int) -> Iterator[dict[str, Any]]:
    """Manifest rows, as their clips are finished."""
    if workers == 1:
        yield from (_write_clip(out, index, count, shape) for index in range(count))
        return
    # fork would copy torch's thread pool in an unusable state
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        work = [pool.submit(_write_clip, out, index, count, shape) for index in range(count)]
        try:
            for done in as_completed(work):
                yield done.result()
        except BaseException:  # a full disk or Ctrl-C: leave the rest undone instead of waiting for it
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, workers would wait for ever for the work of a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_clip(out: Path, index: int, count: int, shape: Shape) -> dict[str, Any]:
    dataset = DioramaDataset(**shape._asdict(), num_clips=count)
    row = dataset.describe(index)
    path = Path("clips") / f"{index:06d}.mp4"
    if not _is_finished(out / path):
        frames = dataset[index]["pixel_values"].permute(1, 2, 3, 0).numpy()
        metadata = {"title": row["captions"]["medium"], "scene": row["scene"]}
        write_video(out / path, frames, shape.fps, metadata=metadata)
    return {
        "id": row["id"],
        "path": path.as_posix(),
        "start": 0.0,
        "end": shape.num_frames / shape.fps,
        "width": shape.width,
        "height": shape.height,
        "frames": shape.num_frames,
        "fps": shape.fps,
        "duration": shape.num_frames / shape.fps,
        "scene": row["scene"],
    } | {f"caption_{level}": text for level, text in row["captions"].items()}


def _is_finished(path: Path) -> bool:
    try:
        return path.is_file() and len(read_video(path, num_frames=1).frames) == 1
    except VideoError:
        return False

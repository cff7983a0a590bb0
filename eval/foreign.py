"""Clips of any system, so that it can sit the exam: a folder of videos, or a table that says which is which.

    FOLDER/<prompt id>.mp4, FOLDER/<prompt id>-<seed>.mp4     also .webm, .mov, .mkv, .avi, .m4v, .gif
    FOLDER/manifest.csv, .json or .jsonl                      columns path, prompt (its id or its words), seed

Clips may be of any size, length and frame rate, and differ in them.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..data.video_io import VideoError, probe, read_video
from .questions import ExamPrompt
from .store import Clip

VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".gif")
TABLES = (".csv", ".json", ".jsonl")
LEAST_SIDE, LEAST_FRAMES = 16, 2  # what the pixel judge can read
MOST_SIDE = 512  # pixels of the shorter side; larger clips are scaled down, so that they fit into memory
SHOWN = 8  # names in a message


@dataclass(frozen=True)
class ForeignClip:
    """A video file of one prompt."""

    prompt: int  # place in the list
    seed: int
    path: Path

    def read(self) -> Clip:
        """Its frames at their own rate; a shorter side of more than 512 pixels is scaled down to that.

        Raises:
            VideoError: not a video, damaged, of a single frame, or with a side of fewer than 16 pixels.
        """
        info = probe(self.path)
        scale = MOST_SIDE / min(info.height, info.width)
        size = (round(info.height * scale), round(info.width * scale)) if scale < 1 else None
        video = read_video(self.path, size=size)
        count, height, width = video.frames.shape[:3]
        if count < LEAST_FRAMES or min(height, width) < LEAST_SIDE:
            frames = "1 frame" if count == 1 else f"{count} frames"
            raise VideoError(
                self.path,
                None,
                f"{frames} of {height} x {width} pixels; the exam needs at least {LEAST_FRAMES} frames and "
                f"{LEAST_SIDE} pixels a side. Replace the file, or leave it out and say --partial",
            )
        return Clip(video.frames, video.fps)


def find_clips(source: str | Path, prompts: Sequence[ExamPrompt], *, partial: bool = False) -> list[ForeignClip]:
    """Match video files to prompts.

    Args:
        source: a folder of videos named after prompts, a folder with a manifest, or a manifest. A manifest has a
            `path` (relative to itself), a `prompt` (an id, or a prompt's whole text) and, if a prompt has several
            clips, a `seed` (default 0).
        prompts: the exam's list.
        partial: take what is there; without it every prompt needs a clip.

    Returns:
        The clips, by place of the prompt and seed.

    Raises:
        FileNotFoundError: no such folder, manifest or video.
        ValueError: a video of no prompt, prompts without a video, two videos of one prompt and seed, or a manifest
            that cannot be read.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist; give a folder of <prompt id>.mp4 files, or a manifest")
    table = source if source.is_file() else _manifest_in(source)
    found = _from_folder(source, prompts) if table is None else _from_table(table, prompts)
    seen: dict[tuple[int, int], ForeignClip] = {}
    for clip in found:
        first = seen.setdefault((clip.prompt, clip.seed), clip)
        if first is not clip:
            raise ValueError(
                f"{first.path} and {clip.path} are both the clip of {prompts[clip.prompt].id}, seed {clip.seed}; "
                "keep one, or give them seeds (<prompt id>-<seed>.mp4)"
            )
    present = {clip.prompt for clip in found}
    missing = [prompt for number, prompt in enumerate(prompts) if number not in present]
    if not found or (missing and not partial):
        names = ", ".join(f"{prompt.id} ({prompt.text!r})" for prompt in missing[:3])
        raise ValueError(
            f"{source} lacks clips of {len(missing)} of the {len(prompts)} prompts, such as {names}: it needs a "
            f"file <prompt id>.mp4 or <prompt id>-<seed>.mp4 for each ({', '.join(VIDEOS)}), or a row in its "
            f"manifest; --partial judges what is there. Missing: {_some([prompt.id for prompt in missing])}"
        )
    return sorted(found, key=lambda clip: (clip.prompt, clip.seed))


def content_digest(clips: Sequence[ForeignClip]) -> str:
    """A name for exactly these clips: what their files hold, wherever the files are."""
    found = hashlib.sha256()
    for clip in clips:
        with clip.path.open("rb") as file:
            found.update(f"{clip.prompt}-{clip.seed} {hashlib.file_digest(file, 'sha256').hexdigest()} ".encode())
    return found.hexdigest()[:32]


def _manifest_in(folder: Path) -> Path | None:
    found = [path for ending in TABLES if (path := folder / f"manifest{ending}").is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder} has {' and '.join(path.name for path in found)}; give one of them itself")
    return found[0] if found else None


def _from_folder(folder: Path, prompts: Sequence[ExamPrompt]) -> list[ForeignClip]:
    places = {prompt.id: number for number, prompt in enumerate(prompts)}
    found, unknown = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEOS or path.name.startswith("."):
            continue
        stem, _, seed = path.stem.rpartition("-")
        if path.stem in places:
            found.append(ForeignClip(places[path.stem], 0, path))
        elif stem in places and seed.isascii() and seed.isdigit():
            found.append(ForeignClip(places[stem], int(seed), path))
        else:
            unknown.append(path.name)
    if unknown:
        raise ValueError(
            f"{folder}: {len(unknown)} videos are named after no prompt of the list: {_some(unknown)}. Names are "
            f"<prompt id>.mp4 or <prompt id>-<seed>.mp4, with ids like {_some(list(places)[:3])}"
            f"{_nearest(Path(unknown[0]).stem, places)} (--list chooses another list); or write a manifest.csv "
            "with path,prompt,seed"
        )
    return found


def _from_table(table: Path, prompts: Sequence[ExamPrompt]) -> list[ForeignClip]:
    if table.suffix.lower() not in TABLES:
        raise ValueError(f"{table} is no folder and no manifest; a manifest ends in {', '.join(TABLES)}")
    ids = {prompt.id: number for number, prompt in enumerate(prompts)}
    texts: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        texts.setdefault(_plain(prompt.text), []).append(number)
    found, absent = [], []
    for number, row in enumerate(_rows(table), 1):
        where = f"{table}, clip {number}"
        path, asked, seed = (row.get(name) for name in ("path", "prompt", "seed"))
        if not isinstance(path, str) or not isinstance(asked, str) or not path or not asked:
            raise ValueError(f"{where} has {sorted(map(str, row))}; it needs path and prompt (an id or the words)")
        try:
            seed = 0 if seed in (None, "") else int(str(seed))
        except ValueError:
            raise ValueError(f"{where}: the seed is {seed!r}; it needs to be a whole number") from None
        matches = [ids[asked]] if asked in ids else texts.get(_plain(asked), [])
        if len(matches) != 1:
            what = (
                f"matches {len(matches)} prompts; give its id" if matches else "is no id and no text of the list"
            )
            raise ValueError(f"{where}: the prompt {asked!r} {what}{'' if matches else _nearest(asked, ids)}")
        file = table.parent / path
        if not file.is_file():
            absent.append(path)
        found.append(ForeignClip(matches[0], seed, file))
    if absent:
        raise FileNotFoundError(
            f"{table} names {len(absent)} files that are not there: {_some(absent)}; paths are relative to "
            f"{table.parent}"
        )
    return found


def _rows(table: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of a manifest; a JSON object of path to prompt is one too."""
    try:
        text = table.read_text(encoding="utf-8-sig")
        if table.suffix.lower() == ".csv":
            return list(csv.DictReader(text.splitlines()))
        if table.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read: {error}") from None
    if isinstance(rows, dict):
        rows = [{"path": path, "prompt": prompt} for path, prompt in rows.items()]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f"{table} needs to be a list of objects with path, prompt and seed, or an object of paths"
        )
    return rows


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".")


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _nearest(word: str, ids: Mapping[str, int]) -> str:
    close = get_close_matches(word, ids, 1)
    return f" (did you mean {close[0]}?)" if close else ""

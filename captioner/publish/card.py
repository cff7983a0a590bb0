"""The card of a published dataset: README.md, whose head tells `datasets` which tables there are."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...data.blend import is_original
from ...data.captioned import CAPTIONS, CLIPS, REVIEWS
from ..backends.base import shown
from ..settings import CaptionSettings
from ..tables import CAPTION_STATUSES, LEVELS, Row

MEDIA = {
    "cut": "Clips are files of their own in `media/`: H.264, bars cropped away, without sound.",
    "reference": "No video was copied: `video.path` is the whole file where it lay, of which the clip is "
    "[`start_s`, `end_s`) and, if there is one, `crop` (x, y, width, height). Moving those files "
    "breaks the dataset.",
    "webdataset": "Clips are in WebDataset shards, `media/shard-*.tar`: CLIP_ID.mp4 (H.264, bars cropped away, "
    "without sound) and CLIP_ID.json (the clip's row, and by level the captions that may be trained on).",
}

PLAY = {
    True: "`video` plays wherever this folder is, or is uploaded to: the clips' bytes lie in the table too. "
    "Decoding needs `pip install torchcodec` and FFmpeg; without them, `Video(decode=False)` gives the bytes.",
    False: "`video` has paths{where}; decoding needs `pip install torchcodec` and FFmpeg.",
}

MODELS = (  # settings that may be a folder's or a file's path
    ("captions", "model"),
    ("captions", "densify_model"),
    ("signals", "nsfw"),
    ("signals", "embedding"),
    ("checks", "scorer"),
)
MOST_LICENSES, LONGEST_LICENSE = 20, 80  # that are told; letters

OWN_CAPTIONER = (
    "The captions are by Kinema's own small captioner. It knows the words of Diorama, Kinema's built-in world of "
    "toys, and nothing else. Clips of anything else are marked `out_of_domain`, and their captions are guesses, "
    "however fluent: do not use them. `captions.backend` of `transformers` or `openai` names better captioners."
)


@dataclass
class Counts:
    """What a dataset holds."""

    clips: Counter[str] = field(default_factory=Counter)  # by status
    rejects: Counter[str] = field(default_factory=Counter)  # clips, by reason
    seconds: float = 0.0  # of kept clips
    licenses: Counter[str] = field(default_factory=Counter)  # kept clips, by license
    captions: Counter[tuple[str, str]] = field(default_factory=Counter)  # by level and status
    authors: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # backend, model, revision
    usable: Counter[str] = field(default_factory=Counter)  # kept clips, by the kinds of captions they have

    def add(self, clip: Row, captions: Sequence[Row], usable: Mapping[str, str]) -> None:
        """Count one clip, its captions, and those of them that may be trained on."""
        self.clips[clip["status"]] += 1
        self.rejects.update(reason.split(":")[0] for reason in clip["reject_reasons"])
        if clip["status"] == "kept":
            self.seconds += (clip["end_s"] or 0.0) - (clip["start_s"] or 0.0)
            self.licenses[_quoted(clip["license"] or "") or "not stated"] += 1
            kinds = {"original" if is_original(level) else "synthetic" for level in usable}
            self.usable[" and ".join(sorted(kinds)) or "none"] += 1
        for row in captions:
            self.captions[row["level"], row["status"]] += 1
            if row["backend"]:
                self.authors[row["backend"], row["model"] or "", row["revision"] or ""] += 1

    def told(self) -> dict[str, Any]:
        """The figures that the end of a run names."""
        statuses: Counter[str] = Counter()
        for (_, status), count in self.captions.items():
            statuses[status] += count
        return {
            "clips": dict(self.clips),
            "captions": dict(statuses),
            "trainable": sum(count for kind, count in self.usable.items() if kind != "none"),
        }


def head(dataset: Path) -> str:
    """What `datasets` reads: the tables, and descriptions that change with them, else it shows what it cached."""
    reviews = sorted((dataset / REVIEWS).glob("*.parquet"))

    def config(name: str, files: Sequence[Path], patterns: str | list[str]) -> dict[str, Any]:
        state = hashlib.blake2b(digest_size=8)
        for path in files:
            with path.open("rb") as file:
                state.update(hashlib.file_digest(file, "blake2b").digest())
        return {"config_name": name, "data_files": patterns, "description": f"published as {state.hexdigest()}"}

    clips = config("clips", [dataset / CLIPS], CLIPS) | {"default": True}
    captions = config("captions", [dataset / CAPTIONS, *reviews], [CAPTIONS, f"{REVIEWS}/*.parquet"])
    told = {"task_categories": ["text-to-video"], "tags": ["video", "captions"], "configs": [clips, captions]}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True)


def card(dataset: Path, settings: CaptionSettings, counts: Counts, quarantined: int, *, embedded: bool) -> str:
    """The text of README.md."""
    kept, media = counts.clips["kept"], settings.dataset.media
    where = "" if media == "reference" else ", relative to this folder"
    play = PLAY[embedded].format(where=where)
    authors = [
        [f"`{backend}`", f"`{model}`" if model else "", f"`{revision}`" if revision else "", f"{count:,}"]
        for (backend, model, revision), count in sorted(counts.authors.items())
    ]
    own = any(backend == "captioner" for backend, _, _ in counts.authors)
    sections = [
        f"# {dataset.resolve().name}",
        f"{kept:,} clips, {counts.seconds / 3600:.2f} hours, captioned with `kinema caption`.",
        "![some clips](sheet.png)" if kept else "",
        "## What it holds",
        _table(["clips", "count"], [[status, f"{count:,}"] for status, count in sorted(counts.clips.items())]),
        f"Set aside before that: {quarantined:,} files or parts of files, each with its reason in "
        "`quarantine.jsonl`."
        + (f" Reasons of rejected clips: {_listed(counts.rejects)}." if counts.rejects else ""),
        _captions_table(counts),
        "Only captions of status `success` and `original` ones are for training. All others are kept "
        "for the record "
        "and are wrong, or may be.",
        f"Kept clips by the captions they may be trained on: {_listed(counts.usable) or 'none'}.",
        "## Who wrote the captions",
        _table(["backend", "model", "revision", "captions"], authors) if authors else "Nobody yet.",
        "## Media and license",
        MEDIA[media],
        f"Licenses, as stated by whoever gave the videos: {_listed(counts.licenses, MOST_LICENSES) or 'none'}. "
        "The clips are parts "
        "of other people's videos; `license` and `source_uri` of each row say which.",
        "## Loading",
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'clips = load_dataset("{dataset.resolve().name}", "clips", split="train")\n'
        f'captions = load_dataset("{dataset.resolve().name}", "captions", split="train")\n'
        'kept = clips.filter(lambda status: status == "kept", input_columns="status")  # they come first\n'
        "```",
        play,
        f"Training reads it as it is: `kinema train dit data.source={dataset.resolve().name}`. There a clip with "
        "both kinds of captions is shown with an original one in `data.original_captions` of the draws (5 %, as "
        "in DALL·E 3) and else with a synthetic one, whose level `data.caption_mix` draws. Captions that a person "
        "rejected, accepted or edited (`kinema caption review`, in `reviews/`) count as that person said; "
        "`load_dataset`, which keeps a copy, sees later reviews once `kinema caption dataset` publishes anew.",
        "## What is weak about it",
        OWN_CAPTIONER if own else "",
        "The checks find what can be measured: repetition, cut-off texts, things in the prose that "
        "the facts do not "
        "have, colours and camera moves that the pixels contradict, sentences unlike the frames. "
        "They cannot prove a "
        "caption true. Motion, counts and relations are where captioners err most; review a sample "
        "before training "
        "on all of it.",
        "## Settings",
        "```yaml\n" + yaml.safe_dump(public_settings(settings), sort_keys=False) + "```",
    ]
    return f"---\n{head(dataset)}---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def public_settings(settings: CaptionSettings) -> dict[str, Any]:
    """The settings that decided the rows, without what is nobody's business: endpoints' addresses, and folders."""
    values = settings.model_dump(mode="json", exclude={"run"})
    for name in ("base_url", "densify_base_url", "api_key_env", "densify_api_key_env"):
        del values["captions"][name]
    for section, name in MODELS:
        values[section][name] = shown(values[section][name])
    return values


def _captions_table(counts: Counts) -> str:
    statuses = [status for status in CAPTION_STATUSES if any(s == status for _, s in counts.captions)]
    levels = [level for level in LEVELS if any(name == level for name, _ in counts.captions)]
    rows = [[level, *(f"{counts.captions[level, status]:,}" for status in statuses)] for level in levels]
    return _table(["captions", *statuses], rows) if rows else "It has no captions yet."


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(counts: Counter[str], most: int | None = None) -> str:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    told = [f"{name} ({count:,})" for name, count in ordered[:most]]
    if rest := ordered[len(told) :]:
        told.append(f"{len(rest):,} others ({sum(count for _, count in rest):,})")
    return ", ".join(told)


def _quoted(text: str) -> str:
    """A stranger's words in one line of Markdown, as they are: in a span of code nothing means anything."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(seen.replace("`", "'").replace("|", "/").split())
    line = line if len(line) <= LONGEST_LICENSE else f"{line[: LONGEST_LICENSE - 1]}…"
    return f"`{line}`" if line else ""

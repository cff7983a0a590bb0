"""What a dataset holds by now, in the lines that end a run; counted from the stages' tables."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from .backends.base import PROSE
from .captions.cost import spent_on
from .engine.commits import StageTable
from .ingest.current import clips
from .ingest.listing import UNREAD
from .ingest.stage import NOT_REACHED, sources
from .tables import CAPTION_STATUSES, CAPTIONS, FILTERED, MEDIA

FILES = ("report.html", "sheet.png", "clips.parquet", "captions.parquet", "README.md", "quarantine.jsonl")
MOST = 0.5  # share of clips out of domain, above which other backends are explained and not only named
REASONS = 3  # that are shown


@dataclass
class Summary:
    """Counts of a dataset."""

    files: Counter[str] = field(default_factory=Counter)  # by status of ingest
    reasons: Counter[str] = field(default_factory=Counter)  # why files are quarantined
    unreached: Counter[str] = field(default_factory=Counter)  # why files could not be fetched so far
    clips: int = 0
    filtered: Counter[str] = field(default_factory=Counter)  # clips, by status of filters
    rejects: Counter[str] = field(default_factory=Counter)  # clips, by the first reason
    captions: Counter[str] = field(default_factory=Counter)  # those that were written here, by status
    originals: int = 0
    captioned: int = 0  # clips for which something was written here
    out_of_domain: int = 0  # of those
    trainable: int = 0  # kept clips that have a caption to train on, a model's or one that came with the video
    unread: int = 0  # files of captions that cannot be read; their videos are taken without
    stale: int = 0  # files in media/ of clips that are not kept any more, or not in SOURCE
    cost: float = 0.0  # of all that was ever spent on the dataset
    seconds: dict[str, float] = field(default_factory=dict)  # of work, by stage


def summarise(dataset: Path) -> Summary:
    """Count what the stages have made so far."""
    found = Summary()
    for row in sources(dataset, ["status", "reason"]):
        if (row["reason"] or "").startswith(UNREAD):  # the video beside it has a row of its own
            found.unread += 1
            continue
        found.files[row["status"]] += 1
        if row["status"] != "ok":
            why = found.unreached if row["status"] == "unreached" else found.reasons
            why[(row["reason"] or "no reason").removeprefix(NOT_REACHED)] += 1
    said = {row["clip_id"]: bool(row["captions"]) for row in clips(dataset) if row["status"] != "quarantined"}
    found.clips, kept = len(said), set()
    for row in StageTable(dataset, "filters", FILTERED).rows(["clip_id", "status", "reject_reasons"]):
        found.filtered[row["status"]] += 1
        if row["status"] == "rejected":
            found.rejects.update(reason.split(":")[0] for reason in row["reject_reasons"] or ["?"])
        elif row["status"] == "kept":
            kept.add(row["clip_id"])
    good = _count_captions(found, dataset, said)
    found.trainable = sum(said.get(name, False) or name in good for name in kept)
    for row in StageTable(dataset, "media", MEDIA).rows(["clip_id", "path", "status"]):
        mine = row["status"] == "ok" and row["path"].startswith("media/") and row["clip_id"] not in kept
        found.stale += mine and (dataset / row["path"]).is_file()
    for folder in sorted((dataset / "stages").glob("*")):
        for record in StageTable(dataset, folder.name, pa.schema([])).records():
            found.cost += record.get("told", {}).get("cost", 0.0)
            found.seconds[folder.name] = found.seconds.get(folder.name, 0.0) + record.get("seconds", 0.0)
    found.cost = max(found.cost, spent_on(dataset))
    return found


def _count_captions(found: Summary, dataset: Path, said: Mapping[str, bool]) -> set[str]:
    """Count those of the clips that SOURCE holds now; returns the clips that a model described well."""
    checked = StageTable(dataset, "checks", CAPTIONS)
    table = checked if checked.parts() else StageTable(dataset, "captions", CAPTIONS)
    clips: dict[str, bool] = {}
    good = set()
    for row in table.rows(["clip_id", "level", "status"]):
        if row["clip_id"] not in said:
            continue
        if row["level"] == "original":
            found.originals += 1
            continue
        found.captions[row["status"]] += 1
        clips[row["clip_id"]] = clips.get(row["clip_id"], False) or row["status"] == "out_of_domain"
        if row["status"] == "success" and row["level"] in PROSE:
            good.add(row["clip_id"])
    found.captioned, found.out_of_domain = len(clips), sum(clips.values())
    return good


def lines(found: Summary, dataset: Path) -> list[str]:
    """The summary as text, and the files to look at."""
    out = []
    aside, later = found.files["quarantined"], found.files["unreached"]
    out.append(f"{_n(sum(found.files.values()), 'file')} found, {aside} set aside{_top(found.reasons)}")
    if later:
        out.append(f"{_n(later, 'file')} not reached, the next run tries again{_top(found.unreached)}")
    if found.unread:
        out.append(f"{_n(found.unread, 'file')} of captions cannot be read; the videos are taken without")
    if found.clips:
        out.append(f"{_n(found.clips, 'clip')}" + (_filtered(found) if found.filtered else ""))
    if found.captions or found.originals:
        written = [f"{found.captions[name]} {name}" for name in CAPTION_STATUSES if found.captions[name]]
        both = [*written, f"{found.originals} original"] if found.originals else written
        out.append(f"{_n(sum(found.captions.values()) + found.originals, 'caption')}: {', '.join(both)}")
    if found.captions or found.originals:
        out.append(f"{found.trainable} of {_n(found.clips, 'clip')} can be trained on")
    if found.stale:
        again = f"kinema caption --out {shlex.quote(str(dataset))} --redo media"
        out.append(f"{_n(found.stale, 'file')} in media/ of clips that are gone or rejected now: {again}")
    if found.cost:
        out.append(f"cost so far: {found.cost:.2f}")
    here = [str(dataset / name) for name in FILES if (dataset / name).is_file()]
    if here:
        out.append("look at " + ", ".join(here))
    return out


def other_backends(found: Summary, dataset: Path) -> list[str]:
    """What to do about clips that our captioner does not know; nothing if there are none."""
    if not found.out_of_domain:
        return []
    again = f"kinema caption --out {shlex.quote(str(dataset))} --redo captions"
    many = f"{found.out_of_domain} of {_n(found.captioned, 'clip')}"
    lie = "lies" if found.out_of_domain == 1 else "lie"
    if found.out_of_domain <= MOST * found.captioned:
        return [
            "",
            f"{many} {lie} outside of our captioner's world (out_of_domain: left out of training). For another",
            "captioner of all clips: --backend transformers, openai or open_clip, as in",
            f"  {again} --backend transformers --model Qwen/Qwen2.5-VL-3B-Instruct",
        ]
    return [
        "",
        f"{many} {lie} outside of what our captioner was trained on: Diorama, the built-in world. What it",
        "says of them is not to be trusted; it is marked out_of_domain and left out of training. Give such videos",
        "another captioner, one of these; clips and scores are kept:",
        f"  {again} --backend transformers --model Qwen/Qwen2.5-VL-3B-Instruct",
        "      (on this machine, best with a GPU; any image-text-to-text model of the hub, or a folder)",
        f"  {again} --base-url http://localhost:8000/v1 --model NAME",
        "      (any OpenAI-compatible endpoint: vLLM, SGLang, Ollama, hosted)",
        f"  {again} --backend open_clip --model coca_ViT-L-14:mscoco_finetuned_laion2b_s13b_b90k",
        "      (open_clip CoCa: short captions only)",
    ]


def _filtered(found: Summary) -> str:
    return f": {found.filtered['kept']} kept, {found.filtered['rejected']} rejected{_top(found.rejects)}" + (
        f", {found.filtered['quarantined']} unreadable" if found.filtered["quarantined"] else ""
    )


def _top(reasons: "Counter[str]") -> str:
    """The most common reasons, in brackets."""
    if not reasons:
        return ""
    shown = [f"{_short(reason)} {count}" if count > 1 else _short(reason) for reason, count in _first(reasons)]
    return f" ({'; '.join(shown)}{'; …' if len(reasons) > REASONS else ''})"


def _first(reasons: "Counter[str]") -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda each: (-each[1], each[0]))[:REASONS]


def _short(text: str) -> str:
    return text if len(text) <= 90 else text[:89] + "…"


def _n(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"

"""What the captioner's training knows of its corpus besides the clips: captions, words, facts."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import torch

from ..configs.schema import DataConfig
from ..data.manifest import captions_of


def some_captions(data: DataConfig, dataset: Any, clips: int) -> list[str]:
    """Captions at all levels, and facts, of up to `clips` clips, in order; without rendering or decoding them."""
    count = min(clips, len(dataset))
    if hasattr(dataset, "describe"):  # Diorama, rendered on demand or before
        described = [dataset.describe(i) for i in range(count)]
        found = [each["captions"] | {"facts": fact_text(each["scene"])} for each in described]
    else:
        rows = dataset.rows[:count]
        found = [captions_of(row) | {"facts": fact_text(row.get("scene") or "")} for row in rows]
    return [text for each in found for text in each.values() if text]


def known_words(data: DataConfig, texts: Iterable[str]) -> list[str] | None:
    """The closed vocabulary of a Diorama corpus: its words that the texts use. None for any other corpus."""
    if data.source != "diorama":
        return None
    from ..data.diorama import VOCABULARY

    used = set(re.findall(r"[a-z]+", " ".join(texts).lower()))
    return sorted(used.intersection(VOCABULARY))


def facts_of(scene: str) -> dict[str, Any] | None:
    """The facts of a clip item's scene, or None where it has none (clips not made by Diorama)."""
    if not scene:
        return None
    from ..data.diorama import Scene, facts

    return facts(Scene.from_json(scene))


def fact_text(scene: str) -> str:
    """The facts of a clip item's scene in few words, each of which tells something; "" where it has none."""
    found = facts_of(scene)
    if found is None:
        return ""
    things = [f"{thing['colour']} {thing['object']} {thing['motion']}".strip() for thing in found["objects"]]
    things[0] += f" {found['direction']}" if found["direction"] else ""
    words = [*things, found["floor"], found["time_of_day"], f"camera {found['camera']}"]
    return ", ".join(word for word in words if word).replace("_", " ")


def fact_keys(scenes: Iterable[str]) -> torch.Tensor:
    """A 63-bit number for each scene (B,), equal where all facts are; 0 where there are no facts."""
    keys = []
    for scene in scenes:
        found = facts_of(scene)
        text = json.dumps(found, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        keys.append(0 if found is None else int.from_bytes(digest, "big") >> 1)
    return torch.tensor(keys, dtype=torch.int64)

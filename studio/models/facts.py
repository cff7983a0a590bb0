"""Facts of a checkpoint from its small files: sizes, strides, words, examples; no weights, no torch."""

import json
from collections.abc import Mapping
from fractions import Fraction
from math import log
from pathlib import Path
from typing import Any

import yaml

from ...pipeline.checkpoint import CheckpointError, default_checkpoint, download_model

FACTS = ("*.json", "README.md", "*.yaml")  # of a hub model: what the server reads; a worker fetches the weights
COMMON = ((1, 1), (16, 9), (9, 16), (4, 3), (3, 4))  # aspects that people ask for
LIVE, FRAMES, TOKEN = 8, 7, 24  # so that the packaged checkpoint's measured peaks are met, see `values_of`
IN_PARTS = ("AutoencoderKLWan", "AutoencoderKLCogVideoX", "AutoencoderKLMochi")
PARTS = 2  # one that is decoded, and what is kept of the one before
CLOSE = 0.1  # how far an aspect may be off and still have a common one's name


def facts_folder(model: str | None) -> Path:
    """A folder with at least the small files of a model.

    Raises:
        CheckpointError: there is no such model.
    """
    if model is None:
        return default_checkpoint()
    folder = Path(model).expanduser()
    return folder if folder.is_dir() else download_model(model, allow_patterns=list(FACTS))


def read_index(folder: Path) -> dict[str, Any]:
    """A pipeline's model_index.json.

    Raises:
        CheckpointError: it is missing, or no JSON.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no model_index.json, so it is not a saved pipeline")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error})") from None


def read_config(folder: Path, part: str) -> dict[str, Any]:
    """A component's config.json; {}: it has none."""
    path = folder / part / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def strides(vae: Mapping[str, Any]) -> tuple[int, int]:
    """Pixels a latent cell's side, and frames a latent frame, of an autoencoder's config."""
    if "temporal_stride" in vae:  # ours
        return vae["patch_size"] * 2 ** (len(vae["block_channels"]) - 1), vae["temporal_stride"]
    if "spatio_temporal_scaling" in vae:  # LTX
        halved = 2 ** sum(map(bool, vae["spatio_temporal_scaling"]))
        return vae.get("patch_size", 4) * halved, vae.get("patch_size_t", 1) * halved
    if "temperal_downsample" in vae:  # Wan, whose configs spell it so
        levels = len(vae["temperal_downsample"])
        spatial = vae.get("scale_factor_spatial") or (vae.get("patch_size") or 1) * 2**levels
        return spatial, vae.get("scale_factor_temporal") or 2 ** sum(map(bool, vae["temperal_downsample"]))
    levels = len(vae.get("block_out_channels", (1,) * 4)) - 1
    return vae.get("spatial_compression_ratio") or 2**levels, int(vae.get("temporal_compression_ratio") or 1)


def values_of(vae: Mapping[str, Any], transformer: Mapping[str, Any]) -> tuple[float, float]:
    """Numbers that are in memory at the peak of making a video: a pixel of a frame, and a pixel and frame.

    Reckoned: the peak is in the decoder, where at its widest `LIVE` maps of its last width are there together, and
    `FRAMES` copies of the colours; the denoiser has `TOKEN` maps of its own width. Decoders that go through a
    video part by part hold one part and what the next needs of it, whatever the length.
    """
    spatial, temporal = strides(vae)
    names = "block_channels", "decoder_base_dim", "base_dim", "decoder_block_out_channels", "block_out_channels"
    widths = [vae.get(name) for name in names]
    width = next((each if isinstance(each, int) else min(each) for each in widths if each), 128)
    patch = vae.get("patch_size") or 1
    maps = LIVE * width / (patch * patch if isinstance(patch, int) else 1)
    heads = transformer.get("num_attention_heads")
    inner = heads * transformer.get("attention_head_dim", 64) if isinstance(heads, int) else 2048
    size = transformer.get("patch_size", 2)
    cells = size * size if isinstance(size, int) else size[-1] * size[-2]
    tokens = TOKEN * inner / (spatial * spatial * temporal * cells)
    if vae.get("_class_name") in IN_PARTS:
        return PARTS * temporal * maps, 3 * FRAMES + tokens
    return 0.0, 3 * FRAMES + tokens + maps


def aspects_of(
    width: int, height: int, multiple: int, trained: tuple[tuple[int, int], ...] = ()
) -> tuple[tuple[str, int, int], ...]:
    """Sizes to choose from: its own, those it was trained at, and the common aspects near its own area.

    A common aspect is left out where no size on the grid comes within `CLOSE` of it, and where one of that shape
    is there already.
    """
    sizes = [(width, height), *trained]
    for across, down in COMMON:
        ratio, area = across / down, width * height
        sides = [multiple * rows for rows in range(1, 2 + int(2 * (area / ratio) ** 0.5 / multiple))]
        near = [(max(multiple, multiple * round(side * ratio / multiple)), side) for side in sides]
        near = [(w, h) for w, h in near if abs(w / h / ratio - 1) <= CLOSE and 0.6 <= w * h / area <= 1.6]
        if near and all(abs(w / h / ratio - 1) > CLOSE for w, h in sizes):
            sizes.append(min(near, key=lambda each: _misfit(*each, ratio, area)))
    return tuple((aspect_name(w, h), w, h) for w, h in dict.fromkeys(sizes))


def _misfit(width: int, height: int, ratio: float, area: int) -> float:
    return abs(log(width / height / ratio)) + abs(log(width * height / area)) / 8


def aspect_name(width: int, height: int) -> str:
    """ "1:1 square", "5:3 wide", "9:16 tall": exact where the terms are small, else a common one that is near."""
    ratio = Fraction(width, height)
    terms = ratio.numerator, ratio.denominator
    if max(terms) > 5:
        off = {each: abs(log(each[0] / each[1] / ratio)) for each in COMMON}  # of wide and tall alike
        near = min(off, key=lambda each: off[each])
        terms = near if off[near] <= log(1 + CLOSE / 2) else terms
    shape = "square" if width == height else "wide" if width > height else "tall"
    return f"{terms[0]}:{terms[1]} {shape}"


def read_examples(folder: Path) -> tuple[str, ...]:
    """The prompts of a model card's `widget` list, as the hub knows it; (): it has none."""
    card = folder / "README.md"
    parts = card.read_text(encoding="utf-8").split("---\n", 2) if card.is_file() else []
    if len(parts) < 3 or parts[0].strip():
        return ()
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError:  # a stranger's card is no reason not to serve the model
        return ()
    widget = head.get("widget") if isinstance(head, dict) else None
    entries = widget if isinstance(widget, list) else []
    return tuple(str(each["text"]) for each in entries if isinstance(each, dict) and each.get("text"))


def weights_of(folder: Path, index: Mapping[str, Any]) -> int | None:
    """Bytes of the weights that a pipeline loads, as its files have them; None: they are not here."""
    total = 0
    for part, entry in index.items():
        if isinstance(entry, list) and entry[0] is not None:
            files = [*(folder / part).rglob("*.safetensors")] or [*(folder / part).rglob("*.bin")]
            total += sum(path.stat().st_size for path in files)
    return total or None


def trained_sizes(folder: Path) -> tuple[tuple[int, int], ...]:
    """(width, height) of the clips that a recipe says it was trained on; (): there is none."""
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    buckets = ((recipe or {}).get("data") or {}).get("buckets") or ()
    return tuple(dict.fromkeys((width, height) for _, height, width in buckets))


def read_vocabulary(folder: Path) -> tuple[str, ...]:
    """The words of a conditioner; (): one of its members may know any."""
    config = json.loads(path.read_text(encoding="utf-8")) if (path := folder / "config.json").is_file() else {}
    if "classes" in config:  # joined: a word is unknown if it is so to every member
        members = [read_vocabulary(folder / str(number)) for number in range(len(config["classes"]))]
        return tuple(sorted({word for words in members for word in words})) if all(members) else ()
    return tuple(config.get("vocabulary") or ())

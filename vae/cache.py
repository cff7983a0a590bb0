"""Latents encoded once and kept in shards, so that training a denoiser pays for the autoencoder only once.

A cache is a folder:

    cache.json                     which autoencoder and which data it was made from, and how many clips
    latents-00000.safetensors      normalised latents (C, F, h, w) by dataset index, memory-mapped when read
    latents-00000.parquet          one row a clip: index, id, scene, fps, captions; written after its shard

With `contexts` each clip's shard also holds parts of it encoded as the pipeline encodes known frames (context.py),
as "INDEX.suffix" and "INDEX.stills".

A shard counts once both its files exist, and each appears whole or not at all, so a killed run loses at most the
shard it was on and the same call goes on. Ranks of a distributed run take shards in turn.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from pydantic import BaseModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from ..data.clips import ClipDataset
from ..data.diorama import DioramaDataset
from ..data.files import atomic_path
from ..data.manifest import captions_of
from ..data.pixels import to_pixels
from .context import encode_contexts
from .latents import encode_latents
from .preview import CONFIG_KEYS as PREVIEW_KEYS

# Settings of the data section that change neither the clips nor their order.
_FREE_KEYS = ("num_workers", "caption_mix", "original_captions", "out_of_domain", "repeats")
_ROW = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("scene", pa.string()),
        ("fps", pa.float64()),
        ("captions", pa.string()),  # JSON
        ("timed_captions", pa.string()),  # JSON
        ("suffix_start", pa.int64()),  # 0: no contexts
        ("still_frames", pa.list_(pa.int64())),
    ]
)


class LatentCacheError(RuntimeError):
    """A cache that cannot be used; the message says what it holds, what was asked for and what to do."""


def cache_latents(
    vae: Any,
    dataset: Any,
    out: str | Path,
    *,
    data: BaseModel | Mapping[str, Any] | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    dtype: torch.dtype = torch.float16,
    shard_size: int = 512,
    device: torch.device | str | None = None,
    progress: bool = True,
    stop: Callable[[], bool] | None = None,
    contexts: bool = False,
) -> bool:
    """Encode every clip of a dataset into `out`, or go on with a cache begun there.

    Args:
        vae: any autoencoder that `encode_latents` takes; the posterior's mean is kept.
        dataset: clip items by index; neighbours of one shape are encoded together.
        data: the configuration section that the dataset was made from; another one is then refused.
        batch_size: clips per forward.
        num_workers: processes that load clips.
        dtype: of the stored latents.
        shard_size: clips a shard.
        device: where to encode; None: where the autoencoder is.
        progress: show a bar with the time left.
        stop: asked after each shard; True ends early, and the same call goes on later.
        contexts: also keep parts of each clip encoded as known frames are.

    Returns:
        Whether all clips are encoded.

    Raises:
        LatentCacheError: `out` holds a cache of another autoencoder, data, type or shard size; a clip encodes to
            values that are not finite; the disk is full.
    """
    out = Path(out)
    state = PartialState()
    where = vae.device if device is None else torch.device(device)
    record = {
        "vae": vae_fingerprint(vae),
        "data": _data_record(data),
        "num_clips": len(dataset),
        "compute": str(_compute_dtype(vae, where)).removeprefix("torch."),
        "dtype": str(dtype).removeprefix("torch."),
        "shard_size": shard_size,
        "contexts": contexts,
    }
    if (out / "cache.json").is_file():
        _check_same(out, {"contexts": False} | _read_record(out), record)  # older caches do not say
    elif state.is_main_process:
        with atomic_path(out / "cache.json") as path:
            path.write_text(json.dumps(record, indent=2))
    if state.is_main_process:
        for killed in out.glob(".latents-*.part.*"):
            killed.unlink()
    state.wait_for_everyone()
    shards = range(-(-len(dataset) // shard_size))
    # Dealt out before looking, since ranks may look at different times.
    missing = [s for s in shards[state.process_index :: state.num_processes] if not _is_complete(out, s)]
    vae = vae.to(where).eval()
    total = sum(min(shard_size, len(dataset) - shard * shard_size) for shard in missing)
    bar = tqdm(total=total, desc="encode clips", unit="clip", disable=not (progress and state.is_main_process))
    with bar:
        for shard in missing:
            clips = Subset(dataset, range(shard * shard_size, min((shard + 1) * shard_size, len(dataset))))
            _write_shard(vae, clips, out, shard, batch_size, num_workers, dtype, where, bar, contexts)
            if stop is not None and stop():
                break
    state.wait_for_everyone()
    return all(_is_complete(out, shard) for shard in shards)


def _compute_dtype(vae: Any, device: torch.device) -> torch.dtype:
    """The precision of the encoder's matrix products: that of a caller's autocast, else its own."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else vae.dtype


@torch.no_grad()
def _write_shard(
    vae: Any,
    clips: Subset,
    out: Path,
    shard: int,
    batch_size: int,
    num_workers: int,
    dtype: torch.dtype,
    device: torch.device,
    bar: tqdm,
    contexts: bool,
) -> None:
    tensors: dict[str, torch.Tensor] = {}
    rows: list[dict[str, Any]] = []
    for items in DataLoader(clips, batch_size, num_workers=num_workers, collate_fn=list):  # type: ignore[arg-type]
        for group in _of_one_shape(items):
            pixels = to_pixels(torch.stack([item["pixel_values"] for item in group]).to(device))
            for item, clip, latents in zip(group, pixels, encode_latents(vae, pixels)):
                if not latents.isfinite().all():
                    raise LatentCacheError(
                        f"clip {item['id']!r} (index {item['index']}) encodes to values that are not finite; "
                        "check the clip, or encode with weights in float32 or bfloat16. Finished shards are kept"
                    )
                index = int(item["index"])
                tensors[str(index)] = latents.to(dtype).cpu().contiguous()
                row = {
                    "index": index,
                    "id": item["id"],
                    "scene": item["scene"],
                    "fps": float(item["fps"]),
                    "captions": json.dumps(item["captions"]),
                    "timed_captions": json.dumps(item.get("timed_captions", [])),
                    "suffix_start": 0,
                    "still_frames": [],
                }
                context = encode_contexts(vae, clip, latents, index) if contexts else None
                if context:
                    tensors[f"{index}.suffix"] = context.suffix.to(dtype).cpu().contiguous()
                    tensors[f"{index}.stills"] = context.stills.to(dtype).cpu().contiguous()
                    row |= {"suffix_start": context.suffix_start, "still_frames": list(context.still_frames)}
                rows.append(row)
        bar.update(len(items))
    rows.sort(key=lambda row: row["index"])
    try:
        with atomic_path(_shard_path(out, shard, "safetensors")) as path:
            save_file(tensors, path)
        with atomic_path(_shard_path(out, shard, "parquet")) as path:
            pq.write_table(pa.Table.from_pylist(rows, _ROW), path)
    except OSError as error:
        raise LatentCacheError(
            f"could not write shard {shard} of {out}: {error}. Finished shards are kept; free some space and "
            "repeat the same command to go on"
        ) from error


class LatentDataset(Dataset):
    """A finished cache as a dataset of items {"id", "index", "latents", "captions", "timed_captions", "fps",
    "scene"}.

    With contexts they also have "suffix", "suffix_start", "stills" and "still_frames" (see `context.Contexts`).
    "latents" are float32 (C, F, h, w), normalised, read from a memory map: opening costs nothing, and processes
    share what the system keeps in memory.

    Args:
        path: the folder that `cache_latents` wrote.
        vae: if given, the cache must come from these very weights.
        data: if given, the cache must come from this configuration section.
        clips: if given, the dataset that was encoded; what its table says of captions now, which may have been
            edited since, goes before what it said then.

    Raises:
        LatentCacheError: no cache there, an unfinished one, or one of another autoencoder or data.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        vae: Any | None = None,
        data: BaseModel | Mapping[str, Any] | None = None,
        clips: Any | None = None,
    ) -> None:
        self.path = Path(path)
        self.record = _read_record(self.path)
        wanted = {} if vae is None else {"vae": vae_fingerprint(vae)}
        wanted |= {} if data is None else {"data": _data_record(data)}
        _check_same(self.path, self.record, wanted)
        shards = range(-(-self.record["num_clips"] // self.record["shard_size"]))
        missing = [shard for shard in shards if not _is_complete(self.path, shard)]
        if missing:
            raise LatentCacheError(
                f"{self.path} is unfinished: {len(missing)} of {len(shards)} shards are missing. Repeat the "
                "command that made it to go on"
            )
        tables = [pq.read_table(_shard_path(self.path, shard, "parquet")) for shard in shards]
        self.rows = pa.concat_tables(tables) if tables else pa.table({})
        self._files: dict[int, Any] = {}
        self._captions: Sequence[dict[str, str]] | None = None
        if isinstance(clips, ClipDataset):
            self._captions = self._captions_now(clips.rows)
        elif isinstance(clips, DioramaDataset):
            self._captions = [clips.captions(index) for index in range(len(self))]

    def _captions_now(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """The captions of the cached clips, which must be those of `rows`."""
        by_id = {row["id"]: row for row in rows}
        ids = self.rows["id"].to_pylist() if len(self) else []
        # A damaged clip's place was taken by another's latents, which goes by its own id.
        own = [row if row["id"] == id_ else by_id.get(id_) for id_, row in zip(ids, rows)]
        other = next((id_ for id_, row in zip(ids, own) if row is None), None)
        if other is not None:
            raise LatentCacheError(
                f"{self.path} holds latents of clips that the source no longer has, such as {other!r}; make a new "
                "cache in another folder"
            )
        return [captions_of(row) for row in own if row is not None]

    @cached_property
    def bucket_of(self) -> list[int]:
        """For each clip, a number that clips of the same shape share; read from the shards' headers."""
        numbers: dict[tuple[int, ...], int] = {}
        found: list[int] = []
        for index in range(len(self)):
            shape = tuple(self._shard_of(index).get_slice(str(index)).get_shape())
            found.append(numbers.setdefault(shape, len(numbers)))
        return found

    def _shard_of(self, index: int) -> Any:
        shard = index // self.record["shard_size"]
        if shard not in self._files:
            self._files[shard] = safe_open(_shard_path(self.path, shard, "safetensors"), "pt")
        return self._files[shard]

    def __len__(self) -> int:
        return self.record["num_clips"]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index}; the cache {self.path} holds clips 0 to {len(self) - 1}")
        row = self.rows.slice(index, 1).to_pylist()[0]
        row |= {name: json.loads(row.get(name) or "[]") for name in ("captions", "timed_captions")}
        if self._captions is not None:
            row["captions"] = self._captions[index]
        file = self._shard_of(index)
        names = {"latents": str(row["index"])}
        if row.get("suffix_start"):
            names |= {name: f"{row['index']}.{name}" for name in ("suffix", "stills")}
        else:
            row = {key: value for key, value in row.items() if key not in ("suffix_start", "still_frames")}
        return row | {name: file.get_tensor(key).float() for name, key in names.items()}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}  # a loader's process opens its own


def vae_fingerprint(vae: Any) -> str:
    """A hash of an autoencoder's class, configuration and weights (bf16 weights are other weights).

    The preview's numbers are left out: latents do not depend on them.
    """
    digest = hashlib.sha256(type(vae).__name__.encode())
    config = {k: v for k, v in dict(vae.config).items() if not k.startswith("_") and k not in PREVIEW_KEYS}
    digest.update(json.dumps(config, sort_keys=True, default=list).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _data_record(data: BaseModel | Mapping[str, Any] | None) -> dict[str, Any] | None:
    if data is None:
        return None
    values = data.model_dump(mode="json") if isinstance(data, BaseModel) else json.loads(json.dumps(dict(data)))
    return {key: value for key, value in values.items() if key not in _FREE_KEYS}


def _read_record(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / "cache.json").read_text())
    except FileNotFoundError:
        raise LatentCacheError(
            f"{path} holds no latent cache (cache.json is missing); make one with kinema.vae.cache.cache_latents"
        ) from None


def _check_same(path: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    changed = []
    for key, value in wanted.items():
        before = there.get(key)
        if before == value:
            continue
        if key == "data" and before and value:
            keys = sorted({*before, *value})
            changed += [
                f"data.{k}: {before.get(k)} there, {value.get(k)} now"
                for k in keys
                if before.get(k) != value.get(k)
            ]
        elif key == "vae":
            changed.append(f"another autoencoder: weights {before} there, {value} now")
        else:
            changed.append(f"{key}: {before} there, {value} now")
    if changed:
        raise LatentCacheError(
            f"{path} holds a latent cache made otherwise ({'; '.join(changed)}). Use what it was made with, or "
            "make a new cache in another folder"
        )


def _of_one_shape(items: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[torch.Size, list[dict[str, Any]]] = {}
    for item in items:
        groups.setdefault(item["pixel_values"].shape, []).append(item)
    return list(groups.values())


def _shard_path(out: Path, shard: int, suffix: str) -> Path:
    return out / f"latents-{shard:05d}.{suffix}"


def _is_complete(out: Path, shard: int) -> bool:
    return all(_shard_path(out, shard, suffix).is_file() for suffix in ("safetensors", "parquet"))

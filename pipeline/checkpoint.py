"""Where a checkpoint lies: the packaged one, a folder, or a hub id. Checked before any weights are read."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

DEFAULT_FOLDER = Path(__file__).parent / "default"
REINSTALL = "in a fresh clone of Kinema: pip install --force-reinstall --no-deps ."
WEIGHTS = (".safetensors", ".bin")  # .bin: what diffusers writes with safe_serialization=False


class CheckpointError(OSError):
    """A checkpoint that is missing, incomplete or of another pipeline; the message gives the next step."""


def default_checkpoint() -> Path:
    """The folder of the packaged checkpoint.

    Raises:
        CheckpointError: it is missing or incomplete.
    """
    try:
        check_checkpoint(DEFAULT_FOLDER)
    except CheckpointError as error:
        raise CheckpointError(
            f"the packaged checkpoint cannot be used: {error}. Install Kinema anew ({REINSTALL}), or give a model "
            "of your own (--model DIR, KinemaPipeline.from_pretrained(DIR)); `kinema speedrun` trains one"
        ) from None
    return DEFAULT_FOLDER


def find_checkpoint(name: str | Path | None = None, given: Collection[str] = (), **download: Any) -> Path:
    """The local folder of a checkpoint, downloaded first if it is a hub id.

    Args:
        name: a folder, a hub id ("owner/model"), or None for the packaged checkpoint.
        given: components that the caller brings, so that the folder may lack them.
        download: revision, token, cache_dir, local_files_only, force_download of
            `huggingface_hub.snapshot_download`.

    Raises:
        CheckpointError: nothing of that name here or on the hub, or what is there is no Kinema checkpoint.
    """
    if name is None:
        return default_checkpoint()
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = download_model(str(name), **download)
    check_checkpoint(folder, given)
    return folder


def check_checkpoint(folder: Path, given: Collection[str] = ()) -> None:
    """Raise a CheckpointError unless a folder holds a whole Kinema pipeline, but for the components given."""
    index = folder / "model_index.json"
    if not folder.is_dir():
        raise CheckpointError(f"{folder} does not exist")
    if not index.is_file():
        raise CheckpointError(f"{folder} has no model_index.json, so it is not a saved pipeline")
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{index} is not JSON ({error})") from None
    kind = entries.get("_class_name")
    if kind != "KinemaPipeline":
        raise CheckpointError(
            f"{folder} holds a {kind}, not a KinemaPipeline; diffusers.DiffusionPipeline loads it. Its "
            "autoencoder alone can serve a Kinema model: KinemaPipeline.from_pretrained(…, vae=…)"
        )
    missing = missing_files(folder, {name: entry for name, entry in entries.items() if name not in given})
    if missing:
        raise CheckpointError(f"{folder} is incomplete: it lacks {', '.join(missing)}")


def missing_files(folder: Path, index: dict[str, Any]) -> list[str]:
    """What the components named in model_index.json lack: a config, weights, or some of their shards."""
    missing = []
    for name, entry in index.items():
        if not isinstance(entry, list) or entry[0] is None:
            continue
        files = [path.name for path in (folder / name).rglob("*") if path.is_file() and path.stat().st_size]
        if not any(file.endswith("config.json") for file in files):
            missing.append(f"{name}/*config.json")
        if "scheduler" not in name and not any(file.endswith(WEIGHTS) for file in files):
            missing.append(f"{name}/*.safetensors")
        weights = sorted((folder / name).rglob("*.safetensors"))
        missing += [f"the end of {name}/{path.name}" for path in weights if _is_cut(path)]
        for table in (folder / name).rglob("*.safetensors.index.json"):
            shards = set(json.loads(table.read_text(encoding="utf-8"))["weight_map"].values())
            missing += [f"{name}/{shard}" for shard in sorted(shards) if not (table.parent / shard).is_file()]
    return missing


def _is_cut(path: Path) -> bool:
    """Whether a safetensors file is shorter than its own header says."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > path.stat().st_size - 8:
            return True
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return path.stat().st_size < 8 + length + max(ends, default=0)


def download_model(name: str, **options: Any) -> Path:
    """The folder of a hub model.

    Args:
        name: its id.
        options: of `huggingface_hub.snapshot_download`.

    Raises:
        CheckpointError: it is no hub id, or the hub gives no model of that name.
    """
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"there is no folder {name!r}, and a hub id looks like owner/model")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, **options))
    except HFValidationError:
        raise CheckpointError(f"there is no folder {name!r}, and it is no hub id (owner/model)") from None
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise CheckpointError(
            f"there is no folder {name!r}, no downloaded copy of a hub model of that name, and the hub cannot be "
            f"reached ({type(error).__name__}); check the spelling and the network"
        ) from error
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"there is no folder {name!r}, and the hub does not give a model of that name: "
            f"{error}; check the spelling, or log in with `hf auth login` if it is private"
        ) from error

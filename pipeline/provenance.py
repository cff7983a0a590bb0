"""How a video was made: written into its file, printed by `kinema info`, and turned back into a command."""

import hashlib
import json
import platform
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .again import Asked, asked_again

if TYPE_CHECKING:
    import torch

KEY = "kinema"  # the metadata entry that holds the provenance as JSON


@dataclass(frozen=True)
class Provenance:
    """Everything that decided one video. No date: the same command gives the same file, byte for byte.

    Attributes:
        prompt: text, or the texts of a storyboard joined by " | "; empty if embeddings were given.
        seed: the video's own; None if its noise cannot be drawn again from a number.
        model: folder or hub id the pipeline was loaded from; "default": the packaged checkpoint; None: built in
            Python.
        fingerprint: of the weights, see `fingerprint`; None if they could not be read.
        batch_size, batch_index: the batch it was made in; alone, the last bits may differ.
        by_hand: what was given in Python and the command line cannot give.
        task: what the call was: "generate" for a text alone, or such as "extend" and "inpaint".
        settings: of the task; given files by the names that the caller used, and other simple values.
        interrupted_after: steps after which it was interrupted; None: it was not.
    """

    prompt: str
    negative_prompt: str
    seed: int | None
    height: int
    width: int
    num_frames: int
    frame_rate: float
    num_inference_steps: int
    guidance_scale: float
    guidance: str
    guidance_interval: tuple[float, float]
    scheduler: str
    model: str | None
    fingerprint: str | None
    dtype: str
    device: str
    device_name: str
    threads: int
    matmul_precision: str
    batch_size: int
    batch_index: int
    by_hand: tuple[str, ...]
    kinema: str
    torch: str
    diffusers: str
    task: str = "generate"
    settings: Mapping[str, Any] = field(default_factory=dict)
    lora: tuple[str, ...] = ()
    interrupted_after: int | None = None

    def to_metadata(self) -> dict[str, str]:
        """The entries to write into a file."""
        entries = {KEY: json.dumps(asdict(self), ensure_ascii=False), "title": self.prompt.replace("\0", " ")}
        return {name: text for name, text in entries.items() if text}

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Read it back; fields of newer versions are left out.

        Raises:
            ValueError: not JSON, or a field is missing.
        """
        values = json.loads(text)
        names = {one.name for one in fields(cls)}
        missing = {one.name for one in fields(cls) if one.default_factory is MISSING and one.default is MISSING}
        missing -= set(values)
        if missing:
            raise ValueError(f"its provenance lacks {', '.join(sorted(missing))}")
        known: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in names
        }
        return cls(**known)

    def as_command(self, output: str) -> tuple[str, list[str]]:
        """The shell command that makes the video again, and what it cannot promise.

        Args:
            output: the file the command writes.
        """
        asked = self._asked()
        dashed = any(word.startswith("-") for word in asked.positionals)
        words: list[Any] = ["kinema", asked.verb, *([] if dashed else asked.positionals), "-o", output]
        words += ["--seed", self.seed] if self.seed is not None else []
        words += [f"--negative={self.negative_prompt}"] if self.negative_prompt else []
        words += ["--steps", self.num_inference_steps, "--guidance", self.guidance_scale]
        words += ["--height", self.height, "--width", self.width] if asked.sized else []
        words += ["--frames", asked.num_frames] if asked.num_frames is not None else []
        words += ["--fps", self.frame_rate, *asked.options]
        words += ["--model", self.model] if self.model not in (None, "default") else []
        words += [f"--lora={one}" for one in self.lora]
        words += ["--device", self.device, "--dtype", self.dtype]
        words += ["--", *asked.positionals] if dashed else []
        return shlex.join(map(str, words)), list(self._doubts())

    def _asked(self) -> Asked:
        """The task in the words of the command line; that of the text alone for one that no command does."""
        facts = self.prompt, self.num_frames, self.frame_rate
        asked = asked_again(self.task, self.settings, *facts) or asked_again("generate", {}, *facts)
        assert asked is not None
        return asked

    def _doubts(self) -> Iterable[str]:
        if self.seed is None:
            yield "its noise was not drawn from a seed, so the command makes another video"
        if self.model is None:
            yield "its model was built in Python and not loaded from a folder; give the folder with --model"
        asked = asked_again(self.task, self.settings, self.prompt, self.num_frames, self.frame_rate)
        if asked is None:
            said = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None)
            yield f"it was made by the task {self.task} ({said}), which the command does not give"
        else:
            yield from asked.doubts
            for file in asked.files:
                yield _of_studio(file) or f"it was made from {file}, which is not here"
        if self.interrupted_after is not None:
            yield f"it was interrupted after {self.interrupted_after} steps, and the command takes all of them"
        if self.by_hand:
            yield f"it was made in Python with {', '.join(self.by_hand)}, which the command does not give"
        if self.batch_size > 1:
            yield f"it was made in a batch of {self.batch_size}; alone, its last bits may differ"
        if self.matmul_precision != "highest":
            yield f"it was made with float32 matmul precision {self.matmul_precision}; its last bits may differ"
        from kinema import __version__

        versions = {"kinema": __version__, "torch": version("torch"), "diffusers": version("diffusers")}
        for name, here in versions.items():
            before, now = getattr(self, name).split("+")[0], here.split("+")[0]
            if before != now:
                yield f"it was made with {name} {before} and here is {now}; its last bits may differ"


def _of_studio(file: str) -> str:
    """How to get a file whose name only a studio knows; "": it is a name like others."""
    kind, _, digits = file.partition("_")
    if kind not in ("video", "upload") or not re.fullmatch("[0-9a-f]{32}", digits):
        return ""
    if kind == "upload":
        return (
            f"{file} is what the studio calls a file that was given to it; write that file's name, or that "
            f"of the one in its folder uploads/{file}"
        )
    return (
        f"{file} is what the studio calls the video it was made from; download that in its Library and write the "
        f"file's name instead, or that of the one in its folder results/{file}: exact.mp4, or else video.mp4"
    )


def describe(
    pipe: Any,
    *,
    prompts: Sequence[str],
    negative_prompts: Sequence[str],
    seeds: Sequence[int | None],
    **common: Any,
) -> list[Provenance]:
    """The provenance of each video of a batch.

    Args:
        pipe: the pipeline that made them.
        prompts, negative_prompts, seeds: one per video.
        common: the remaining fields that a call decides.
    """
    import diffusers
    import torch

    from kinema import __version__

    adapters, others = pipe.applied_adapters()
    if others:
        common["by_hand"] = (*common["by_hand"], "LoRA weights")
    modules = [pipe.transformer, pipe.vae, *([] if pipe.text_encoder is None else [pipe.text_encoder])]
    device = pipe._execution_device
    run = {
        "scheduler": type(pipe.scheduler).__name__,
        "model": pipe.config.get("_name_or_path"),
        "fingerprint": fingerprint(modules),
        "dtype": str(pipe.transformer.dtype).removeprefix("torch."),
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "batch_size": len(prompts),
        "kinema": __version__,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "lora": adapters,
        **common,
    }
    return [
        Provenance(prompt=prompt, negative_prompt=negative, seed=seed, batch_index=index, **run)
        for index, (prompt, negative, seed) in enumerate(zip(prompts, negative_prompts, seeds))
    ]


def read_provenance(path: str | Path) -> Provenance:
    """The provenance of a video or picture made by Kinema.

    Raises:
        ValueError: the file carries none.
        OSError: it cannot be read; for videos a `kinema.data.video_io.VideoError`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix.lower() in (".png", ".gif"):
        from PIL import Image

        with Image.open(path) as picture:
            text = picture.info.get(KEY) or picture.info.get("comment", b"")
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
    else:
        from ..data.video_io import read_metadata

        text = read_metadata(path).get(KEY, "")
    if not text:
        raise ValueError(f"{path} does not say how it was made: it was not made by Kinema, or was re-encoded")
    try:
        return Provenance.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def fingerprint(modules: Iterable["torch.nn.Module"]) -> str | None:
    """16 hex digits that change with the weights: SHA-256 of every tensor's name, shape and up to 64 values.

    Returns None if weights are not in memory (sequential offloading keeps them elsewhere).
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            if tensor.is_meta:
                return None
            flat = tensor.detach().flatten()
            sample = flat[:: max(1, flat.numel() // 64)].float().cpu()
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def device_name(device: "torch.device") -> str:
    """What the device is, as far as the last bits of a result depend on it."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return platform.machine()

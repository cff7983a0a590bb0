"""Low-rank adapters of a trained denoiser: which layers they change, how they are kept and what is saved.

    kinema train dit --lora rank=16 --from default --out RUN data.source=FOLDER
    kinema generate "a red mushroom on snow" --lora RUN/dit/final

A layer's weight W becomes W + (alpha / rank)·B·A with A and B of this rank (Hu et al. 2021, arXiv:2106.09685);
only A and B are trained. The file is what diffusers' pipelines write and load.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from .. import trainer
from ..configs import Config
from ..data.manifest import captions_of

TARGETS: Mapping[str, tuple[str, ...]] = {
    "attn": ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    "cross_attn": ("cross_attn.to_q", "cross_attn.to_k", "cross_attn.to_v", "cross_attn.to_out.0"),
    "ff": ("ff.proj_in", "ff.proj_out"),
}
INSTALL = "adapters need PEFT, which is not installed here: pip install 'kinema[lora]'"
SAMPLES = 4  # captions of the clips that samples are drawn for
CAPTIONS = 1000  # clips, at most, whose captions are looked at
KEPT_CAPTIONS = 16  # in the saved file


@dataclass(frozen=True)
class LoraSettings:
    """The shape of an adapter."""

    rank: int = 16
    alpha: float | None = None  # None: the rank, so that the update counts once
    targets: tuple[str, ...] = tuple(TARGETS)  # groups of layers in every block
    rehearse: int = 48  # clips that the checkpoint learned from, shown along so that they are not unlearned

    @property
    def text(self) -> str:
        """As `read_settings` reads it."""
        alpha = self.rank if self.alpha is None else self.alpha
        return f"rank={self.rank},alpha={alpha:g},target={'+'.join(self.targets)},rehearse={self.rehearse}"


def read_settings(text: str) -> LoraSettings:
    """Read "rank=16,alpha=32,target=attn+ff"; what is not given has its default.

    Raises:
        ValueError: a setting or a value that there is not.
        ImportError: PEFT is missing.
    """
    if find_spec("peft") is None:
        raise ImportError(INSTALL)
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        try:
            if not equals:
                raise ValueError("it needs a value")
            if name in ("rank", "rehearse"):
                given[name] = int(value)
            elif name == "alpha":
                given["alpha"] = float(value)
            elif name == "target":
                given["targets"] = tuple(TARGETS) if value == "all" else tuple(value.split("+"))
            else:
                raise ValueError("there is no such setting")
        except ValueError as error:
            raise ValueError(
                f"--lora {text}: {part!r}: {error}; an example: --lora rank=16,alpha=16,target=attn+cross_attn"
            ) from None
    settings = LoraSettings(**given)
    unknown = [target for target in settings.targets if target not in TARGETS]
    if unknown:
        raise ValueError(f"--lora {text}: target {unknown[0]!r}; the targets are all, {', '.join(TARGETS)}")
    if settings.rank < 1 or settings.rehearse < 0 or (settings.alpha is not None and not settings.alpha > 0):
        raise ValueError(f"--lora {text}: rank and alpha need to be above 0, and rehearse not below it")
    return settings


def check_adapter(config: Config, start: Path | None) -> None:
    """Raise a TrainingError unless an adapter can be trained so."""
    if start is None:
        raise trainer.TrainingError("an adapter changes a checkpoint; say which (--from default)")
    if config.train.dit.train_text_encoder:
        raise trainer.TrainingError(
            "an adapter holds no text encoder, so that cannot learn along: give train.dit.train_text_encoder=false"
        )


def told_by_captions(config: Config, clips: Any) -> Config:
    """The configuration with captions of the clips to draw samples for, if it has no prompts of its own."""
    if config.sample.prompts:
        return config
    sample = config.sample.model_copy(update={"prompts": tuple(examples(clips, SAMPLES))})
    return config.model_copy(update={"sample": sample})


def captions_of_clips(clips: Any) -> list[dict[str, str]]:
    """The captions of the first clips by level, without decoding or rendering them."""
    count = min(CAPTIONS, len(clips))
    if hasattr(clips, "describe"):  # Diorama
        return [clips.describe(index)["captions"] for index in range(count)]
    return [captions_of(row) for row in clips.rows[:count]]


def examples(clips: Any, count: int) -> list[str]:
    """Different captions of the clips, in order, each at the shortest level that its clip has."""
    first = [next(iter(captions.values()), "") for captions in captions_of_clips(clips)]
    return list(dict.fromkeys(filter(None, first)))[:count]


def add_adapter(run: trainer.Run, model: Any, settings: LoraSettings) -> None:
    """Add an adapter that changes nothing yet, let it alone be trained, and keep it alone in checkpoints."""
    from peft import LoraConfig

    layers = [name for target in settings.targets for name in TARGETS[target]]
    alpha: Any = settings.rank if settings.alpha is None else settings.alpha
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=settings.rank, lora_alpha=alpha, target_modules=layers))

    def save_adapter_alone(models: list[Any], weights: list[dict[str, Any]], folder: str) -> None:
        for state in weights:
            for name in [name for name in state if ".lora_" not in name]:
                del state[name]

    def load_adapter_alone(models: list[Any], folder: str) -> None:
        models.clear()  # so that the whole model is not looked for
        found = load_file(Path(folder) / "model.safetensors")
        state = {name.removeprefix("module."): tensor for name, tensor in found.items()}
        own = {name for name, _ in model.named_parameters() if ".lora_" in name}
        if set(state) != own:
            raise trainer.TrainingError(f"{folder} holds another adapter; give another --out to start anew")
        model.load_state_dict(state, strict=False)

    run.accelerator.register_save_state_pre_hook(save_adapter_alone)
    run.accelerator.register_load_state_pre_hook(load_adapter_alone)


def save_adapter(run: trainer.Run, model: Any, clips: Any, text: Any) -> Path:
    """Write the adapter to RUN/dit/final, whole or not at all, with what a pipeline needs to know of it.

    Beside PEFT's configuration the file says on which weights it was trained, some captions that call for what it
    learned, and the words in them that the text encoder did not know.
    """
    from peft.utils.save_and_load import get_peft_model_state_dict

    from ..pipeline.lora import KinemaLoraLoaderMixin, base_fingerprint

    final, partial = run.directory / "final", run.directory / "final.partial"
    if run.is_main:
        adapter = model.peft_config["default"].to_dict()
        adapter["target_modules"] = sorted(adapter["target_modules"])  # a set has no order
        rank, alpha = adapter["r"], adapter["lora_alpha"]
        # Some loaders read no configuration from the file and take alpha for the rank: B carries the rest.
        adapter["lora_alpha"] = rank
        tensors = {
            name: tensor * (alpha / rank) if ".lora_B." in name else tensor
            for name, tensor in get_peft_model_state_dict(model).items()
        }
        shutil.rmtree(partial, ignore_errors=True)
        KinemaLoraLoaderMixin.save_lora_weights(
            partial,
            transformer_lora_layers=tensors,
            transformer_lora_adapter_metadata=adapter,
            about={
                "alpha": alpha,
                "base": base_fingerprint(model),
                "captions": examples(clips, KEPT_CAPTIONS),
                "words": new_words(clips, text),
                "steps": run.train.steps,
            },
        )
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    run.accelerator.wait_for_everyone()
    return final


def new_words(clips: Any, text: Any) -> list[str]:
    """The words of the clips' captions that a text encoder with a closed vocabulary does not know."""
    captions = [caption for levels in captions_of_clips(clips) for caption in levels.values()]
    return sorted({word for caption in dict.fromkeys(captions) for word in text.unknown_words(caption)})


__all__ = ["LoraSettings", "add_adapter", "check_adapter", "read_settings", "save_adapter", "told_by_captions"]

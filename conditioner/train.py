"""Trains the contrastive captioner, whose text tower conditions the denoiser.

    kinema train conditioner --config cpu --out RUN
    accelerate launch -m kinema.conditioner.train --config cpu --out RUN

reads clips with captions, and writes the averaged weights to RUN/conditioner/final: `captioner` (the whole model)
and `text_encoder` (its text tower). RUN/conditioner/report.json has retrieval and caption accuracy on held-out
clips; RUN/conditioner/samples shows clips with the captions written for them.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch.utils.data import Dataset

from .. import trainer
from ..configs import Config
from ..configs.schema import ConditionerConfig, DataConfig
from ..data.blend import draw_original
from .captioner import ContrastiveCaptioner
from .corpus import fact_keys, fact_text, known_words, some_captions
from .losses import caption_loss, contrastive_loss, gather, meaning_keys, positive_pairs
from .report import evaluate
from .tokenizer import LEVEL_TOKENS, train_tokenizer
from .vision import select_frames

CORPUS_CLIPS = 4096  # clips whose captions the tokenizer is learned from
PLAIN_SHARE = 0.5  # of the captions that begin with <start>, as prompts do, instead of their level's token
REPORT_CLIPS = 512
# Settings that decide the weights' shapes.
SIZES = [*(name for name in ConditionerConfig.model_fields if not name.endswith("_weight")), "vision"]


def train(
    config: Config,
    out: Path,
    *,
    start: Path | None = None,
    clips: Dataset | None = None,
    heldout: Dataset | None = None,
    vision: Literal["patches", "convolutional"] | None = None,
) -> Path:
    """Train the captioner of `config`, or go on with the run in `out`.

    Args:
        config: the recipe.
        out: folder of this stage.
        start: a checkpoint whose captioner/ to begin with, tokenizer included; None: from random weights.
        clips: clip items to learn from, with a method `describe` (all of an item but its pixels); None: those that
            `config.data` names.
        heldout: clip items to measure on; None: likewise.
        vision: the captioner's visual side; None: that of `start`, or patches.

    Returns:
        `out`/final, with the folders captioner and text_encoder.

    Raises:
        TrainingError: no usable clip, a loss that is not finite, a full disk.
        TrainingPaused: the run was asked to stop; a checkpoint holds all of it.
    """
    settings = config.conditioner
    data = sparse_frames(config.data, settings.num_frames)
    dataset: Any = trainer.open_data(data, config.seed, data.split) if clips is None else clips
    watched: Any = trainer.open_data(data, config.seed, "heldout") if heldout is None else heldout
    source = None if start is None else load_captioner(start)
    run = trainer.start_run(config, "conditioner", out, trainer.origin_of(start, *filter(None, [source])))

    texts = some_captions(data, dataset, CORPUS_CLIPS)
    vocabulary = known_words(data, texts)
    if source is None:
        tokenizer = train_tokenizer(texts, settings.vocab_size, settings.context_length)
    else:
        tokenizer, known = source.tokenizer, source.config["vocabulary"]
        vocabulary = None if vocabulary is None or known is None else sorted({*vocabulary, *known})
    sizes = {**settings.model_dump(), "vision": vision or (source.config["vision"] if source else "patches")}
    model = ContrastiveCaptioner(**sizes, vocabulary=vocabulary, tokenizer=tokenizer)
    if source is not None:
        trainer.copy_weights(source, model, SIZES, f"the captioner of {start}")
    if run.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if run.train.compile:
        model.compile_repeated_blocks(dynamic=True)
    ddp = run.accelerator.prepare(model)
    optimizers = trainer.make_optimizers(run, ddp)
    ema = trainer.make_ema(run, ddp)
    first = trainer.resume(run, ema)
    drawn = trainer.Drawn(run, first)

    for step, batches in trainer.training_steps(run, dataset, Collate(settings), first):
        trainer.set_learning_rates(run, optimizers, step)
        values: dict[str, Any] = {}
        for batch in batches:
            with run.accelerator.accumulate(ddp):
                captions, levels = draw_captions(batch, data.caption_mix, data.original_captions)
                names = draw_names(batch, data.caption_mix, data.original_captions)
                drawn.add(step, batch["ids"], [name for name, _ in names])
                input_ids = model.tokenize(captions, levels).input_ids
                keys = torch.stack([meaning_keys(captions).to(input_ids.device), batch["fact_key"]], dim=1)
                fact_ids, rows = tokenize_facts(model, batch["facts"]) if settings.facts_weight else (None, None)
                output = ddp(batch["pixel_values"], batch["times"], input_ids, fact_ids, rows)
                video, text, keys = gather(output.video_features, output.text_features, keys)
                contrast = contrastive_loss(
                    video, text, positive_pairs(keys), output.logit_scale, output.logit_bias
                )
                words = caption_loss(output.logits, input_ids, model.pad_id)
                loss = settings.contrastive_weight * contrast + settings.caption_weight * words
                parts = {"contrastive": contrast, "caption": words, "logit_scale": output.logit_scale}
                if fact_ids is not None:
                    parts["facts"] = caption_loss(output.fact_logits, fact_ids, model.pad_id)
                    # Few clips with facts among many without would else shout all others down.
                    share = sum(map(bool, batch["facts"])) / len(batch["facts"])
                    loss = loss + settings.facts_weight * share * parts["facts"]
                run.accelerator.backward(loss)
                norm = trainer.clip_and_step(run, optimizers, ddp)
                values = trainer.add_up(run, values, norm, loss=loss, **parts)
        if ema:
            ema.step(trainer.ema_parameters(ddp))
        trainer.log(run, step, values | drawn.shares())
        if trainer.due(run, step, run.train.validate_every):
            with trainer.averaged(ema, ddp):
                validate(run, model, watched, step)
        if trainer.checkpoint_due(run, step):
            drawn.save()
            trainer.checkpoint(run, step, ema)

    with trainer.averaged(ema, ddp):
        finished = save(run, model, watched)
    trainer.finish(run)
    return finished


def load_captioner(checkpoint: Path) -> ContrastiveCaptioner:
    """The captioner that lies beside a checkpoint's pipeline.

    Raises:
        TrainingError: there is none.
    """
    folder = checkpoint / "captioner"
    if not (folder / "config.json").is_file():
        raise trainer.TrainingError(
            f"{checkpoint} has no captioner/, so its conditioner cannot be trained further; without --from one is "
            "trained from nothing"
        )
    return cast(ContrastiveCaptioner, ContrastiveCaptioner.from_pretrained(folder))


def sparse_frames(data: DataConfig, num_frames: int) -> DataConfig:
    """Settings that make Diorama render only the frames the model looks at, where those lie on whole frames."""
    every, rest = divmod(data.num_frames - 1, max(1, num_frames - 1))
    if data.source != "diorama" or rest or every < 2:
        return data
    rates = {"fps": data.fps / every, "fps_choices": tuple(rate / every for rate in data.fps_choices)}
    return data.model_copy(update={"num_frames": num_frames, **rates})


class Collate:
    """Clip items of any shape as a batch of what the model looks at.

    "pixel_values" (B, 3, K, S, S) in [-1, 1], "times" (B, K) in seconds, "ids", "captions", "facts",
    "fact_key" (B,).
    """

    def __init__(self, settings: ConditionerConfig) -> None:
        self.num_frames, self.image_size = settings.num_frames, settings.image_size

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch of clip items."""
        clips = [
            select_frames(item["pixel_values"][None], item["fps"], self.num_frames, self.image_size)
            for item in items
        ]
        return {
            "pixel_values": torch.cat([pixels for pixels, _ in clips]),
            "times": torch.cat([times for _, times in clips]),
            "ids": [item["id"] for item in items],
            "captions": [item["captions"] for item in items],
            "facts": [fact_text(item["scene"]) for item in items],
            "fact_key": fact_keys(item["scene"] for item in items),
        }


def draw_captions(
    batch: dict[str, Any], mix: dict[str, float], original: float = 0.0
) -> tuple[list[str], list[Any]]:
    """One caption a clip, and the level its first token names (None: any; original captions are of no level)."""
    drawn = draw_names(batch, mix, original)
    captions = [choices[name] for choices, (name, _) in zip(batch["captions"], drawn)]
    return captions, [None if plain else name for name, plain in drawn]


def draw_names(batch: dict[str, Any], mix: dict[str, float], original: float) -> list[tuple[str, bool]]:
    """The name of the caption that each clip is shown with, and whether it begins as prompts do.

    Clips that have them are shown an original one in the share `original` of the draws (`blend.draw_original`),
    else one of the levels `mix` by its share.
    """
    drawn = []
    for choices, seed in zip(batch["captions"], batch["sample_seed"].tolist()):
        if (name := draw_original(choices, mix, original, seed)) is not None:
            drawn.append((name, True))
            continue
        own = torch.Generator().manual_seed(seed)
        shares = {level: share for level, share in mix.items() if choices.get(level)}
        if not shares:
            raise trainer.TrainingError(f"a clip has no caption of the levels {sorted(mix)}; it has {choices}")
        level = list(shares)[int(torch.multinomial(torch.tensor(list(shares.values())), 1, generator=own))]
        plain = float(torch.rand((), generator=own)) < PLAIN_SHARE
        drawn.append((level, plain or level not in LEVEL_TOKENS))
    return drawn


def tokenize_facts(model: ContrastiveCaptioner, facts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (R, L) of the facts of those clips that have any, and which clips they are (R,).

    Where none has, the first clip's empty facts stand, of which nothing is to be predicted, so that every process
    computes the same graph.
    """
    rows = [row for row, text in enumerate(facts) if text]
    input_ids = model.tokenize([facts[row] for row in rows or [0]], ["facts" for _ in rows or [0]]).input_ids
    if not rows:
        input_ids[:, 1:] = model.pad_id
    return input_ids, torch.tensor(rows or [0], device=input_ids.device)


@torch.no_grad()
def validate(run: trainer.Run, model: ContrastiveCaptioner, heldout: Dataset, step: int) -> None:
    """Log retrieval and caption accuracy on some held-out clips, and show their captions."""
    if run.is_main:
        model.eval()
        sheet = run.directory / "samples" / f"step-{step + 1:08d}.png"
        with run.accelerator.autocast():
            result = evaluate(model, heldout, run.train.validation_clips, sheet)
        model.train()
        trainer.log_row(run, step, {f"heldout_{name}": value for name, value in flat(result).items()})
    run.accelerator.wait_for_everyone()


def flat(result: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a nested report, by joined names."""
    found: dict[str, float] = {}
    for name, value in result.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}_")
        elif isinstance(value, (int, float)):
            found[prefix + name] = float(value)
    return found


def save(run: trainer.Run, model: ContrastiveCaptioner, heldout: Any) -> Path:
    """Measure on held-out clips, write the report, and the finished components whole or not at all."""
    final, partial = run.directory / "final", run.directory / "final.partial"
    if run.is_main:
        model.eval()
        result = evaluate(model, heldout, REPORT_CLIPS, run.directory / "report.png")
        (run.directory / "report.json").write_text(json.dumps(result, indent=2) + "\n")
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial / "captioner", max_shard_size=trainer.SHARD_SIZE)
        model.text_conditioner().save_pretrained(partial / "text_encoder", max_shard_size=trainer.SHARD_SIZE)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    run.accelerator.wait_for_everyone()
    return final


if __name__ == "__main__":
    trainer.main("conditioner", train)

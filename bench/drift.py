"""Measures how a stream drifts over a minute, by context noise and window, and which default is best.

    python bench/drift.py --out bench/results/drift.json                      # about 6 minutes of one free core
    python bench/drift.py --seconds 12 --prompts 1 --steps 4 --out drift.json # try
    python bench/drift.py --model DIR --write                                 # also set the checkpoint's defaults

Every prompt is rolled out for a minute at every context noise level, all of a window side by side in one batch and
from the same noise. The first and the last five seconds are compared by what one sees drift:

- sharpness: last / first, see `eval.quality.sharpness`; blur is below 1, ringing and noise above;
- colour: distance of the colour histograms (8 bins a channel, half the sum of absolute differences, 0 to 1);
- count: difference of the number of things that the pixel judge sees;
- motion: mean change from frame to frame, last / first; a frozen picture has none.

The score is |log2 sharpness| + 4 · colour + |count difference| + |log2 motion|, a mean over the prompts; it is 0
where the end looks like the beginning, and the least wins. Finished windows are kept beside the report (`.npz`)
and not made again, so an interrupted run goes on where it was; another model, length or setting begins anew.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema import KinemaPipeline
from kinema.data.sheets import contact_sheet
from kinema.eval.judge.pixel import PixelJudge
from kinema.eval.quality import sharpness
from kinema.pipeline.provenance import fingerprint
from kinema.pipeline.rollout import Rollout
from kinema.pipeline.text import TextBatch
from kinema.vae.latents import decode_latents

PROMPTS = (
    "a red ball rolls to the left",
    "a yellow car drives to the right on snow",
    "a green duck stands still on sand at night",
    "a blue cube spins on green grass",
)
NOISES = (0.0, 0.02, 0.05, 0.1, 0.2)
WINDOWS = (4, 8)
COMPARED = 5.0  # seconds at each end
SMALLEST = 1 / 8  # ratios are cut off here: a picture of nothing has no sharpness


@torch.inference_mode()
def roll_out(pipe: KinemaPipeline, args: argparse.Namespace, window: int) -> np.ndarray:
    """First and last seconds of every prompt at every context noise: uint8 (noise, prompt, 2, T, H, W, 3)."""
    own, grid = pipe.config, pipe.grid
    prompts, noises = PROMPTS[: args.prompts], args.noises
    generators = [torch.Generator().manual_seed(index) for _ in noises for index in range(len(prompts))]
    levels = [noise for noise in noises for _ in prompts]
    rollout = Rollout(
        pipe,
        (own["default_height"] // grid.spatial, own["default_width"] // grid.spatial),
        own["default_frame_rate"],
        generators,
        num_inference_steps=args.steps,
        guidance_scale=own["default_guidance_scale"],
        guidance=pipe._own_guidance,
        window=window,
        context_noise=levels,
    )
    text = TextBatch(*pipe.encode_prompt(list(prompts), "", True))
    text = TextBatch(*(torch.cat([part] * len(noises)) for part in text))
    total = 1 + round(args.seconds * own["default_frame_rate"]) // grid.temporal
    compared = round(COMPARED * own["default_frame_rate"]) // grid.temporal
    begin, end = [], []
    pipe._interrupt = False
    for number in range(total):
        with torch.autocast(pipe.device.type, torch.bfloat16):
            block = rollout.next_block(text, 1)
        assert block is not None
        if number <= compared:
            begin.append(block)
        if number >= total - compared - 3:
            end.append(block)  # three more, so that the decoder has its past
    clips = []
    for latents in (torch.cat(begin, dim=2), torch.cat(end, dim=2)):
        pixels = torch.cat([decode_latents(pipe.vae, one) for one in latents.split(4)])
        frames = ((pixels[:, :, -compared * grid.temporal :] + 1) * 127.5).round().byte()
        clips.append(frames.permute(0, 2, 3, 4, 1).cpu().numpy())
    both = np.stack(clips, axis=1)
    return both.reshape(len(noises), len(prompts), *both.shape[1:])


def histogram(frames: np.ndarray) -> np.ndarray:
    """Share of each of 8 × 8 × 8 colours."""
    bins = (frames >> 5).reshape(-1, 3).astype(int) @ (64, 8, 1)
    return np.bincount(bins, minlength=512) / len(bins)


def motion(frames: np.ndarray) -> float:
    """Mean change from frame to frame, in levels of 255."""
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


def compare(first: np.ndarray, last: np.ndarray, judge: PixelJudge, frame_rate: float) -> dict[str, float]:
    """What changed from the first clip to the last, both uint8 (T, H, W, 3)."""
    count = judge.read(last, frame_rate).count - judge.read(first, frame_rate).count
    return {
        "sharpness": sharpness(last) / sharpness(first),
        "colour": float(np.abs(histogram(last) - histogram(first)).sum() / 2),
        "count": abs(count),
        "motion": (motion(last) + 0.05) / (motion(first) + 0.05),
    }


def score(drift: dict[str, float]) -> float:
    """One number of a comparison; 0 is no drift."""
    ratios = [
        abs(float(np.log2(np.clip(drift[name], SMALLEST, 1 / SMALLEST)))) for name in ("sharpness", "motion")
    ]
    return sum(ratios) + 4 * drift["colour"] + drift["count"]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Roll out what is not kept from an earlier run, and compare."""
    pipe = KinemaPipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    judge = PixelJudge.from_pretrained()
    own = fingerprint([pipe.transformer, pipe.vae, pipe.text_encoder])
    settings = {"model": own, "seconds": args.seconds, "prompts": args.prompts, "steps": args.steps,
                "noises": args.noises}  # fmt: skip
    rows, sheet = [], []
    for window in args.windows:
        kept = args.out.with_name(f"{args.out.stem}-window{window}.npz")
        clips, said = None, json.dumps(settings)
        if kept.is_file():
            with np.load(kept) as file:
                clips = file["clips"] if str(file["settings"]) == said else None
        if clips is None:
            start = time.perf_counter()
            clips = roll_out(pipe, args, window)
            print(f"window {window}: {time.perf_counter() - start:.0f} s", flush=True)
            np.savez_compressed(kept, clips=clips, settings=np.array(said))
        for noise, of_noise in zip(args.noises, clips):
            drifts = [compare(first, last, judge, pipe.config["default_frame_rate"]) for first, last in of_noise]
            row = {"window": window, "context_noise": noise, "score": float(np.mean([score(d) for d in drifts]))}
            row |= {name: float(np.median([d[name] for d in drifts])) for name in drifts[0]}
            rows.append(row | {"prompts": [d | {"score": score(d)} for d in drifts]})
            ends = np.concatenate([of_noise[0][0][::12], of_noise[0][1][::12]])
            sheet.append((f"window {window}, context noise {noise}: first and last {COMPARED:g} s", ends))
    contact_sheet(sheet, columns=len(sheet[0][1]), tile_height=64).save(args.out.with_suffix(".png"))
    best = min(rows, key=lambda row: row["score"])
    best = {"default_stream_window": best["window"], "default_context_noise": best["context_noise"]}
    return {"settings": settings | {"texts": PROMPTS[: args.prompts]}, "rows": rows, "best": best}


def write_defaults(folder: Path, best: dict[str, Any]) -> None:
    """Set the defaults of a saved pipeline."""
    index = folder / "model_index.json"
    values = json.loads(index.read_text(encoding="utf-8")) | best
    index.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how a stream drifts over a minute.")
    parser.add_argument("--model", default=None, help="a checkpoint's folder; default: the packaged one")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), choices=range(1, len(PROMPTS) + 1))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--noises", type=float, nargs="+", default=list(NOISES))
    parser.add_argument("--windows", type=int, nargs="+", default=list(WINDOWS))
    parser.add_argument("--write", action="store_true", help="set the checkpoint's defaults to the best")
    parser.add_argument("--out", type=Path, default=Path("bench/results/drift.json"))
    args = parser.parse_args()
    if args.seconds < 2 * COMPARED:
        parser.error(f"--seconds {args.seconds:g}: the first and the last {COMPARED:g} s need at least 10")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = measure(args)
    print("window  context noise  score  sharpness  colour  count  motion   (medians over the prompts)")
    for row in report["rows"]:
        print(
            f"{row['window']:6d} {row['context_noise']:14.2f} {row['score']:6.2f} {row['sharpness']:10.2f} "
            f"{row['colour']:7.2f} {row['count']:6.1f} {row['motion']:7.2f}"
        )
    print(f"best: {report['best']}")
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if args.write:
        from kinema.pipeline.checkpoint import DEFAULT_FOLDER

        write_defaults(DEFAULT_FOLDER if args.model is None else Path(args.model), report["best"])


if __name__ == "__main__":
    main()

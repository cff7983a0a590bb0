"""Teaches a checkpoint one object that it does not know, from 16 clips, and judges what it learned and kept.

    python bench/lora.py --out RUN                        # the packaged checkpoint learns mushrooms
    python bench/lora.py --out RUN --kind snowman --from CHECKPOINT

1. Renders 16 clips of the object as a user would bring them: MP4s with a text file beside each.
2. Runs `kinema train dit --lora` on them.
3. Asks for the object in 24 prompts, most in colours and motions that the clips do not pair, before and after; and
   for objects that the checkpoint knows in the 24 prompts of the exam's quick list. The pixel judge, which learned
   from the renderer alone, says what each clip shows.

Writes sheet.png (before above after), control.png and result.json into RUN, and prints the table. The same command
goes on where it was stopped. About 6 minutes on one core.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from kinema.data.diorama import captions, is_heldout, render, sample_scene
from kinema.data.diorama.draws import Draws
from kinema.data.diorama.rules import HELDOUT_COLOURS, HELDOUT_MOTIONS
from kinema.data.diorama.scene import COLOURS, KINDS
from kinema.data.diorama.simple import SIMPLE_KINDS, draw_object
from kinema.data.sheets import contact_sheet
from kinema.data.video_io import write_video
from kinema.eval.answers import answer
from kinema.eval.judge.pixel import PixelJudge
from kinema.eval.questions import AskedObject, ExamPrompt, load_prompts
from kinema.pipeline.command import load
from kinema.pipeline.provenance import fingerprint

SHAPE = {"height": 64, "width": 64, "num_frames": 17, "fps": 8}
MOTIONS = ("stand", "spin", "rise", "fall", "grow")
VERBS = {
    "stand": "stands still", "spin": "spins", "rise": "rises into the air", "fall": "falls down",
    "grow": "grows bigger",
}  # fmt: skip
FLOORS = {"grass": "on grass", "sand": "on sand", "snow": "on snow", "wood": "on a wooden floor"}
BATCH = 8


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--kind", default="mushroom", choices=sorted(set(KINDS) - set(SIMPLE_KINDS)))
    parser.add_argument("--from", dest="start", default="default", metavar="CHECKPOINT")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--lora", default="rank=16")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    seconds = {}

    began = time.perf_counter()
    taught = write_clips(args.out / "clips", args.kind, args.clips)
    seconds["clips"] = time.perf_counter() - began

    model = None if args.start == "default" else args.start
    asked = {"object": new_prompts(args.kind, args.prompts, taught), "control": load_prompts("quick")}
    pipe = load(model, device="cpu", quiet=True)
    began = time.perf_counter()
    before = {name: make(pipe, name, prompts, args.out) for name, prompts in asked.items()}
    seconds["sampling before"] = time.perf_counter() - began

    began = time.perf_counter()
    command = [sys.executable, "-m", "kinema.dit.train", "--from", args.start, "--lora", args.lora]
    command += ["--out", str(args.out), f"data.source={args.out / 'clips'}", *args.overrides]
    subprocess.run(command, check=True)
    seconds["training"] = time.perf_counter() - began

    adapter = args.out / "dit" / "final"
    pipe.load_lora_weights(adapter)
    began = time.perf_counter()
    after = {name: make(pipe, name, prompts, args.out) for name, prompts in asked.items()}
    seconds["sampling after"] = time.perf_counter() - began

    judge = PixelJudge.from_pretrained()
    ceiling = [truth(args.kind, prompt, number) for number, prompt in enumerate(asked["object"])]
    result = {
        "kind": args.kind,
        "from": args.start,
        "clips": args.clips,
        "lora": args.lora,
        "overrides": args.overrides,
        "megabytes": round((adapter / "pytorch_lora_weights.safetensors").stat().st_size / 1e6, 2),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "before": {name: score(judge, prompts, before[name]) for name, prompts in asked.items()},
        "after": {name: score(judge, prompts, after[name]) for name, prompts in asked.items()},
        "true clips": {"object": score(judge, asked["object"], ceiling)},
    }
    (args.out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    for name, file in (("object", "sheet.png"), ("control", "control.png")):
        rows = []
        for prompt, first, then in list(zip(asked[name], before[name], after[name]))[:8]:
            rows += [(f"before: {prompt.text}", first), (f"after: {prompt.text}", then)]
        contact_sheet(rows, columns=8).save(args.out / file)
    print(table(result))


def write_clips(folder, kind, count):
    """Clips of the object in the style of level 0, and captions; returns the (colour, motion) pairs shown."""
    scenes, index = [], 0
    colours = [colour for colour in COLOURS if (kind, colour) not in HELDOUT_COLOURS]
    motions = [motion for motion in MOTIONS if (kind, motion) not in HELDOUT_MOTIONS]
    while len(scenes) < count:
        draws = Draws("taught", kind, index)
        thing = draw_object(draws, kind, "large", 0)
        wanted = motions[len(scenes) % len(motions)]
        colour = colours[len(scenes) * 5 % len(colours)]
        scene = sample_scene(7, index, difficulty=(0, 0))
        scene = scene.model_copy(update={"objects": (thing.model_copy(update={"colour": colour}),)})
        index += 1
        if thing.motion.action == wanted and not is_heldout(scene):
            scenes.append(scene)
    for number, scene in enumerate(scenes):
        path = folder / f"{kind}-{number:02d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.with_suffix(".txt").is_file():
            write_video(path, render(scene, **SHAPE, supersample=2).frames, SHAPE["fps"], crf=12)
            path.with_suffix(".txt").write_text(captions(scene)["short"] + "\n")
    return {(scene.objects[0].colour, scene.objects[0].motion.action) for scene in scenes}


def new_prompts(kind, count, taught):
    """Prompts for the object, in pairs of colour and motion that no clip showed as far as there are such."""
    pairs = [(colour, motion) for motion in MOTIONS for colour in COLOURS if (colour, motion) not in taught]
    draws = Draws("asked", kind)
    prompts = []
    for number in range(count):
        colour, motion = pairs.pop(draws.integer(0, len(pairs) - 1))
        floor = draws.choice(tuple(FLOORS))
        article = "an" if colour[0] in "aeiou" else "a"
        prompts.append(
            ExamPrompt(
                id=f"n{number:02d}", tier="P", text=f"{article} {colour} {kind} {VERBS[motion]} {FLOORS[floor]}",
                objects=(AskedObject(kind=kind, colour=colour, motion=motion),), floor=floor,
            )
        )  # fmt: skip
    return prompts


def make(pipe, name, prompts, folder):
    """The clips of the prompts, kept in a file of these weights."""
    path = folder / f"{name}-{fingerprint([pipe.transformer, pipe.text_encoder, pipe.vae])}.npz"
    if path.is_file():
        return list(np.load(path)["frames"])
    frames = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        seeds = [1000 + start + n for n in range(len(batch))]
        frames += pipe([prompt.text for prompt in batch], generator=seeds).videos()
    np.savez_compressed(path, frames=np.stack(frames))
    return frames


def truth(kind, prompt, number):
    """A rendered clip of what a prompt asks: the judge's own limit."""
    wanted = prompt.objects[0]
    index = 0
    while True:
        thing = draw_object(Draws("truth", kind, number, index), kind, "large", 0)
        if thing.motion.action == wanted.motion:
            break
        index += 1
    scene = sample_scene(8, number, difficulty=(0, 0))
    thing = thing.model_copy(update={"colour": wanted.colour})
    scene = scene.model_copy(update={"objects": (thing,), "floor": prompt.floor})
    return render(scene, **SHAPE, supersample=2).frames.numpy()


def score(judge, prompts, clips):
    """Share of the clips that show what was asked, by attribute."""
    verdicts = [answer(judge.read(frames, SHAPE["fps"]), prompt) for prompt, frames in zip(prompts, clips)]
    names = sorted({name for verdict in verdicts for name in verdict})
    shares = {}
    for name in names:
        said = [verdict[name] for verdict in verdicts if name in verdict]
        shares[name] = {"right": sum(said), "of": len(said)}
    return shares


def table(result):
    columns = [("before", "object"), ("after", "object"), ("true clips", "object"), ("before", "control")]
    columns += [("after", "control")]
    lines = [f"{'':<10}" + "".join(f"{f'{when}, {what}':>20}" for when, what in columns)]
    for name in ("object", "colour", "motion", "floor"):
        cells = [result[when][what].get(name) for when, what in columns]
        shown = [f"{cell['right']}/{cell['of']}" if cell else "-" for cell in cells]
        lines.append(f"{name:<10}" + "".join(f"{text:>20}" for text in shown))
    spent = ", ".join(f"{name} {value:.0f} s" for name, value in result["seconds"].items())
    return "\n".join([*lines, f"{spent}; adapter {result['megabytes']} MB"])


if __name__ == "__main__":
    main()

"""Does re-captioning help? DALL·E 3's and Sora's claim, reproduced small on clips with deliberately poor captions.

    python bench/recaption.py --out RUN

1. Renders 16,384 clips of Diorama's level 0 (recaption_world.py). The first 2 % have their true captions; of the
   rest, the pool, only alt-texts are known, short ones of which 30 % have a wrong or a missing attribute.
2. Encodes all of them once with the packaged checkpoint's autoencoder.
3. Trains a captioner on the alt-texts and the true 2 %, in two steps (recaption_captioner.py).
4. Lets it re-caption the pool, each clip at one of two levels; 5 % of the clips keep their alt-text.
5. Trains a denoiser from nothing on the pool told by (a) the alt-texts, (b) the re-captions, (c) the true
   captions, and on (d) the true 2 % alone; the same number of steps, three seeds each (recaption_arms.py).
6. Lets each draw the same new prompts, and the exam's pixel judge read the clips (recaption_exam.py).

Writes result.json, tables.md and sheet.png into RUN. The same command goes on where it was stopped. Steps 1 to 4
took about 45 minutes and each of the twelve arms 5 to 17 on two cores shared with other work; docs/recaptioning.md
says what was found.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from recaption_arms import ARMS, arm_config, encode_clips, retell, train_arm
from recaption_captioner import blend, caption_accuracy, poor_captions, recaption, train_captioner
from recaption_exam import exam_prompts, examine_arm, examine_truth
from recaption_report import write_report
from recaption_world import TRUE_SHARE, corpus, render_corpus

from kinema.data.diorama import Scene
from kinema.data.manifest import LEVELS

STEPS = ("encode", "captioner", "recaption", "arms")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--clips", type=int, default=16384, help="of the corpus, the true 2 %% included")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes at once, one core each")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="train only these")
    parser.add_argument("--seed", type=int, help="train only this one of the seeds")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="changes to the recipes")
    parser.add_argument("--until", choices=STEPS, help="end after this step")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    run, clips, overrides = args.out, args.clips, args.set
    known = max(2, round(TRUE_SHARE * clips))
    claim(run, {"clips": clips, "prompts": args.prompts, "overrides": overrides})
    frames = run / "frames.npy"

    render_corpus(frames, clips, args.jobs)
    encode_clips(frames, clips, known, run / "latents", overrides)
    if args.until == "encode":
        return
    captioner = train_captioner(frames, clips, known, run / "captioner", overrides)
    text_encoder = captioner / "poor" / "final" / "text_encoder"  # all arms begin with it
    if args.until == "captioner":
        return
    latents = tell(run, frames, captioner / "true" / "final", clips, known, args.jobs)
    if args.until == "recaption":
        return

    seeds = range(args.seeds) if args.seed is None else [args.seed]
    work = [(arm, seed) for seed in seeds for arm in args.arms]
    if len(work) > 1 and args.jobs > 1:
        again = [sys.executable, __file__, *(arguments if arguments is not None else sys.argv[1:])]
        with ThreadPoolExecutor(args.jobs) as pool:
            done = [pool.submit(alone, [*again, "--arms", arm, "--seed", str(seed), "--until", "arms"], run,
                                f"{arm}{seed}") for arm, seed in work]  # fmt: skip
            for each in done:
                each.result()
    else:
        prompts = exam_prompts(args.prompts)
        for arm, seed in work:
            config = arm_config(arm, clips, known, seed, overrides)
            place = run / f"{arm}{seed}"
            done = train_arm(config, place / "dit", latents=latents[arm], text_encoder=text_encoder)
            examine_arm(config, done, prompts, seed, place)
    if args.until != "arms":
        prompts = exam_prompts(args.prompts)
        finished = run / f"{args.arms[0]}{seeds[0]}" / "dit" / "final"
        examine_truth(arm_config("c", clips, known, 0, overrides), finished, prompts, run / "truth")
        write_report(run, prompts, args.arms, seeds)


def claim(run: Path, settings: dict[str, object]) -> None:
    """Note what the folder is a run of, and refuse another."""
    path = run / "settings.json"
    run.mkdir(parents=True, exist_ok=True)
    if path.is_file() and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{run} is a run of {path.read_text()}, and {settings} is asked for; give another --out")
    path.write_text(json.dumps(settings))


def tell(run: Path, frames: Path, captioner: Path, clips: int, known: int, jobs: int) -> dict[str, Path]:
    """Every arm's clips told by its captions, and how right these are, in captions.json."""
    latents = {arm: run / "latents" / (arm if arm in "ab" else "known" if arm == "d" else "pool") for arm in ARMS}
    if (run / "captions.json").is_file() and latents["b"].is_dir():
        return latents
    scenes = [Scene.from_json(corpus(clips).describe(i)["scene"]) for i in range(known, clips)]
    poor = poor_captions(clips - known, known)
    written = recaption(captioner, frames, known, clips - known, run / "recaptions", jobs)
    found = {"alt-text": caption_accuracy([each.text for each in poor], scenes)}
    for level in LEVELS:
        own = [(each[level], scene) for each, scene in zip(written, scenes) if level in each]
        if own:
            found[f"re-captioned, {level}"] = caption_accuracy(*zip(*own))
        true = [corpus(clips).describe(i)["captions"][level] for i in range(known, clips)]
        found[f"true, {level}"] = caption_accuracy(true, scenes)
    shown = [{"alt-text": p.text, "flaw": p.flaw, **w} for p, w in zip(poor[:24], written)]
    retell(run / "latents" / "pool", [{"short": each.text} for each in poor], latents["a"])
    retell(run / "latents" / "pool", blend(written, poor), latents["b"])
    (run / "captions.json").write_text(json.dumps({"accuracy": found, "examples": shown}, indent=1))
    return latents


def alone(command: list[str], run: Path, name: str) -> None:
    """One arm in a process of its own, its output in a log."""
    with (run / f"{name}.log").open("w") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode:
            raise SystemExit(f"{name} failed; {run / f'{name}.log'} says why. The same command goes on")


if __name__ == "__main__":
    main()

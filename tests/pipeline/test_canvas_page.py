"""docs/canvas.md says what the code does: its example runs, and its numbers are the code's own."""

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.configs import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "canvas.md").read_text(encoding="utf-8")


def test_the_pages_own_task_holds_its_picture(pipe, tmp_path):
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(example, names)
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "ball.png")
    canvas = names["ends_on"](pipe, tmp_path / "ball.png", num_frames=13, height=16, width=16, held=2)
    frames = pipe("a ball", canvas=canvas, num_inference_steps=1, generator=0).videos()[0]
    assert len(frames) == 13
    assert (frames[-8:] == picture).all()
    assert (frames[:-8] != picture).any()


def test_the_shares_are_the_configurations():
    shares = dict(re.findall(r"\| `(\w+)` \| (\d+%) \|", PAGE))
    assert shares == {name: f"{share:.0%}" for name, share in load_config("cpu-canvas").flow.plans.items()}


def test_the_errors_are_the_measured_ones():
    report = json.loads((ROOT / "bench" / "results" / "context.json").read_text())
    for row in report["suffix"]:
        assert f"| {row['suffix_psnr']} dB | {row['first_group_psnr']} dB |" in PAGE
    assert f"{report['stills']['still_psnr']} dB" in PAGE
    assert f"{report['stills']['image_psnr']} dB" in PAGE

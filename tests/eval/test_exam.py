"""Clips and prompts in, a report out; and `kinema eval` with a real pipeline of random weights."""

import json

import numpy as np
import pytest

from kinema.cli import main
from kinema.configs import load_config
from kinema.eval.ceilings import main as ceilings
from kinema.eval.command import clip_seed, evaluate, fingerprint_of, sample
from kinema.eval.exam import evaluate_clips, true_clips
from kinema.eval.prompts import load_prompts
from kinema.eval.report import text_table, write_report

PROMPTS = load_prompts()


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return true_clips(PROMPTS, [np.empty((5, 40, 40, 3), np.uint8)] * len(PROMPTS), fps=2.5)


def test_true_clips_reach_the_ceiling_and_shuffled_prompts_fall_to_chance(clips):
    right = evaluate_clips(clips, PROMPTS, fps=2.5, truth=clips)
    assert right["prompts"][3]["asked"] == PROMPTS[3].asked
    assert [entry["measured"] for entry in right["prompts"]] == [entry["true"] for entry in right["prompts"]]
    shuffled = [clips[number - 5] for number in range(len(clips))]
    wrong = evaluate_clips(shuffled, PROMPTS, fps=2.5, truth=clips)
    for name in ("colour", "direction", "time", "floor"):
        assert right["attributes"][name]["share"]["value"] == pytest.approx(1)
        assert wrong["attributes"][name]["ceiling"] == right["attributes"][name]["ceiling"]
    for name in ("colour", "direction"):  # asked by enough prompts for one shuffle to tell
        assert abs(wrong["attributes"][name]["share"]["value"]) < 0.25
        assert wrong["attributes"][name]["share"]["high"] < right["attributes"][name]["share"]["low"]
    assert right["attributes"]["object"]["chance"] is None  # every prompt asks for an object


def test_clips_of_other_systems_need_no_truth_and_may_differ_in_shape(clips):
    report = evaluate_clips([clips[0], clips[1][:, :32]], PROMPTS[:2], truth=None)
    assert report["attributes"]["colour"]["ceiling"] is None and "true" not in report["prompts"][0]
    assert "–" in text_table(report)
    with pytest.raises(ValueError, match="2 clips of 3 prompts"):
        evaluate_clips(clips[:2], PROMPTS[:3])


def test_the_report_holds_every_clip_and_every_verdict(clips, tmp_path):
    swapped = [clips[1], clips[0], *clips[2:4]]
    report = evaluate_clips(swapped, PROMPTS[:4], truth=clips[:4], settings={"model": "a <b> & c"})
    path = write_report(tmp_path / "made", report, swapped, clips[:4])
    text = path.read_text()
    assert text.count("data:image/png;base64,") == 4 and "http" not in text
    assert "a &lt;b&gt; &amp; c" in text and "✗ colour: blue, asked red" in text and "✓ colour: yellow" in text
    assert json.loads((path.parent / "report.json").read_text()) == report
    assert (path.parent / "sheet.png").stat().st_size > 1000
    for line in text_table(report).splitlines()[1:]:
        assert line.split()[0] in report["attributes"]


class Counting:
    """A pipeline that counts the prompts it samples, and can be stopped."""

    def __init__(self, pipe, stop_after=10**9):
        self.pipe, self.prompts, self.stop_after = pipe, [], stop_after

    def __getattr__(self, name):
        return getattr(self.pipe, name)

    def __call__(self, prompts, **settings):
        if len(self.prompts) >= self.stop_after:
            raise KeyboardInterrupt
        self.prompts += prompts
        return self.pipe(prompts, **settings)


def test_a_stopped_exam_goes_on_and_other_weights_are_sampled_anew(tmp_path):
    from kinema.pipeline.build import build_pipeline

    pipe = build_pipeline(load_config("tiny"))
    asked = PROMPTS[:3]

    def exam(pipe, out=tmp_path, **options):
        options = {"num_inference_steps": 1, "guidance_scale": 1.0, "progress": False, "batch_size": 2} | options
        return evaluate(pipe, asked, out=out, **options)

    whole = exam(pipe, out=None)
    assert whole["settings"]["fingerprint"] and whole["prompts"][2]["seed"] == clip_seed(0, 2)
    stopped = Counting(pipe, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        exam(stopped)
    kept = sorted((tmp_path / "clips").iterdir())
    assert len(kept) == len(stopped.prompts) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # damaged
    resumed = Counting(pipe)
    assert exam(resumed) == whole and len(resumed.prompts) == 2

    def sampled(**options) -> int:
        counted = Counting(pipe)
        folder = tmp_path / "clips"
        settings = whole["settings"] | {"fingerprint": fingerprint_of(pipe)} | options
        sample(counted, asked, settings, folder=folder, progress=False)  # pyright: ignore[reportArgumentType]
        return len(counted.prompts)

    assert sampled() == 0 and sampled(model="another place") == 0
    assert sampled(seed=1) == sampled(num_inference_steps=2) == sampled(guidance_scale=2.0) == 3
    pipe.transformer.proj_out.weight.data.add_(0.1)
    assert sampled() == 3


def test_too_many_prompts_are_refused_before_anything_loads(tmp_path):
    ask = ["eval", str(tmp_path / "nothing"), "--prompts", "99", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="99 prompts were asked for"):
        main(ask)
    assert not list(tmp_path.iterdir())


def test_the_stated_ceilings_can_be_measured_again(capsys):
    ceilings(["--clips", "3", "--size", "40", "--frames", "5", "--seed", "5"])
    lines = capsys.readouterr().out.splitlines()
    assert "colour     100.0 % of 3" in lines and "object     100.0 % of 3" in lines
    assert lines[-1].startswith("overlap")

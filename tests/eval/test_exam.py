"""The whole exam: of a pipeline of random weights, of true clips as video files, of two checkpoints."""

import itertools
import json

import pytest

from kinema.cli import main
from kinema.configs import load_config
from kinema.data.video_io import write_video
from kinema.eval.command import evaluate
from kinema.eval.exam import examine, prompts_of, wanted_clips
from kinema.eval.judge.catch import true_clip
from kinema.eval.questions import load_prompts
from kinema.pipeline.checkpoint import default_checkpoint

PROMPTS = load_prompts("quick")


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


@pytest.fixture(scope="module")
def pipe():
    from kinema.pipeline.build import build_pipeline

    return build_pipeline(load_config("tiny"))


def exam(pipe, out, **options):
    given = {"num_inference_steps": 1, "guidance_scale": 1.0, "progress": False, "batch_size": 2, "workers": 0}
    options = {"list_name": "quick", "repeats": 1, "measures": False} | given | options
    return examine(pipe, PROMPTS[:4], out=out, **options)


def test_a_stopped_exam_goes_on_and_other_weights_are_sampled_anew(pipe, tmp_path):
    stopped = Counting(pipe, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        exam(stopped, tmp_path)
    kept = sorted((tmp_path / "clips").iterdir())
    assert len(kept) == len(stopped.prompts) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # damaged
    resumed = Counting(pipe)
    report = exam(resumed, tmp_path)
    assert len(resumed.prompts) == 3
    again = Counting(pipe)
    assert exam(again, tmp_path) == report and not again.prompts
    assert exam(pipe, tmp_path / "anew")["sitting"] == report["sitting"]
    pipe.transformer.proj_out.weight.data.add_(0.1)
    other = Counting(pipe)
    exam(other, tmp_path)
    assert len(other.prompts) == 4
    pipe.transformer.proj_out.weight.data.sub_(0.1)


def test_another_sitting_shares_no_seed():
    prompts = prompts_of("full")
    first, second = (wanted_clips(prompts, 4, seed) for seed in (0, 1))
    seeds = [seed for _, seed in (*first, *second)]
    assert len(set(seeds)) == len(seeds) == 8 * len(prompts)


def test_an_untrained_model_scores_like_chance_and_its_card_is_whole(pipe, tmp_path):
    report = evaluate(
        pipe, PROMPTS[:8], out=tmp_path, num_inference_steps=1, measures=False, workers=0, progress=False
    )
    marks = report["marks"]["P"]["attributes"]
    assert marks["object"]["ceiling_true"]["value"] >= 0.75 and marks["object"]["score"]["value"] <= 0.4
    page = (tmp_path / "report.html").read_text()
    assert "<script src" not in page and "http://" not in page and PROMPTS[0].text in page
    assert json.loads((tmp_path / "report.json").read_text())["list"] == report["list"]
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_true_clips_as_video_files_sit_the_exam_well(tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    for prompt in PROMPTS[:6]:
        write_video(folder / f"{prompt.id}.mp4", true_clip(prompt, 3), 8.0)
    ask = ["eval", "--quick", "--clips", str(folder), "--out", str(tmp_path / "out"), "--quiet", "--workers", "0"]
    with pytest.raises(SystemExit, match="q07"):
        main(ask)
    main([*ask, "--partial"])
    assert "colour" in capsys.readouterr().out
    marks = json.loads((tmp_path / "out" / "report.json").read_text())["marks"]["P"]["attributes"]
    for name in ("object", "colour", "floor"):
        assert marks[name]["score"]["value"] >= 0.8, (name, marks[name])
    for prompt, shown in itertools.pairwise(PROMPTS[:7]):  # replaced in place, each by another prompt's clip
        write_video(folder / f"{prompt.id}.mp4", true_clip(shown, 3), 8.0)
    main([*ask, "--partial"])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (
        report["marks"]["P"]["attributes"]["object"]["score"]["value"] <= 0.5 and report["list"]["name"] == "quick"
    )


def test_two_checkpoints_are_compared(pipe, tmp_path, capsys):
    for name in ("one", "two"):
        pipe.save_pretrained(tmp_path / name)
    ask = ["eval", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "out"), "--quick"]
    main([*ask, "--prompts", "4", "--steps", "1", "--quiet", "--workers", "0"])
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    verdicts = {each["verdict"] for each in found["differences"]["P"]["attributes"].values() if each}
    assert verdicts <= {"no difference"} and (tmp_path / "out" / "compare.html").is_file()


def test_what_cannot_be_examined_is_refused_before_anything_loads(tmp_path):
    for words, said in (
        (["--list", "nothing"], "neither a list of prompts"),
        (["--quick", "--clips", str(tmp_path / "none")], "none"),
        (["a", "--clips", str(tmp_path)], "no checkpoint is needed"),
        (["a", "b", "c"], "3 checkpoints"),
        (["--quick", "--list", "dev"], "give one of the two"),
        (["--quick", "--partial"], "goes with --clips"),
        (["--clips", str(tmp_path), "--steps", "3"], "leave out --seed"),
        (["--prompts", "0"], "--prompts 0 leaves nothing"),
        (["--quick", str(default_checkpoint()), str(tmp_path / "second")], "second"),
    ):
        with pytest.raises(SystemExit, match=said):
            main(["eval", *words, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_the_list_to_ask_is_printed(capsys):
    main(["eval", "--quick", "--show", "--prompts", "2"])
    assert capsys.readouterr().out.splitlines() == [f"{prompt.id}\t{prompt.text}" for prompt in PROMPTS[:2]]

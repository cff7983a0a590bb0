"""Clips that are not of our captioner's world: others caption them, and our captioner does not judge that."""

import sys
from pathlib import Path

import pytest

from kinema import write_video
from kinema.captioner.captions import stage as writing
from kinema.captioner.checks.similarity import PACKAGED_LEAST, open_scorer
from kinema.captioner.checks.verdict import check_caption
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.engine.local import run_stage
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.shots.frames import read_clip
from kinema.captioner.tables import CAPTIONS, FILTERED, SHOTS
from kinema.data.diorama import DioramaDataset

sys.path.insert(0, str(Path(__file__).parent))
from test_endpoint import said, serving

# What was written by hand of the files, as a vision-language model would answer.
TOLD = {
    "world": (
        {
            "subjects": [{"name": "Earth", "count": 1}],
            "actions": ["the Earth turns"],
            "setting": "dark space",
            "lighting": "city lights glow at night",
        },
        {
            "short": "The Earth turns in space",
            "medium": "The Earth turns in dark space, with the lights of cities.",
            "dense": "The Earth turns in dark space. City lights glow on its night side.",
        },
    ),
    "bikes": (
        {"subjects": [{"name": "cyclist"}], "actions": ["cyclists ride"], "setting": "city street"},
        {
            "short": "Cyclists on a city street",
            "medium": "Cyclists ride on a city street.",
            "dense": "Cyclists ride along a street of a city.",
        },
    ),
}


@pytest.fixture
def toy(tmp_path):
    """A clip of our captioner's world, and what is true of it."""
    item = DioramaDataset(seed=4, split="train", difficulty=(0, 0), num_frames=5, fps=2.0, num_clips=2)[0]
    write_video(tmp_path / "toy.mp4", item["pixel_values"].permute(1, 2, 3, 0).numpy(), 2.0)
    return {"path": str(tmp_path / "toy.mp4"), "start_s": 0.0, "end_s": 2.5}, item["captions"]


@pytest.mark.parametrize("name", sorted(TOLD))
def test_a_true_caption_of_a_real_clip_passes_with_the_default_scorer(name, real_videos, tmp_path):
    facts, prose = TOLD[name]
    row = dict.fromkeys(SHOTS.names) | {"clip_id": name, "source_key": name, "path": str(real_videos[name])}
    row |= {"start_s": 0.0, "end_s": 2.0, "fps": 8.0, "captions": ["what came with the file"], "status": "ok"}
    StageTable(tmp_path, "shots", SHOTS).commit(["a"], [row])
    StageTable(tmp_path, "filters", FILTERED).commit(["a"], [{"clip_id": name, "status": "kept"}])

    def answer(body):
        return said(prose if "Write captions" in str(body["messages"]) else facts)

    with serving(*[answer] * 9) as server:
        settings = CaptionSettings.model_validate(
            {"captions": {"backend": "openai", "model": "m", "base_url": server.url}, "run": {"device": "cpu"}}
        )
        run_stage(writing.STAGE, tmp_path, settings)
        assert len(server.seen) == 2  # nothing was paid for twice
    rows = {row["level"]: row for row in StageTable(tmp_path, "captions", CAPTIONS).rows()}
    assert {level: rows[level]["text"] for level in prose} == prose
    assert {row["status"] for row in rows.values()} == {"success"} and len(rows) == 5
    assert all(row["clip_mean"] is None and row["clip_min"] is None for row in rows.values())


@pytest.mark.parametrize("backend", ["captioner", "transformers", "openai"])
def test_clips_of_its_world_are_judged_whoever_wrote_of_them(backend, toy, real_videos):
    clip, captions = toy
    settings = CaptionSettings.model_validate({"captions": {"backend": backend}})
    scorer, frames = open_scorer(settings), read_clip(clip, settings.captions.num_frames)
    true = check_caption(captions["dense"], level="dense", frames=frames, scorer=scorer)
    assert true.clip_mean is not None and true.clip_mean >= PACKAGED_LEAST and true.passed
    false = check_caption("A man in a suit talks in a moving car.", level="dense", frames=frames, scorer=scorer)
    assert [each for each in false.problems if "similarity" in each] and false.status == "error"
    real = read_clip({"path": str(real_videos["bikes"]), "start_s": 0.0, "end_s": 2.0}, 8, max_side=448)
    for asked, known in ((real, False), (frames, True), (real, False)):
        assert scorer.knows(asked) == known

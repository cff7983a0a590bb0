"""The judge learns from nothing: clips with labels, the labeller, the readers; and a stopped training goes on."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinema.configs import load_config
from kinema.data.source import open_dataset
from kinema.eval.judge.clips import FRAMES, LabelledClips, judge_scene, write_clips
from kinema.eval.judge.fit import main as fit
from kinema.eval.judge.fit import read_tracks
from kinema.eval.judge.labeller import FrameLabeller
from kinema.eval.judge.pixel import PixelJudge
from kinema.eval.judge.train import LabelledFrames, collate, losses, train, vary
from kinema.trainer import SECONDS_LEFT, TrainingPaused

TINY = [
    "judge.num_clips=6", "judge.heldout_clips=4", "judge.channels=[8,12,16]", "train.judge.batch_size=4",
    "train.judge.steps=3", "train.judge.mixed_precision='no'", "train.judge.validate_every=3",
    "train.judge.checkpoint_every=9",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "judge"
    train(load_config("judge", TINY), out)
    return out


def test_stopped_and_started_again_it_ends_with_the_same_weights(run, tmp_path, monkeypatch):
    out = tmp_path / "judge"
    out.mkdir()
    for name in ("clips", "heldout"):
        (out / name).symlink_to(run / name)
    monkeypatch.setenv(SECONDS_LEFT, "0.0001")
    with pytest.raises(TrainingPaused):
        train(load_config("judge", TINY), out)
    monkeypatch.delenv(SECONDS_LEFT)
    train(load_config("judge", TINY), out)
    first, second = (load_file(place / "final" / "diffusion_pytorch_model.safetensors") for place in (run, out))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_readers_are_fitted_and_the_whole_judge_reads(run, tmp_path, capsys):
    fit([str(run), "--out", str(tmp_path / "pixel"), "--epochs", "1", "--clips", "6"])
    assert "camera" in capsys.readouterr().out
    judge = PixelJudge.from_pretrained(tmp_path / "pixel")
    clips = LabelledClips(run / "clips")
    assert judge.read(clips.array("frames")[0], 8.0).seconds == FRAMES / 8


def test_tracks_of_another_labeller_or_of_fewer_clips_are_not_taken(run, tmp_path):
    """The labeller's weights are changed in a copy of the run."""
    copy = tmp_path / "judge"
    (copy / "tracks").mkdir(parents=True)
    (copy / "heldout").symlink_to(run / "heldout")
    shutil.copytree(run / "final", copy / "final")
    one = read_tracks(copy, "heldout", 1, 1)
    assert len(one["moves"]) == 1 and len(read_tracks(copy, "heldout", 2, 1)["moves"]) == 2
    labeller = FrameLabeller.from_pretrained(copy / "final")
    assert isinstance(labeller, FrameLabeller)
    labeller.pixel_head.bias.data += 1
    labeller.save_pretrained(copy / "final")
    read_tracks(copy, "heldout", 1, 1)
    assert len(list((copy / "tracks").iterdir())) == 3


def test_labels_move_with_the_picture(run):
    """Mirrored and zoomed frames keep every pixel's label, and every centre's place on its thing."""
    frames = LabelledFrames(LabelledClips(run / "clips"))
    batch = collate([frames[n * FRAMES] for n in range(6)]) | {"sample_seed": torch.arange(6) * 977}
    plain, truth = vary(batch, plain=True)
    pixels, moved = vary(batch)
    assert pixels.shape == plain.shape and not torch.equal(moved["ids"], truth["ids"])
    again, _ = vary(batch)
    assert torch.equal(again, pixels)
    for n in range(6):
        mask = moved["ids"][n] == 1
        if mask.sum() > 150 and float(truth["centres"][n, 0].isnan().sum()) == 0:
            rows, columns = mask.nonzero(as_tuple=True)
            x, y = moved["centres"][n, 0]
            assert columns.min() - 4 <= x <= columns.max() + 4 and rows.min() - 4 <= y <= rows.max() + 4


def test_right_labels_cost_less_than_wrong_ones(run):
    frames = LabelledFrames(LabelledClips(run / "clips"))
    _, truth = vary(collate([frames[n * FRAMES] for n in range(6)]), plain=True)
    torch.manual_seed(0)
    labels = FrameLabeller(channels=(8, 12, 16))(torch.zeros(6, 3, 64, 64))
    solid = truth["ids"][:, 1::2, 1::2]
    kinds = truth["things"].gather(1, (solid - 1).clamp(min=0).flatten(1)[..., None].expand(-1, -1, 4))
    labels.kind.data.zero_()
    target = torch.where(solid > 0, kinds[..., 0].view_as(solid) + 1, 0)
    flat = losses(labels, truth)["kind"]
    labels.kind.data.scatter_(1, target[:, None], 9.0)
    assert losses(labels, truth)["kind"] < 0.05 < flat


def test_the_judges_corpus_holds_all_levels_and_held_out_pairs():
    scenes = [judge_scene(3, index) for index in range(120)]
    assert {scene.level for scene in scenes} == {0, 1, 2, 3}
    from kinema.data.diorama import is_heldout

    assert 5 < sum(is_heldout(scene) for scene in scenes) < 90
    assert judge_scene(3, 7) == scenes[7]


def test_rendered_clips_serve_any_training(run, tmp_path):
    data = load_config("similarity", [f"data.source={run / 'clips'}"]).data
    dataset = open_dataset(data, seed=0, split="train")
    item = dataset[0]
    assert item["pixel_values"].shape == (3, 5, 64, 64) and item["captions"]["medium"] and item["fps"] == 2
    stored = np.load(run / "clips" / "frames.npy", mmap_mode="r")
    assert np.array_equal(item["pixel_values"].permute(1, 2, 3, 0).numpy(), stored[1, ::4])  # clip 0 is held out
    assert len(open_dataset(data, seed=0, split="heldout")) == 1
    for wrong in ("data.height=32", "data.fps=3", "data.num_frames=9"):
        bad = load_config("similarity", [f"data.source={run / 'clips'}", wrong]).data
        with pytest.raises(ValueError, match="data"):
            open_dataset(bad, seed=0, split="train")


def test_clips_once_rendered_are_not_rendered_again(run):
    before = (run / "clips" / "frames.npy").stat().st_mtime_ns
    write_clips(run / "clips", seed=7, count=6)
    assert (run / "clips" / "frames.npy").stat().st_mtime_ns == before

"""Clips from folders and manifests, on real files."""

import json

import numpy as np
import pytest
import torch

from kinema.configs import load_config
from kinema.data.clips import ClipDataset, ClipError
from kinema.data.manifest import ManifestError, write_manifest
from kinema.data.source import open_dataset
from kinema.data.video_io import VideoOpenError, VideoWarning, write_video

SHAPE = {"height": 32, "width": 32, "num_frames": 5, "fps": 4.0}


def grey(count=20, height=48, width=64):
    """Frame k is a flat grey of value 10 k."""
    return np.repeat(np.arange(count, dtype=np.uint8) * 10, height * width * 3).reshape(count, height, width, 3)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b", "c", "uncaptioned", "broken"):
        write_video(tmp_path / f"{name}.mp4", grey(), 8)
    write_video(tmp_path / "short.mp4", grey(3), 8)
    (tmp_path / "a.txt").write_text("a grey wall\n")
    (tmp_path / "sub/b.json").write_text(json.dumps({"caption": "another", "caption_dense": "another grey wall"}))
    for name in ("c", "short", "broken"):
        (tmp_path / f"{name}.txt").write_text("words")
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / ".a.part.mp4").write_bytes(b"hidden")
    return tmp_path


def test_a_folder_with_sidecar_captions(folder):
    clips = ClipDataset(folder, **SHAPE)
    causes = {path.rsplit("/", 1)[1]: cause for path, cause in clips.rejected}
    assert set(causes) == {"uncaptioned.mp4", "short.mp4", "broken.mp4"}
    assert causes["uncaptioned.mp4"] == "no caption"
    assert causes["short.mp4"].startswith("too short: 0.38 s, and 5 frames need 1.25 s")
    assert causes["broken.mp4"].startswith("unreadable file")
    found = {clip["id"]: clip for clip in (clips[i] for i in range(len(clips)))}
    assert found["sub/b"]["captions"] == {"short": "another", "dense": "another grey wall"}
    pixels = found["sub/b"]["pixel_values"]
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 5, 32, 32)
    # 8 frames a second sampled at 4: every second frame
    assert torch.allclose(pixels.float().mean(dim=(0, 2, 3)).diff(), torch.full((4,), 20.0), atol=4)


def test_train_and_heldout_share_no_clip(folder):
    ids = [{clip["id"] for clip in ClipDataset(folder, **SHAPE, split=split)} for split in ("train", "heldout")]
    assert ids[0] and ids[1] and not ids[0] & ids[1]


def test_a_manifest_gives_the_part_between_start_and_end(folder):
    row = {"id": "x", "path": "c.mp4", "start": 1.0, "end": 2.25, "caption_medium": "wall"}
    write_manifest(folder / "m.parquet", [row])
    (clip,) = ClipDataset(folder / "m.parquet", **SHAPE)
    assert abs(float(clip["pixel_values"][:, 0].float().mean()) - 80) < 4


def test_buckets_give_each_clip_the_nearest_shape(tmp_path):
    for name, size in {"wide": (32, 64), "tall": (64, 32)}.items():
        write_video(tmp_path / f"{name}.mp4", grey(20, *size), 8)
        (tmp_path / f"{name}.txt").write_text(name)
    data = load_config("tiny", [f"data.source={tmp_path}", "data.buckets=[[9, 32, 48], [9, 48, 32]]"]).data
    shapes = {
        c["id"]: tuple(c["pixel_values"].shape)
        for s in ("train", "heldout")
        for c in open_dataset(data, seed=0, split=s)
    }
    assert shapes == {"wide": (3, 9, 32, 48), "tall": (3, 9, 48, 32)}


def test_a_source_without_usable_clips_counts_the_causes(folder):
    with pytest.raises(ClipError, match=r"too short \(4\).*no caption \(1\)|no caption \(1\).*too short \(4\)"):
        ClipDataset(folder, height=32, width=32, num_frames=99, fps=4.0)
    with pytest.raises(FileNotFoundError, match="neither 'diorama'"):
        ClipDataset(folder / "nothing", **SHAPE)


def test_a_long_video_gives_one_fixed_part_of_it_that_depends_on_its_name(tmp_path):
    for name in "abcdefgh":
        write_video(tmp_path / f"{name}.mp4", grey(24), 8)
        (tmp_path / f"{name}.txt").write_text("wall")
    first = {
        clip["id"]: clip["pixel_values"].float().mean(dim=(0, 2, 3)) for clip in ClipDataset(tmp_path, **SHAPE)
    }
    again = {
        clip["id"]: clip["pixel_values"].float().mean(dim=(0, 2, 3)) for clip in ClipDataset(tmp_path, **SHAPE)
    }
    assert len(first) == 7  # one is held out
    starts = set()
    for name, levels in first.items():
        assert torch.equal(levels, again[name])
        assert torch.allclose(levels.diff(), torch.full((4,), 20.0), atol=4)
        starts.add(round(float(levels[0]) / 10))
    assert len(starts) > 2 and max(starts) <= 24 - 9


def test_frame_rates_are_drawn_from_those_a_clip_is_long_enough_for(tmp_path):
    for k in range(12):
        write_video(tmp_path / f"{k}.mp4", grey(20 if k else 6), 8)
        (tmp_path / f"{k}.txt").write_text("wall")
    both = [ClipDataset(tmp_path, **SHAPE, fps_choices=(2.0, 8.0), split=s) for s in ("train", "heldout")]
    rates = {clip["id"]: clip["fps"] for clips in both for clip in clips}
    assert rates["0"] == 8.0 and set(rates.values()) == {2.0, 8.0}
    steps = {clip["id"]: clip["pixel_values"].float().mean(dim=(0, 2, 3)).diff().mean() for clip in both[0]}
    assert all(abs(float(step) - 80 / rates[name]) < 4 for name, step in steps.items())


def test_a_damaged_clip_is_replaced_with_a_warning(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (16, 48, 64, 3), dtype=np.uint8)
    for name in "abc":
        write_video(tmp_path / f"{name}.mp4", noise, 8)
        (tmp_path / f"{name}.txt").write_text("noise")
    clips = ClipDataset(tmp_path, height=32, width=32, num_frames=16, fps=8.0)
    assert [clips[i]["id"] for i in range(2)] == ["b", "c"]
    whole = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(VideoWarning, match=r"b\.mp4.*takes its place"):
        clip = clips[0]
    assert (clip["id"], clip["index"]) == ("c", 0)
    (tmp_path / "c.mp4").unlink()
    with pytest.raises(VideoOpenError, match="no such file"), pytest.warns(VideoWarning):
        clips[0]


def test_a_manifest_that_knows_the_sizes_spares_opening_the_files(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"never opened")
    row = {"id": "x", "path": "a.mp4", "caption_short": "wall", "width": 64, "height": 48, "duration": 3.0}
    write_manifest(tmp_path / "manifest.parquet", [row])
    (tmp_path / "other.csv").write_text("path,caption\nb.mp4,x\n")
    assert len(ClipDataset(tmp_path, **SHAPE)) == 1  # manifest.parquet goes before other tables


@pytest.mark.parametrize("content", ["{", "[1, 2]", "3"])
def test_a_caption_file_that_cannot_be_read_is_named(tmp_path, content):
    write_video(tmp_path / "a.mp4", grey(), 8)
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ManifestError, match=r"a\.json cannot be read"):
        ClipDataset(tmp_path, **SHAPE)

"""Clips from folders and manifests, on real files."""

import json

import numpy as np
import pytest
import torch

from kinema.configs import load_config
from kinema.data.clips import ClipDataset, ClipError, fit
from kinema.data.manifest import write_manifest
from kinema.data.source import open_dataset
from kinema.data.video_io import write_video

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
    return tmp_path


def test_a_folder_with_sidecar_captions(folder):
    clips = ClipDataset(folder, **SHAPE)
    causes = {path.rsplit("/", 1)[1]: cause for path, cause in clips.rejected}
    assert causes["uncaptioned.mp4"] == "no caption"
    assert causes["short.mp4"].startswith("too short: 1 frames at 4 a second")
    assert causes["broken.mp4"].startswith("unreadable file")
    found = {clip["id"]: clip for clip in (clips[i] for i in range(len(clips)))}
    assert found["sub/b"]["captions"] == {"short": "another", "dense": "another grey wall"}
    pixels = found["sub/b"]["pixel_values"]
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 5, 32, 32)
    # 8 frames a second sampled at 4: every second frame
    assert torch.allclose(pixels.float().mean(dim=(0, 2, 3)), torch.arange(5) * 20.0, atol=4)


def test_train_and_heldout_share_no_clip(folder):
    ids = [{clip["id"] for clip in ClipDataset(folder, **SHAPE, split=split)} for split in ("train", "heldout")]
    assert ids[0] and ids[1] and not ids[0] & ids[1]


def test_a_manifest_gives_the_part_between_start_and_end(folder):
    row = {"id": "x", "path": "c.mp4", "start": 1.0, "end": 2.5, "caption_medium": "wall"}
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


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 64), (64, 16), (7, 5)])
def test_fit_covers_the_shape_and_keeps_the_aspect(height, width):
    picture = np.zeros((1, 40, 60, 3), np.uint8)
    picture[:, 10:30, 20:40] = 255  # a square stays a square
    inside = fit(picture, height, width)[0, 0] > 127
    assert inside.shape == (height, width)
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    expected = 20 * max(height / 40, width / 60)
    assert abs(int(rows) - min(height, expected)) <= 1 and abs(int(columns) - min(width, expected)) <= 1

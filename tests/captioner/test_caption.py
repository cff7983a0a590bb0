"""`kinema caption` on real files: good, bad, doubled, resumed."""

import argparse
import json
import shutil

import numpy as np
import pytest
import torch

from kinema import ContrastiveCaptioner, write_video
from kinema.captioner import command as caption_command
from kinema.captioner.command import CaptionError, caption_folder, command, read_evenly
from kinema.conditioner.tokenizer import train_tokenizer
from kinema.data.manifest import read_manifest


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("captioner")
    ContrastiveCaptioner(
        vocab_size=300, context_length=8, width=16, num_layers=1, num_decoder_layers=1, num_heads=2, embed_dim=16,
        image_size=16, patch_size=8, num_frames=3, vision_width=16, vision_layers=1, vision_heads=2,
        caption_tokens=4, vocabulary=["a", "ball"], tokenizer=train_tokenizer(["a red ball"], 300, 8),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def video(path, seed=0, frames=6, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = np.random.default_rng(seed).integers(0, 255, (frames, 1, 1, 3), dtype=np.uint8)
    write_video(path, np.broadcast_to(shade, (frames, *size, 3)).copy(), 8)


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "videos"
    video(source / "a.mp4", 0)
    video(source / "sub" / "b.mp4", 1, frames=1)
    video(source / "sub" / "b.mov", 2, size=(33, 17))
    (source / "a.txt").write_text("my own words")
    (source / "text.mp4").write_text("this is no video")
    (source / "empty.mp4").touch()
    whole = (source / "sub" / "b.mov").read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return source


def test_good_files_are_captioned_and_bad_ones_set_aside_with_their_reason(folder, captioner, tmp_path):
    out = tmp_path / "deep" / "out"
    rows, quarantined = caption_folder(folder, out, captioner)
    manifest = read_manifest(out / "manifest.parquet")
    assert sorted(row["id"] for row in manifest) == ["a", "sub/b.mov", "sub/b.mp4"]
    for row in manifest:
        assert (out / row["path"]).is_file()
        for level in ("short", "medium", "dense"):
            assert isinstance(row[f"caption_{level}"], str) and -1.001 <= row[f"score_{level}"] <= 1.001
    by_id = {row["id"]: row for row in manifest}
    assert by_id["a"]["caption_original"] == "my own words"
    assert (by_id["sub/b.mov"]["width"], by_id["sub/b.mov"]["height"]) == (17, 33)
    listed = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert listed == quarantined and len(rows) == 3
    assert sorted(each["path"] for each in listed) == ["cut.mp4", "empty.mp4", "text.mp4"]
    assert all(each["path"] in each["reason"] for each in listed)
    assert (out / "sheet.png").stat().st_size > 500


def test_a_killed_run_repeats_nothing_that_was_finished(folder, captioner, tmp_path, monkeypatch):
    done = []
    original = caption_command._describe

    def counted(limit):
        def describe(model, row, root):
            if len(done) == limit:
                raise KeyboardInterrupt
            done.append(row["path"])
            return original(model, row, root)

        monkeypatch.setattr(caption_command, "_describe", describe)

    out = tmp_path / "out"
    for limit in (2, 4):
        counted(limit)
        with pytest.raises(KeyboardInterrupt):
            caption_folder(folder, out, captioner)
        assert not (out / "manifest.parquet").exists()
    counted(None)
    rows, _ = caption_folder(folder, out, captioner)
    assert len(done) == len(set(done)) == 6
    monkeypatch.setattr(caption_command, "_describe", original)
    assert caption_folder(folder, tmp_path / "other", captioner)[0] == rows


def test_a_changed_or_added_file_is_captioned_and_the_rest_kept(folder, captioner, tmp_path):
    out = tmp_path / "out"
    caption_folder(folder, out, captioner)
    times = {path.name: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    video(folder / "a.mp4", 5, frames=3)
    video(folder / "new.mp4", 6)
    rows, _ = caption_folder(folder, out, captioner)
    assert {row["id"]: row["frames"] for row in rows} == {"a": 3, "new": 6, "sub/b.mov": 6, "sub/b.mp4": 1}
    now = {path.name: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    assert len(now) == len(times) + 2 and times.items() <= now.items()


def test_frames_are_spread_over_the_whole_video(tmp_path):
    ramp = np.broadcast_to(np.arange(0, 250, 10, dtype=np.uint8)[:, None, None, None], (25, 16, 16, 3))
    write_video(tmp_path / "ramp.mp4", ramp.copy(), 10, crf=0)
    spread = read_evenly(tmp_path / "ramp.mp4", 5)
    assert np.abs(spread.frames.mean((1, 2, 3)) - [0, 60, 120, 180, 240]).max() <= 11
    assert spread.fps == pytest.approx(4 / 2.4, rel=0.01)
    part = read_evenly(tmp_path / "ramp.mp4", 3, start=1.0, end=2.0)
    assert np.abs(part.frames.mean((1, 2, 3)) - [100, 145, 190]).max() <= 11


def test_captions_of_two_captioners_are_not_mixed(folder, captioner, tmp_path):
    caption_folder(folder, tmp_path / "out", captioner)
    other = tmp_path / "captioner"
    shutil.copytree(captioner, other)
    model = ContrastiveCaptioner.from_pretrained(other)
    torch.nn.init.zeros_(model.logit_scale)
    model.save_pretrained(other)
    with pytest.raises(CaptionError, match="another captioner"):
        caption_folder(folder, tmp_path / "out", other)


def test_missing_captioner_and_missing_videos_are_named(folder, captioner, tmp_path):
    with pytest.raises(CaptionError, match="kinema train conditioner"):
        caption_folder(folder, tmp_path / "out", tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(CaptionError, match="holds no video"):
        caption_folder(tmp_path / "bare", tmp_path / "out", captioner)
    assert not (tmp_path / "out").exists()
    with pytest.raises(CaptionError, match="folder of the videos"):
        caption_folder(folder, folder, captioner)


def test_the_command_says_what_came_out_and_what_the_captioner_does_not_know(folder, captioner, tmp_path, capsys):
    command(argparse.Namespace(source=folder, out=tmp_path / "out", captioner=captioner, device=None))
    printed = capsys.readouterr().out
    assert "3 clips captioned, 3 set aside" in printed and "2 words of Diorama" in printed

"""What clips are measured by: on real videos and on edits of them whose effect is known."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kinema import write_video
from kinema.captioner.engine.commits import CaptionError, StageTable
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.signals import measures, text_area
from kinema.captioner.signals.colours import COLOURS, colour_shares
from kinema.captioner.signals.embedding import open_embedding
from kinema.captioner.signals.hashing import HASH_BITS, clip_hash, hash_words
from kinema.captioner.signals.looking import look_at
from kinema.captioner.signals.nsfw import UnsafeClassifier
from kinema.captioner.signals.stage import STAGE
from kinema.captioner.tables import SHOTS, SIGNALS
from kinema.data.video_io import probe, read_video

ANY_FRAMES = st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda shape: arrays(np.uint8, (*shape, 3))
)


def clip_row(path, start=0.0, end=None, **more):
    info = probe(path)
    known = {"clip_id": f"{Path(path).stem}@{start}", "path": str(path), "start_s": start}
    known |= {"end_s": end or info.duration, "fps": info.fps, "width": info.width, "height": info.height}
    return known | {"crop": None, "letterbox": 0.0, "status": "ok"} | more


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return STAGE.worker(tmp_path_factory.mktemp("dataset"), CaptionSettings())


@pytest.fixture(scope="module")
def phone(real_videos):
    return read_video(real_videos["carphone_pristine"], num_frames=16)


def distance(a, b):
    one, two = hash_words([a, b])
    return int(np.bitwise_count(one ^ two).sum())


def test_real_clips_get_all_their_scores(real_videos, work):
    bikes, bunny = work(
        [clip_row(real_videos["bikes"], 0.0, 1.8), clip_row(real_videos["bigbuckbunny"], 0.0, 1.0)]
    )
    for row in (bikes, bunny):
        assert row["status"] == "ok" and len(row["embedding"]) == 128
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)
        assert row["scores"]["static"] == 0 and row["scores"]["black"] == 0
        assert row["scores"]["text_area"] is None and row["scores"]["nsfw"] is None and row["text"] is None
        assert set(row["scores"]) == {field.name for field in SIGNALS.field("scores").type}
    assert {"green", "grey"} <= set(bunny["scores"]["colours"][:3])
    assert bunny["scores"]["sharpness"] > 0.5 and bunny["scores"]["aspect"] == pytest.approx(16 / 9)
    assert bikes["scores"]["motion"] > 5 * bunny["scores"]["motion"]
    pa.Table.from_pylist([bikes, bunny], SIGNALS)


def test_a_frozen_clip_is_static_and_a_black_one_black_though_they_were_encoded(phone, work, tmp_path):
    frozen = np.repeat(phone.frames[:1], 20, axis=0)
    write_video(tmp_path / "frozen.mp4", frozen, 25, crf=35)
    noise = np.random.default_rng(0).integers(0, 12, (20, 96, 128, 3), np.uint8)
    write_video(tmp_path / "black.mp4", noise, 25)
    write_video(tmp_path / "half.mp4", np.concatenate([np.zeros_like(noise), noise + 100]), 25)
    rows = work([clip_row(tmp_path / f"{name}.mp4") for name in ("frozen", "black", "half")])
    frozen, black, half = (row["scores"] for row in rows)
    assert frozen["static"] == 1 and frozen["black"] == 0
    assert frozen["camera_move"] == "static" and frozen["motion"] < 0.01
    assert black["black"] == 1 and black["brightness"] < 0.05 and black["colours"] == ["black"]
    assert half["black"] == pytest.approx(0.5, abs=0.1)


def test_a_small_thing_that_moves_is_not_a_still_picture(phone, tmp_path):
    frames = np.repeat(phone.frames[:1], 16, axis=0)
    for k, frame in enumerate(frames):
        frame[60:76, 5 + 10 * k : 21 + 10 * k] = 255 - frame[60:76, 5 + 10 * k : 21 + 10 * k]
    assert measures.static_share(frames) == 0


def test_sharpness_falls_with_blur_and_hardly_with_contrast(real_videos):
    frames = read_video(real_videos["bigbuckbunny"], num_frames=2).frames
    values = [measures.sharpness(frames)]
    for sigma in (1, 2, 4, 8, 16):
        values.append(measures.sharpness(np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])))
    assert values == sorted(values, reverse=True) and values[0] > 0.6 and values[-2] < 0.1
    pale = (frames * 0.4 + 90).astype(np.uint8)
    assert measures.sharpness(pale) == pytest.approx(values[0], abs=0.2)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("red", "dc143c"), ("red", "8b0000"), ("orange", "ffa500"), ("yellow", "ffd700"), ("green", "228b22"),
        ("green", "00ff00"), ("cyan", "40e0d0"), ("blue", "4169e1"), ("blue", "000080"), ("purple", "8a2be2"),
        ("pink", "ffb6c1"), ("brown", "8b4513"), ("black", "050505"), ("grey", "a9a9a9"), ("white", "fffafa"),
    ],
)  # fmt: skip
def test_colours_have_the_word_a_person_would_use(word, code):
    frames = np.tile(np.array([*bytes.fromhex(code)], np.uint8), (2, 4, 4, 1))
    assert measures.colour_words(frames) == [word]


@settings(max_examples=60, deadline=None)
@given(frames=ANY_FRAMES)
def test_any_frames_give_scores_in_their_ranges(frames):
    shares = colour_shares(frames)
    assert set(shares) == set(COLOURS) and sum(shares.values()) == pytest.approx(1)
    for score in (measures.black_share, measures.brightness, measures.sharpness):
        assert 0 <= score(frames) <= 1
    static = measures.static_share(frames)
    assert (static is None) == (len(frames) == 1) and 0 <= (static or 0.0) <= 1
    assert set(measures.colour_words(frames)) <= set(COLOURS)
    assert len(clip_hash(frames)) == HASH_BITS // 4
    assert max(measures.smaller(frames, 8).shape[1:3]) <= 8


def test_the_hash_outlives_encoding_and_size_and_tells_clips_apart(real_videos, tmp_path):
    clips = {
        (name, start): read_video(real_videos[name], start=start, end=start + 1, size=(144, 224))
        for name, start in (("bikes", 0), ("bikes", 4), ("carphone_pristine", 0), ("carphone_pristine", 2),
                            ("bigbuckbunny", 0), ("bigbuckbunny", 3))
    }  # fmt: skip
    hashes = {}
    for name, clip in clips.items():
        hashes[name] = clip_hash(clip.frames)
        for crf, scale in ((35, 0.9), (28, 0.4)):
            small = np.stack(
                [cv2.resize(f, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for f in clip.frames]
            )
            small = small[:, : small.shape[1] // 2 * 2, : small.shape[2] // 2 * 2]
            write_video(tmp_path / "copy.mp4", small, clip.fps, crf=crf)
            assert distance(hashes[name], clip_hash(read_video(tmp_path / "copy.mp4").frames)) <= 8, (name, crf)
    apart = [distance(a, b) for one, a in hashes.items() for two, b in hashes.items() if one < two]
    assert min(apart) > 16
    distorted = read_video(real_videos["carphone_distorted"], start=0, end=1)
    assert distance(hashes["carphone_pristine", 0], clip_hash(distorted.frames)) <= 16


def test_neighbours_are_near_each_other_and_the_rest_is_spread(real_videos):
    look = look_at(clip_row(real_videos["bikes"], 4.6, 7.6), 16)
    assert len(look.spaced) == 16 and len(look.near) == 8
    gaps = [look.times[b] - look.times[a] for a, b in look.near]
    assert max(gaps) < 0.15 and min(gaps) > 0.05
    steps = np.diff(look.times[look.spaced])
    assert steps.max() - steps.min() < 0.1 and max(look.frames.shape[1:3]) <= 640


def test_a_clip_of_one_frame_and_one_of_a_pixel_are_measured(work, tmp_path):
    write_video(tmp_path / "one.mp4", np.full((1, 32, 32, 3), 200, np.uint8), 8)
    write_video(tmp_path / "dot.mp4", np.zeros((3, 2, 2, 3), np.uint8), 8)
    one, dot = work([clip_row(tmp_path / "one.mp4", end=0.125), clip_row(tmp_path / "dot.mp4", crop=[0, 0, 1, 1])])
    assert one["status"] == dot["status"] == "ok"
    assert one["scores"]["motion"] is None and one["scores"]["static"] is None


def test_clips_that_cannot_be_read_are_quarantined_with_the_reason(work, tmp_path, real_videos):
    rows = work([
        clip_row(real_videos["world"], 0.0, 1.0) | {"path": str(tmp_path / "gone.mp4")},
        clip_row(real_videos["world"], 0.0, 1.0),
    ])  # fmt: skip
    assert [row["status"] for row in rows] == ["quarantined", "ok"]
    assert "gone.mp4" in rows[0]["reason"]
    pa.Table.from_pylist(rows, SIGNALS)


def test_only_usable_clips_are_measured(tmp_path):
    shots = StageTable(tmp_path, "shots", SHOTS)
    shots.commit(["a"], [{"clip_id": "a", "status": "ok"}, {"clip_id": "b", "status": "quarantined"}])
    assert [row["clip_id"] for row in STAGE.inputs(tmp_path, CaptionSettings())] == ["a"]


def test_text_in_the_picture_is_found_and_read(real_videos):
    pytest.importorskip("rapidocr", reason="pip install 'kinema[test]' brings it")
    frames = read_video(real_videos["bigbuckbunny"], num_frames=1, size=(360, 640)).frames
    reader = text_area.TextReader()
    assert reader(frames).area == 0
    for frame in frames:
        cv2.rectangle(frame, (50, 150), (450, 210), (0, 0, 0), -1)
        cv2.putText(frame, "SUMMER SALE 2024", (60, 195), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
    found = reader(frames)
    assert 0.02 < found.area < 400 * 60 / (640 * 360) * 1.3
    assert "summersale2024" in "".join(found.strings).replace(" ", "").lower()


def test_a_missing_extra_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(text_area, "find_spec", lambda name: None)
    asked = CaptionSettings.model_validate({"signals": {"text": True}})
    with pytest.raises(CaptionError, match=r"pip install 'kinema\[ocr\]'"):
        next(iter(STAGE.inputs(tmp_path, asked)))


def test_an_unsafe_classifier_is_any_of_transformers_with_such_a_label(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    def save(folder, labels):
        config = ViTConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=16,
            patch_size=8, id2label=dict(enumerate(labels)), label2id={label: k for k, label in enumerate(labels)},
        )  # fmt: skip
        model: Any = ViTForImageClassification(config)
        model.classifier.bias.data[:] = model.classifier.bias.new_tensor([3.0, 0.0])
        model.classifier.weight.data.zero_()
        model.save_pretrained(folder)
        ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)

    save(tmp_path / "good", ["NSFW", "normal"])
    save(tmp_path / "other", ["cat", "dog"])
    frames = np.zeros((5, 20, 30, 3), np.uint8)
    assert UnsafeClassifier(str(tmp_path / "good"))(frames) == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-4)
    with pytest.raises(CaptionError, match="tells cat, dog apart"):
        UnsafeClassifier(str(tmp_path / "other"))
    with pytest.raises(CaptionError, match="gives no image classifier"):
        UnsafeClassifier(str(tmp_path))


def test_the_embedding_is_named_or_the_error_says_how():
    with pytest.raises(CaptionError, match="open_clip:MODEL:PRETRAINED"):
        open_embedding("clip")
    with pytest.raises(CaptionError, match="no ViT-B-32 with weights nothing"):
        open_embedding("open_clip:ViT-B-32:nothing")


def test_an_open_clip_tower_embeds_clips(tmp_path):
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    tower = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    (tmp_path / "kinema-tiny.json").write_text(
        json.dumps({"embed_dim": 16, "vision_cfg": tower, "text_cfg": text})
    )
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    weights = open_clip.create_model("kinema-tiny").state_dict()
    save_file({name: value.clone() for name, value in weights.items()}, tmp_path / "tiny.safetensors")
    embed = open_embedding(f"open_clip:kinema-tiny:{tmp_path / 'tiny.safetensors'}", "cpu")
    frames = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), np.uint8)
    found = embed(frames, 8.0)
    assert found.shape == (16,) and np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert found @ embed(frames[::-1], 8.0) == pytest.approx(1, abs=1e-5)  # the mean over frames

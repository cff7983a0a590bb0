"""Local backends on tiny models: what reaches the model, and what is made of its answers."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema import ContrastiveCaptioner
from kinema.captioner.backends import Request, identity, open_backend
from kinema.captioner.backends.asking import read_answer
from kinema.captioner.backends.base import fingerprint, sha
from kinema.captioner.backends.coca import CaptionerBackend
from kinema.captioner.backends.open_clip_coca import OpenClipBackend
from kinema.captioner.backends.transformers_vlm import TransformersBackend, dated
from kinema.captioner.captions.densify import open_densifier
from kinema.captioner.captions.facts import Facts, to_json
from kinema.captioner.engine.commits import CaptionError
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.shots.frames import ClipFrames
from kinema.conditioner.tokenizer import train_tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import tiny_models

FACTS = Facts(setting="snow", actions=["a car drives"])
TIMES = [0.0, 0.4, 0.8, 1.2]


def request(levels=("structured",), seed=1, size=(48, 64), start=10.0, **more):
    pixels = np.random.default_rng(seed).integers(0, 255, (4, *size, 3), dtype=np.uint8)
    frames = ClipFrames(pixels, start + np.array(TIMES), [0, 4, 8, 12], 2.5)
    facts = None if levels == ("structured",) else FACTS
    clip = {"clip_id": "c", "start_s": start, "end_s": start + 1.6}
    return Request(clip=clip, levels=levels, frames=frames, facts=facts, seed=seed, **more)


def backend(**captions):
    settings = CaptionSettings.model_validate({"captions": {key: str(value) for key, value in captions.items()}})
    return open_backend(settings)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    names = ("qwen3_vl", "qwen2_5_vl", "idefics3", "llama", "open_clip_coca")
    return {name: getattr(tiny_models, name)(folder / name) for name in names}


def test_a_qwen3_reads_the_true_time_of_each_pair_of_frames(models):
    writer = backend(backend="transformers", model=models["qwen3_vl"])
    assert writer.takes_video
    text = writer.tokenizer.decode(writer._inputs([request()])["input_ids"][0])
    assert "<0.2 seconds>" in text and "<1.0 seconds>" in text
    assert "at 0.00, 0.40, 0.80, 1.20 seconds" in text and "of 1.60 seconds" in text
    assert text.endswith("<|im_start|>assistant\n")


def test_a_qwen2_5_is_told_how_long_two_frames_last(models):
    writer = backend(backend="transformers", model=models["qwen2_5_vl"])
    inputs = writer._inputs([request()])
    assert writer.takes_video and inputs["second_per_grid_ts"].tolist() == pytest.approx([0.8])
    assert inputs["video_grid_thw"].tolist()[0][0] == 2  # all four frames, in pairs


def test_a_model_without_videos_gets_pictures_each_behind_its_time(models):
    writer = backend(backend="transformers", model=models["idefics3"])
    assert not writer.takes_video
    inputs = writer._inputs([request()])
    text = writer.tokenizer.decode(inputs["input_ids"][0])
    parts = text.split("Frame at ")[1:]
    assert [part[:7] for part in parts] == [f"{time:.2f} s:" for time in TIMES]
    assert all(part.count("<image>") == 4 for part in parts) and inputs["pixel_values"].shape[1] == 4


def test_metadata_dates_the_frames_from_the_clip_s_beginning():
    metadata = dated(request(start=100.0))
    assert [index / metadata["fps"] for index in metadata["frames_indices"]] == pytest.approx(TIMES)
    rate = len(metadata["frames_indices"]) / metadata["total_num_frames"] * metadata["fps"]
    assert rate == pytest.approx(2.5) and metadata["duration"] == pytest.approx(1.6)


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen2_5_vl", "idefics3"])
def test_models_answer_the_same_for_one_seed_and_see_the_frames(models, name):
    writer = TransformersBackend(str(models[name]), max_tokens=6)
    first, again, other = (writer.write([each])[0] for each in (request(), request(), request(seed=2)))
    assert first.raw == again.raw and first.prompt_tokens > 500 and 0 < first.output_tokens <= 6
    assert first.status in ("truncated", "error") and first.facts is None and first.error
    assert first.latency_ms > 0 and other.prompt_tokens == first.prompt_tokens
    state = torch.random.get_rng_state()
    drawn = [writer.write([request(temperature=2.0, seed=seed)])[0].raw for seed in (5, 5)]
    assert drawn[0] == drawn[1] and torch.equal(state, torch.random.get_rng_state())
    black = dataclasses.replace(request().frames, frames=np.zeros((4, 48, 64, 3), np.uint8))
    with torch.no_grad():
        seen = [
            writer.network(**writer._inputs([each])).logits[0, -1]
            for each in (request(), dataclasses.replace(request(), frames=black))
        ]
    assert not torch.allclose(seen[0], seen[1])


def test_several_clips_of_one_batch_are_answered_as_alone(models):
    writer = TransformersBackend(str(models["idefics3"]), max_tokens=6)
    clips = [request(), request(("short", "dense")), request(seed=3)]
    alone = [writer.write([each])[0].raw for each in clips]
    assert [answer.raw for answer in writer.write(clips)] == alone
    assert [answer.raw for answer in writer._write([clips[0], clips[2]])] == [alone[0], alone[2]]  # as on a GPU


def test_a_text_model_densifies_from_the_facts_alone(models):
    settings = CaptionSettings.model_validate(
        {"captions": {"densify_model": str(models["llama"]), "max_tokens": 6}}
    )
    writer = open_densifier(settings, "cpu")
    assert writer is not None and not writer.sees
    asked = Request(clip={}, levels=("short", "dense"), facts=FACTS)
    text = writer.tokenizer.decode(writer._inputs([asked])["input_ids"][0])
    assert to_json(FACTS) in text and '"short", "dense"' in text and "have not seen the clip" in text
    assert writer.write([asked])[0].output_tokens > 0
    assert writer.prompt_sha(("short",)) == sha("densify") != sha("captions")
    assert open_densifier(CaptionSettings(), "cpu") is None


def test_open_clip_writes_the_short_level_of_its_frames_and_no_other(models):
    writer = backend(backend="open_clip", model=models["open_clip_coca"])
    assert isinstance(writer, OpenClipBackend) and writer.model == "open_clip_coca"
    short, facts, dense = writer.write([request(("short",)), request(), request(("dense",))])
    assert short.texts.get("short") or short.status == "error"
    assert len(short.raw.splitlines()) == 4 and 0 < short.output_tokens <= 4 * 12
    assert (facts.status, dense.status) == ("skipped", "skipped") and "densify_model" in dense.error
    assert writer.write([request(("short",))])[0].raw == short.raw
    drawn = {writer.write([request(("short",), temperature=1.0, seed=seed)])[0].raw for seed in (1, 1, 2)}
    assert len(drawn) == 2


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


def test_our_captioner_writes_clips_together_as_alone_and_draws_by_the_seed_alone(captioner):
    writer = backend(backend="captioner", model=captioner)
    assert isinstance(writer, CaptionerBackend) and writer.num_frames == 3
    clips = [
        request((level,), seed, size)
        for level in ("short", "dense")
        for seed, size in ((1, (9, 20)), (2, (30, 8)))
    ]
    together = [answer.raw for answer in writer.write(clips)]
    assert together == [writer.write([each])[0].raw for each in clips]
    drawn = [request(("short",), seed, temperature=0.7) for seed in (1, 2, 1)]
    raws = [answer.raw for answer in writer.write(drawn)]
    assert raws == [writer.write([each])[0].raw for each in drawn] and raws[0] == raws[2]


def test_facts_of_our_captioner_are_read_or_are_an_error_and_without_a_scene_it_has_none(captioner, tmp_path):
    (answer,) = backend(model=captioner).write([request()])
    assert answer.status in ("error", "truncated") and answer.facts is None and answer.can_retry
    open_model = ContrastiveCaptioner.from_pretrained(captioner)
    open_model.register_to_config(vocabulary=None)
    open_model.save_pretrained(tmp_path)
    (answer,) = backend(model=tmp_path).write([request()])
    assert answer.status == "skipped" and "states no facts" in answer.error


def test_the_packaged_captioner_states_facts_and_captions_of_diorama():
    from kinema.data.diorama import DioramaDataset

    item = DioramaDataset(
        seed=5,
        split="train",
        difficulty=(0, 0),
        height=64,
        width=64,
        num_frames=9,
        fps=8,
        num_clips=1,
        supersample=1,
    )[0]
    pixels = item["pixel_values"].permute(1, 2, 3, 0).numpy()[::2]
    frames = ClipFrames(pixels, np.arange(5) / 4, list(range(5)), 4.0)
    writer = open_backend(CaptionSettings())
    clips = [Request({"clip_id": "d"}, (level,), frames) for level in ("structured", "dense")]
    facts, dense = writer.write(clips)
    assert facts.facts is not None and facts.facts.subjects and facts.facts.setting
    assert dense.texts["dense"].count(".") >= 2 and dense.output_tokens > 10
    assert writer.model == "kinema/default" and len(writer.revision) == 32


def test_identity_names_the_weights_without_loading_them(models, captioner):
    def of(**captions):
        return identity(CaptionSettings.model_validate({"captions": captions}))

    assert of()["revision"] == open_backend(CaptionSettings()).revision
    mine = of(model=str(captioner))
    assert mine["model"] == captioner.name and mine["revision"] != of()["revision"]
    assert of(backend="transformers", model=str(models["idefics3"]))["revision"]
    assert of(backend="openai", model="m")["revision"] == ""
    assert of(densify_model=str(models["llama"]))["densify_revision"]
    before = mine["revision"]
    fingerprint.cache_clear()
    (captioner / "note.json").write_text("{}")
    assert of(model=str(captioner))["revision"] != before
    (captioner / "note.json").unlink()
    fingerprint.cache_clear()


@pytest.mark.parametrize(
    "captions, said",
    [
        ({"backend": "transformers"}, r"set captions\.model"),
        ({"backend": "transformers", "model": "/nowhere/at all"}, "cannot be loaded"),
        ({"backend": "open_clip", "model": "ViT-B-32"}, "which weights"),
        ({"model": "/nowhere"}, "kinema train conditioner"),
    ],
)
def test_what_cannot_be_opened_says_what_to_give(captions, said):
    with pytest.raises(CaptionError, match=said):
        backend(**captions)


def test_a_model_without_a_chat_template_is_refused(models, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(models["llama"], folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CaptionError, match="no chat template"):
        TransformersBackend(str(folder), sees=False)


@pytest.mark.parametrize(
    "levels, raw, finished, status",
    [
        (("short",), "A red car on snow", True, "success"),
        (("short",), "A red car on", False, "truncated"),
        (("short",), '{"short": "A red car"} and then some', False, "success"),
        (("short", "dense"), '{"short": "A red car"}', True, "error"),
        (("short", "dense"), '{"short": "A red car", "dense": ["no"]}', True, "error"),
        (("short", "dense"), "A red car", True, "error"),
        (("short", "dense"), json.dumps({"short": "A", "dense": "B"}), True, "success"),
    ],
)
def test_prose_is_read_or_told_what_is_wrong(levels, raw, finished, status):
    answer = read_answer(Request({}, levels, facts=FACTS), raw, finished=finished)
    assert answer.status == status and answer.raw == raw
    assert bool(answer.error) == (status == "error")

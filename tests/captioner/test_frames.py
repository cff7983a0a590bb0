"""Frames of clips come at their true times, from inside the clip, whatever the file is like."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema import write_video
from kinema.captioner.shots.frames import fitted, read_clip
from kinema.data.video_io import VideoError, VideoRangeError, frame_times, iter_stills, iter_video
from kinema.data.video_times import FrameTime, evenly


def numbered(count, height=32, width=48):
    """Frames that say which they are: brightness 3 times their number."""
    return np.broadcast_to(3 * np.arange(count, dtype=np.uint8)[:, None, None, None], (count, height, width, 3))


def numbers(frames):
    return [round(float(frame.mean()) / 3) for frame in frames]


def test_frames_are_evenly_spaced_and_inside_the_range(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(60), 20)
    clip = read_clip({"path": path, "start_s": 0.5, "end_s": 2.5}, 5)
    assert numbers(clip.frames) == [10, 20, 30, 39, 49]  # 50 is shown at 2.5 s, which is outside
    np.testing.assert_allclose(clip.times, np.array([10, 20, 30, 39, 49]) / 20, atol=1e-6)
    assert clip.fps == pytest.approx(4 / 1.95)
    assert [still.pts for still in iter_stills(path) if round(still.time * 20) in (10, 20, 30, 39, 49)] == clip.pts


@given(st.lists(st.floats(0.002, 3), min_size=1, max_size=40), st.integers(1, 50))
def test_evenly_gives_different_frames_in_order_with_both_ends(gaps, count):
    times = [FrameTime(float(t), k, False) for k, t in enumerate(np.cumsum(gaps))]
    chosen = evenly(times, count)
    assert len(chosen) == min(count, len(times))
    assert chosen == sorted(set(chosen))
    if len(chosen) > 1:
        assert chosen[0] == times[0] and chosen[-1] == times[-1]


def test_variable_frame_rate_goes_by_time_not_by_number(tmp_path, write_at):
    pts = [*range(0, 40), *range(40, 640, 20)]  # 40 frames in the first second of 16, 30 in the others
    path = write_at(tmp_path / "vfr.mkv", numbered(70), pts, Fraction(1, 40))
    clip = read_clip({"path": path, "start_s": 0.0, "end_s": None}, 4)
    np.testing.assert_allclose(clip.times, np.linspace(0, 15.5, 4), atol=0.25 + 1e-6)
    assert numbers(clip.frames) == [0, *(40 + round((t - 1) * 2) for t in clip.times[1:])]


@pytest.mark.parametrize("first", [900, -3])
def test_pts_are_the_streams_own_and_times_count_from_the_first_frame(tmp_path, write_at, first):
    path = write_at(tmp_path / "late.mkv", numbered(50), range(first, first + 50), Fraction(1, 25))
    stills = list(iter_stills(path))
    with av.open(str(path)) as container:
        own = [frame.pts for frame in container.decode(video=0)]
    clip = read_clip({"path": path, "start_s": 1.2, "end_s": 1.6}, 3)
    assert numbers(clip.frames) == [30, 34, 39] or numbers(clip.frames) == [30, 35, 39]
    assert clip.pts == [own[k] for k in numbers(clip.frames)]
    assert stills[0].time == 0.0 and [still.pts for still in stills] == own


def test_a_clip_far_into_a_file_is_the_same_with_and_without_jumps(tmp_path, write_at, monkeypatch):
    rng = np.random.default_rng(0)
    frames = np.repeat(np.repeat(rng.integers(0, 255, (160, 4, 6, 3), dtype=np.uint8), 8, 1), 8, 2)
    path = write_at(tmp_path / "gop.mp4", frames, range(160), Fraction(1, 25), gop=20)
    row = {"path": path, "start_s": 1.4, "end_s": 6.0}
    plain = read_clip(row, 6)
    monkeypatch.setattr("kinema.captioner.shots.frames.WORTH_A_JUMP", 2)
    jumped = read_clip(row, 6)
    assert jumped.pts == plain.pts
    np.testing.assert_array_equal(jumped.frames, plain.frames)
    everything = dict(iter_video(path))
    for time, frame in zip(plain.times, plain.frames):
        np.testing.assert_array_equal(frame, everything[time])


def test_the_crop_is_cut_from_the_picture_as_displayed_and_made_small(tmp_path):
    frames = np.zeros((4, 40, 80, 3), np.uint8)
    frames[:, 10:30, 20:60] = (255, 0, 0)
    path = write_video(tmp_path / "a.mp4", frames, 8)
    row = {"path": path, "start_s": 0.0, "end_s": None, "crop": [20, 10, 40, 20]}
    clip = read_clip(row, 2)
    assert clip.frames.shape == (2, 20, 40, 3)
    assert clip.frames[..., 0].min() > 150 and clip.frames[..., 1].max() < 90
    assert read_clip(row, 2, max_side=20).frames.shape == (2, 10, 20, 3)
    assert read_clip(row, 2, max_side=400).frames.shape == (2, 20, 40, 3)  # never made larger


@given(st.data(), st.integers(1, 4000), st.integers(1, 4000))
def test_fitted_boxes_lie_inside_and_keep_their_shape(data, width, height):
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    x, y = data.draw(st.integers(0, width - w)), data.draw(st.integers(0, height - h))
    most = data.draw(st.one_of(st.none(), st.integers(1, 500)))
    (rows, columns), (left, top, box_width, box_height) = fitted(width, height, (x, y, w, h), most)
    assert left >= 0 and top >= 0 and left + box_width <= columns and top + box_height <= rows
    if most is not None:
        assert max(box_width, box_height) <= max(1, most)
    if most is None or most >= max(w, h):
        assert (left, top, box_width, box_height) == (x, y, w, h)


def test_a_short_clip_gives_each_frame_once_and_an_empty_one_says_so(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(3), 10)
    clip = read_clip({"path": path, "start_s": 0.0, "end_s": 0.2, "fps": 10.0}, 8)
    assert numbers(clip.frames) == [0, 1] and clip.fps == pytest.approx(10)
    assert read_clip({"path": path, "start_s": 0.1, "end_s": 0.2, "fps": 10.0}, 8).fps == 10
    with pytest.raises(VideoRangeError, match="no frame"):
        read_clip({"path": path, "start_s": 5.0, "end_s": 6.0}, 2)
    path.write_bytes(b"")
    with pytest.raises(VideoError):
        read_clip({"path": path, "start_s": 0.0, "end_s": None}, 2)


def test_packets_and_decoder_agree_on_times_of_real_videos(real_videos):
    for name in ("bikes", "b", "carphone_pristine"):
        decoded = [(still.time, still.pts) for still in iter_stills(real_videos[name], start=1.3, end=3.0)]
        assert [(f.time, f.pts) for f in frame_times(real_videos[name], start=1.3, end=3.0)] == decoded


def test_the_crop_of_a_turned_file_is_in_turned_pixels(tmp_path):
    stored = np.zeros((3, 32, 64, 3), np.uint8)
    stored[:, :16, :32] = 255  # top left as stored is top right when turned a quarter clockwise
    path = write_video(tmp_path / "a.mp4", stored, 8)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44  # the display matrix, ISO/IEC 14496-12 section 8.3.2
    for place, value in ((0, 0), (4, 1 << 16), (12, -(1 << 16)), (16, 0)):
        data[start + place : start + place + 4] = struct.pack(">i", value)
    path.write_bytes(data)
    row = {"path": path, "start_s": 0.0, "end_s": None}
    assert read_clip(row, 1).frames.shape == (1, 64, 32, 3)
    assert read_clip(row | {"crop": [16, 0, 16, 32]}, 1).frames[:, 2:-2, 2:-2].min() > 230
    assert read_clip(row | {"crop": [0, 0, 16, 64]}, 1).frames[:, 2:-2, 2:-2].max() < 30

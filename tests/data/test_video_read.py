import math
import pickle
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.video_io import (
    VideoDamageError,
    VideoError,
    VideoOpenError,
    VideoRangeError,
    VideoWarning,
    iter_video,
    probe,
    read_metadata,
    read_video,
)

FORMS = {
    "b-frames.mp4": {"options": {"bf": "3", "g": "12"}},
    "one-keyframe.mp4": {"options": {"g": "600"}},
    "open-gop.mkv": {"options": {"g": "10", "x264-params": "open-gop=1"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "12"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "stream.ts": {"options": {"g": "12"}},
    "quick.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "flash.flv": {"options": {"g": "12"}},
    "hevc10.mp4": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "options": {"x265-params": "log-level=none:keyint=12"},
    },
    "lossless.mkv": {"codec": "ffv1", "pix_fmt": "yuv444p"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory, make, numbered):
    """One 72-frame file of 24 frames per second in every form; frame k carries the number k."""
    folder = tmp_path_factory.mktemp("forms")
    frames = [numbered(k) for k in range(72)]
    return {name: make(folder / name, frames, **form) for name, form in FORMS.items()}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory, make, numbered):
    """A file of variable frame rate and the times of its frames."""
    gaps = np.random.default_rng(3).choice([1 / 60, 1 / 30, 1 / 24, 0.1, 0.35], 60)
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    path = tmp_path_factory.mktemp("uneven") / "vfr.mp4"
    return make(path, [numbered(k) for k in range(61)], times=times, options={"g": "15"}), times


@pytest.mark.parametrize("name", FORMS)
def test_frame_k_is_frame_k(files, number, name):
    video = read_video(files[name])
    assert [number(frame) for frame in video.frames] == list(range(72))
    assert np.abs(video.times - np.arange(72) / 24).max() < 1.1e-3  # Matroska and FLV round to milliseconds
    assert video.fps == pytest.approx(24) and video.frames.shape == (72, 48, 64, 3)
    assert video.error is None and not video.has_audio


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.integers(0, 71), st.integers(1, 5))
def test_any_part_can_be_read(files, number, name, first, count):
    video = read_video(files[name], start=first / 24, num_frames=count)
    assert [number(frame) for frame in video.frames] == list(range(first, min(72, first + count)))
    video = read_video(files[name], start=first / 24, end=(first + count) / 24)
    assert [number(frame) for frame in video.frames] == list(range(first, min(72, first + count)))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.sampled_from([3, 8, 12, 24, 48]), st.integers(0, 60))
def test_resampling_by_whole_steps_is_exact(files, number, name, fps, first):
    start = first / 24
    video = read_video(files[name], start=start, fps=fps)
    expected = [first + j * 24 // fps for j in range(math.ceil((72 - first) * fps / 24))]
    assert [number(frame) for frame in video.frames] == expected
    assert video.fps == fps and np.allclose(video.times, start + np.arange(len(expected)) / fps)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.floats(0.5, 90), st.floats(0, 2.9))
def test_resampling_shows_what_is_on_screen(files, number, name, fps, start):
    video = read_video(files[name], start=start, fps=fps, num_frames=40)
    assert len(video.frames) == min(40, math.ceil((3 - start) * fps - 1e-3 * fps))
    for frame, at in zip(video.frames, video.times):
        assert abs(number(frame) - (at * 24 - 0.5)) <= 0.5 + 24 * 2.1e-3


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 90), st.floats(0, 5), st.integers(1, 30))
def test_variable_frame_rate_is_followed(uneven, number, fps, start, count):
    path, times = uneven
    video = read_video(path, start=start, fps=fps, num_frames=count)
    for shown, at in zip(video.frames, start + np.arange(len(video.times)) / fps):
        k = number(shown)
        assert times[k] <= at + 2e-3 and (k == 60 or times[k + 1] > at - 2e-3)


def test_variable_frame_rate_keeps_its_own_times(uneven, number):
    path, times = uneven
    video = read_video(path)
    assert [number(frame) for frame in video.frames] == list(range(61))
    assert np.abs(video.times - times).max() < 1e-3
    middle = read_video(path, start=float(times[37]), num_frames=4)
    assert [number(frame) for frame in middle.frames] == [37, 38, 39, 40]


MATRICES = {  # (a, b, c, d) of the track header, and what it asks for
    0: (1, 0, 0, 1),
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}


def set_matrix(path, a: int, b: int, c: int, d: int) -> None:
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix is 40 bytes into the box's content
    assert struct.unpack_from(">9i", data, start) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, start, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("degrees", MATRICES)
def test_rotation_is_applied(tmp_path, make, numbered, degrees):
    upright = [numbered(k, 32, 64) for k in (37, 38)]
    stored = [np.ascontiguousarray(np.rot90(frame, degrees // 90)) for frame in upright]  # anticlockwise
    path = make(tmp_path / "turned.mp4", stored, options={"crf": "1"})
    set_matrix(path, *MATRICES[degrees])
    info, video = probe(path), read_video(path)
    assert (info.width, info.height, info.rotation) == (64, 32, degrees)
    assert np.abs(video.frames.astype(int) - np.stack(upright)).mean() < 4
    assert read_video(path, size=(16, 32)).frames.shape == (2, 16, 32, 3)


def test_mirroring_is_applied(tmp_path, make, numbered):
    path = make(tmp_path / "mirrored.mp4", [numbered(37)[:, ::-1].copy()], options={"crf": "1"})
    set_matrix(path, -1, 0, 0, 1)
    assert np.abs(read_video(path).frames[0].astype(int) - numbered(37)).mean() < 4


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.mkv", "ffv1", "yuv444p"), ("b.webm", "libvpx-vp9", "yuv420p"), ("c.mov", "png", "rgb24")],
)
def test_odd_sizes_are_kept(tmp_path, make, numbered, number, name, codec, pix_fmt):
    path = make(tmp_path / name, [numbered(k, 37, 65) for k in range(3)], codec=codec, pix_fmt=pix_fmt)
    video = read_video(path)
    assert video.frames.shape == (3, 37, 65, 3) and [number(f) for f in video.frames] == [0, 1, 2]
    assert (probe(path).height, probe(path).width) == (37, 65)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("ten.mkv", "ffv1", "yuv420p10le"), ("full.mov", "mjpeg", "yuvj444p"), ("rgb.mov", "png", "rgb24")],
)
def test_ten_bits_full_range_and_rgb_keep_their_colours(tmp_path, make, name, codec, pix_fmt):
    colours = np.array([[200, 40, 40], [40, 160, 60], [30, 60, 200], [240, 220, 40]], np.uint8)
    frame = colours.reshape(2, 2, 3).repeat(32, 0).repeat(32, 1)
    path = make(tmp_path / name, [frame] * 2, codec=codec, pix_fmt=pix_fmt)
    assert probe(path).pixel_format == pix_fmt
    shown = read_video(path).frames[1]
    assert np.abs(shown[16::32, 16::32].reshape(4, 3).astype(int) - colours).max() <= 3


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "qtrle", "argb"),
        ("b.mov", "png", "rgba"),
        ("c.mov", "prores_ks", "yuva444p10le"),
        ("d.webm", "libvpx-vp9", "yuva420p"),
    ],
)
def test_alpha_is_composited_over_black(tmp_path, make, name, codec, pix_fmt):
    frame = np.zeros((32, 48, 4), np.uint8)
    frame[..., :3] = (200, 100, 40)
    frame[:, :16, 3], frame[:, 16:32, 3] = 255, 128
    path = make(tmp_path / name, [frame] * 3, codec=codec, pix_fmt=pix_fmt, source_format="rgba")
    shown = read_video(path).frames[2].astype(int)
    assert np.abs(shown[16, 8] - (200, 100, 40)).max() <= 4
    assert np.abs(shown[16, 24] - (100, 50, 20)).max() <= 4
    assert shown[16, 40].max() <= 2


def test_pixels_that_are_not_square_are_made_square(tmp_path, make, numbered, number):
    path = make(tmp_path / "wide.mp4", [numbered(5)] * 2, sample_aspect=Fraction(3, 2))
    assert read_video(path).frames.shape == (2, 48, 96, 3)
    assert (probe(path).height, probe(path).width) == (48, 96)
    assert number(read_video(path).frames[0]) == 5


@pytest.mark.parametrize("audio", [False, True])
def test_audio_is_noted(tmp_path, make, numbered, number, audio):
    path = make(tmp_path / "sound.mp4", [numbered(k) for k in range(6)], audio=audio)
    video = read_video(path)
    assert video.has_audio is audio and probe(path).has_audio is audio
    assert [number(f) for f in video.frames] == list(range(6))  # audio that outlasts the video is no damage


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 120), st.integers(1, 120))
def test_size_covers_and_crops(files, height, width):
    frame = read_video(files["lossless.mkv"], num_frames=1, size=(height, width)).frames[0]
    assert frame.shape == (height, width, 3)


def test_size_keeps_the_aspect_and_the_centre(tmp_path, make):
    yy, xx = np.mgrid[:96, :192]
    frame = np.stack([yy * 2, xx, 0 * xx], -1).astype(np.uint8)  # red tells the row, green the column
    path = make(tmp_path / "ramp.mov", [frame], codec="png", pix_fmt="rgb24")
    shown = read_video(path, size=(48, 48)).frames[0].astype(float)
    red, green = shown[..., 0].mean(1) / 2, shown[..., 1].mean(0)
    assert np.abs(red - (np.arange(48) * 2 + 0.5)).max() < 1.5  # all rows
    assert np.abs(green - (48 + np.arange(48) * 2 + 0.5)).max() < 1.5  # the middle columns


TRUNCATED = {name: FORMS[name] for name in ("b-frames.mp4", "open-gop.mkv", "vp9.webm", "mpeg4.avi", "stream.ts")}
TRUNCATED["flash.flv"] = FORMS["flash.flv"]


@pytest.fixture(scope="module", params=sorted(TRUNCATED))
def broken(request, tmp_path_factory, make, numbered):
    """The first 55 % of a file of 48 noisy frames."""
    path = tmp_path_factory.mktemp("broken") / request.param
    make(path, [numbered(k, noise=True) for k in range(48)], **TRUNCATED[request.param])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.55)])
    return path


def test_a_truncated_file_is_an_error_with_path_time_and_cause(broken):
    with pytest.raises(VideoDamageError) as caught:
        read_video(broken)
    error = caught.value
    assert error.path == broken and error.time and 0.3 < error.time < 1.7
    assert str(error) == f"{broken}: {error.cause} (at {error.time:.3f} s)"


def test_the_readable_part_of_a_truncated_file(broken, number):
    with pytest.warns(VideoWarning, match=broken.name):
        part = read_video(broken, on_error="readable")
    count = len(part.frames)
    assert 8 < count < 40 and [number(frame) for frame in part.frames] == list(range(count))
    assert isinstance(part.error, VideoDamageError) and part.error.time
    assert abs(part.error.time * 24 - count) < 0.1
    with pytest.warns(VideoWarning):
        assert len(read_video(broken, on_error="readable", fps=12).frames) == math.ceil(count / 2)


def test_what_lies_before_the_damage_is_read_without_a_word(broken, number):
    assert number(read_video(broken, start=5 / 24, num_frames=1).frames[0]) == 5


def test_a_part_after_the_damage_is_an_error_even_when_readable_is_asked(broken):
    with pytest.raises(VideoDamageError), pytest.warns(VideoWarning):
        read_video(broken, start=1.8, on_error="readable")


def test_damage_in_the_middle_is_an_error(tmp_path, make, numbered):
    path = make(tmp_path / "holed.mkv", [numbered(k, noise=True) for k in range(24)], **FORMS["lossless.mkv"])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(VideoDamageError) as caught:
        read_video(path)
    assert caught.value.time and 0.4 < caught.value.time < 0.6


def test_a_header_cut_off_cannot_be_opened(files, tmp_path, make, numbered):
    whole = make(tmp_path / "whole.mp4", [numbered(k) for k in range(9)], faststart=False)  # index at the end
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(VideoOpenError, match="header"):
        read_video(path, on_error="readable")


NO_VIDEOS = {
    "empty.mp4": b"",
    "text.mp4": b"Dear reader,\nthis is no video.\n" * 50,
    "noise.mp4": np.random.default_rng(0).bytes(5000),
    "list.mp4": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nb-frames.mp4\n#EXT-X-ENDLIST\n",
    "concat.mp4": b"ffconcat version 1.0\nfile b-frames.mp4\n",
    "subtitles.mp4": b"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n2\n00:00:01,000 --> 00:00:02,000\nBye\n",
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_what_is_no_video_cannot_be_opened(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(NO_VIDEOS[name])
    for read in (read_video, probe, read_metadata, lambda p: list(iter_video(p))):
        with pytest.raises(VideoOpenError) as caught:
            read(path)
        assert caught.value.path == path and caught.value.time is None and str(path) in str(caught.value)


def test_missing_files_folders_and_sound_alone_cannot_be_opened(tmp_path):
    import av

    with pytest.raises(VideoOpenError, match="no such file"):
        read_video(tmp_path / "missing.mp4")
    with pytest.raises(VideoOpenError, match="folder"):
        read_video(tmp_path)
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 16000, 0
        file.mux(stream.encode(silence))
        file.mux(stream.encode())
    with pytest.raises(VideoOpenError, match="no video stream; it holds audio"):
        read_video(path)


def test_a_start_after_the_end_is_an_error(files):
    for fps in (None, 8):
        with pytest.raises(VideoRangeError, match=r"ends at 3\.0"):
            read_video(files["b-frames.mp4"], start=3.5, fps=fps)


@pytest.mark.parametrize(
    "wrong",
    [{"start": -1}, {"start": 1, "end": 1}, {"fps": 0}, {"num_frames": 0}, {"size": (0, 8)}, {"on_error": "x"}],
)
def test_arguments_out_of_range_are_refused(files, wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong)) if "end" not in wrong else "empty"):
        read_video(files["b-frames.mp4"], **wrong)


def test_names_with_colons_and_patterns_are_read(tmp_path, make, numbered):
    path = tmp_path / "http:é %03d #1.mp4"
    make(tmp_path / "plain.mp4", [numbered(1)]).rename(path)
    assert len(read_video(path).frames) == 1


def test_probe_tells_what_a_file_holds(files):
    info = probe(files["b-frames.mp4"])
    assert (info.width, info.height, info.frames, info.codec, info.rotation) == (64, 48, 72, "h264", 0)
    assert info.duration == pytest.approx(3) and info.fps == pytest.approx(24)


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(VideoDamageError("a.mp4", 1.5, "cut off")))
    assert isinstance(error, VideoError) and str(error) == "a.mp4: cut off (at 1.500 s)" and error.time == 1.5

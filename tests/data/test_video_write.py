import json
import resource

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.data.video_io import VideoError, VideoWriteError, probe, read_metadata, read_video, write_video


def clip(count: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """A red disc that moves over a green ground."""
    yy, xx = np.mgrid[:height, :width]
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = (60, 140, 70)
    for k in range(count):
        frames[k][(xx - width // 4 - k) ** 2 + (yy - height // 2) ** 2 < (height / 3) ** 2] = (210, 50, 40)
    return frames


def boxes(data: bytes) -> list[bytes]:
    """Names of an MP4 file's outermost boxes, in order."""
    names, at = [], 0
    while at < len(data):
        names.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return names


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.m4v", "a.mkv"])
@pytest.mark.parametrize("fps", [8, 23.976, 30.0])
def test_frames_times_and_colours_come_back(tmp_path, name, fps):
    frames = clip()
    assert write_video(tmp_path / "new" / name, frames, fps) == tmp_path / "new" / name
    video = read_video(tmp_path / "new" / name)
    assert video.frames.shape == frames.shape and not video.has_audio
    assert np.abs(video.times - np.arange(12) / fps).max() < 1e-3 and video.fps == pytest.approx(fps, rel=1e-3)
    error = np.abs(video.frames.astype(int) - frames)
    assert error.mean() < 3.5  # halved colour resolution shows at the disc's rim
    assert error[:, 24, 16].max() <= 4 and error[:, 2, 2].max() <= 4  # inside and outside there is none
    info = probe(tmp_path / "new" / name)
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p")


@pytest.mark.parametrize(
    "colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 128, 200)]
)
def test_plain_colours_are_kept(tmp_path, colour):
    path = write_video(tmp_path / "plain.mp4", np.full((2, 32, 32, 3), colour, np.uint8), 8)
    assert np.abs(read_video(path).frames.astype(int) - colour).max() <= 3


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_any_size_and_count_comes_back(tmp_path_factory, height, width, count):
    frames = np.full((count, height, width, 3), (200, 120, 40), np.uint8)
    path = write_video(tmp_path_factory.getbasetemp() / "any.mp4", frames, 8)
    video = read_video(path)
    assert video.frames.shape == frames.shape and np.abs(video.frames.astype(int) - frames).max() <= 3
    assert (probe(path).height, probe(path).width) == (height, width)
    assert read_video(path, size=(16, 16)).frames.shape == (count, 16, 16, 3)


def test_odd_sides_are_padded_by_their_last_line(tmp_path):
    frames = clip(3, 33, 65)
    video = read_video(write_video(tmp_path / "odd.mp4", frames, 8, crf=1))
    even = read_video(
        write_video(tmp_path / "even.mp4", np.pad(frames, ((0, 0), (0, 1), (0, 1), (0, 0)), "edge"), 8, crf=1)
    )
    assert even.frames.shape == (3, 34, 66, 3) and (video.frames == even.frames[:, :33, :65]).all()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"k[a-z0-9_]{0,12}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300),
        max_size=4,
    )
)
def test_metadata_comes_back_exactly(tmp_path, metadata):
    for name in ("a.mp4", "a.mkv"):
        path = write_video(tmp_path / name, clip(1, 16, 16), 8, metadata=metadata)
        found = read_metadata(path)
        assert {key: found.get(key) for key in metadata} == metadata


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_long_provenance_comes_back_exactly(tmp_path, name):
    text = json.dumps({"prompt": 'a "red" \\ car; = # \n é 車 🚗', "settings": list(range(20_000))})
    assert len(text) > 100_000
    path = write_video(tmp_path / name, clip(2), 8, metadata={"kinema": text, "title": "a car"})
    assert read_metadata(path)["kinema"] == text and probe(path).metadata["title"] == "a car"
    assert read_video(path).metadata["kinema"] == text


@pytest.mark.parametrize(
    ("name", "size"), [("a.mp4", (64, 64)), ("a.mkv", (64, 64)), ("a.mp4", (144, 240)), ("a.mp4", (33, 47))]
)
def test_equal_input_gives_equal_bytes(tmp_path, name, size):
    noise = np.random.default_rng(0).integers(0, 40, (24, *size, 3), dtype=np.uint8)
    frames = clip(24, *size) // 2 + noise
    files = {
        write_video(tmp_path / name, given, 8, metadata={"kinema": "x"}).read_bytes()
        for _ in range(4)
        for given in (frames, iter(frames))
    }
    assert len(files) == 1


def test_the_index_comes_first(tmp_path):
    names = boxes(write_video(tmp_path / "a.mp4", clip(), 8, metadata={"kinema": "{}"}).read_bytes())
    assert names.index(b"moov") < names.index(b"mdat")


def test_an_iterator_is_taken_one_frame_at_a_time(tmp_path):
    taken = []

    def frames():
        for k, frame in enumerate(clip(60)):
            taken.append(k)
            yield frame

    path = write_video(tmp_path / "a.mp4", frames(), 30)
    assert taken == list(range(60)) and len(read_video(path).frames) == 60


def test_a_failing_iterator_leaves_the_file_that_was_there(tmp_path):
    path = write_video(tmp_path / "a.mp4", clip(), 8)
    before = path.read_bytes()

    def frames():
        yield clip(1)[0]
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match="the model failed"):
        write_video(path, frames(), 8)
    with pytest.raises(ValueError, match="frame 1 has size"):
        write_video(path, [clip(1)[0], clip(1, 32, 32)[0]], 8)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path):
    path = write_video(tmp_path / "a.mp4", clip(), 8)
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # writes beyond fail as on a full disk
    try:
        with pytest.raises(VideoWriteError) as caught:
            write_video(path, noise, 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.path == path and isinstance(caught.value, VideoError) and str(path) in str(caught.value)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"frames": clip()[:0]}, "no frames"),
        ({"frames": clip().astype(np.float32)}, "uint8"),
        ({"frames": clip()[..., :1]}, r"\(H, W, 3\)"),
        ({"path": "a.webm"}, "cannot write .webm"),
        ({"path": "a"}, "without suffix"),
        ({"fps": 0}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"crf": 52}, "crf"),
        ({"metadata": {"Kinema": "x"}}, "small letters"),
        ({"metadata": {"kinema": {"a": 1}}}, "json.dumps"),
        ({"metadata": {"kinema": ""}}, "not empty"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, wrong, match):
    arguments = {"frames": clip(), "fps": 8} | wrong
    path = tmp_path / arguments.pop("path", "a.mp4")
    with pytest.raises(ValueError, match=match):
        write_video(path, **arguments)
    assert not list(tmp_path.iterdir())

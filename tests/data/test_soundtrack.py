from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest

from kinema.data.soundtrack import Soundtrack
from kinema.data.video_io import probe, read_video, write_video, write_video_exactly

RATE = 44100
FRAMES = np.full((48, 32, 32, 3), 90, np.uint8)  # 6 s at 8 frames/s


@pytest.fixture(scope="module")
def tune(tmp_path_factory):
    """Three seconds: 440 Hz, then from 1.5 s on 880 Hz, in two channels."""
    path = tmp_path_factory.mktemp("tune") / "tune.mp4"
    pitch = np.where(np.arange(3 * RATE) < 1.5 * RATE, 440, 880)
    wave = (0.5 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)).astype(np.float32)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        sound = file.add_stream("aac", rate=RATE)
        sound.layout = "stereo"
        for _ in range(72):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")))
        samples = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        samples.sample_rate, samples.pts = RATE, 0
        for packets in (sound.encode(samples), sound.encode(None), stream.encode(None)):
            file.mux(packets)
    return path


def heard(path, step: float = 0.25) -> list[int]:
    """The pitch (440, 880, or 0 for silence) in the middle of each quarter second; -1 for anything else."""
    with av.open(str(path)) as file:
        rate = file.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray() for frame in file.decode(file.streams.audio[0])], 1)[0]
    pitches = []
    for k in range(int(len(samples) / rate / step)):
        part = samples[int((k + 0.3) * step * rate) : int((k + 0.7) * step * rate)]
        found = np.abs(np.fft.rfft(part * np.hanning(len(part)), 8 * len(part))).argmax() * rate / 8 / len(part)
        pitches.append(0 if np.abs(part).max() < 5e-3 else next((p for p in (440, 880) if abs(found - p) < 8), -1))
    return pitches


SONG = [440] * 6 + [880] * 6


@pytest.mark.parametrize(("suffix", "exact"), [*product([".mp4", ".mkv"], [False, True])])
def test_sound_is_heard_where_its_pictures_are(tmp_path, tune, suffix, exact):
    piece = Soundtrack(tune, 0.0, 3.0)
    write = write_video_exactly if exact else write_video
    forwards = write(tmp_path / f"forwards{suffix}", FRAMES, 8, soundtrack=(piece,))
    backwards = write(tmp_path / f"backwards{suffix}", FRAMES, 8, soundtrack=(piece.shifted(3.0),))
    for path, want in (("forwards", SONG + [0] * 12), ("backwards", [0] * 12 + SONG)):
        path = tmp_path / f"{path}{suffix}"
        assert heard(path) == want
        info = probe(path)
        assert info.has_audio and len(read_video(path).frames) == 48 and info.fps == 8
    del forwards, backwards


def test_pieces_are_cut_moved_and_joined(tmp_path, tune):
    two = (Soundtrack(tune, 0.0, 3.0, 4.0), Soundtrack(tune, 1.25, 1.0, 0.5))  # in any order
    path = write_video(tmp_path / "a.mp4", FRAMES, 8, soundtrack=two)
    assert heard(path) == [0, 0, 440, 880, 880, 880] + [0] * 10 + [440] * 6 + [880] * 2  # cut off at the end
    over = (Soundtrack(tune, 0.0, 3.0), Soundtrack(tune, 1.5, 1.0, 1.0))  # the later cuts the earlier off
    path = write_video(tmp_path / "a.mp4", FRAMES, 8, soundtrack=over)
    assert heard(path) == [440] * 4 + [880] * 4 + [0] * 16


def test_a_piece_from_within_a_file_begins_on_time(tmp_path, tune):
    """Seeking must not shift the sound: 0.05 s before the change of pitch are 0.05 s after seeking, too."""
    path = write_video(tmp_path / "a.mp4", FRAMES, 8, soundtrack=(Soundtrack(tune, 1.45, 1.0),))
    with av.open(str(path)) as file:
        samples = np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], 1)[0]
    turns = np.flatnonzero(np.diff(np.signbit(samples[: RATE // 2])))
    gaps = np.diff(turns)  # half a wave: 50 samples at 440 Hz, 25 at 880 Hz
    change = turns[np.flatnonzero(gaps < 37)[0]]
    assert abs(change / RATE - 0.05) < 0.004


def test_sound_that_is_gone_is_said_and_the_pictures_are_kept(tmp_path, tune, caplog):
    gone = Soundtrack(tmp_path / "gone.mp4", 0.0, 1.0, 1.0)
    path = write_video(tmp_path / "a.mp4", FRAMES, 8, soundtrack=(Soundtrack(tune, 0.0, 1.0), gone))
    assert heard(path) == [440] * 4 + [0] * 20 and len(read_video(path).frames) == 48
    assert "gone.mp4 could not be read (no such file)" in caplog.text
    silent = write_video(tmp_path / "b.mp4", FRAMES, 8)
    caplog.clear()
    write_video(tmp_path / "c.mp4", FRAMES, 8, soundtrack=(Soundtrack(silent, 0.0, 1.0),))
    assert "has no sound" in caplog.text


def test_equal_input_gives_equal_bytes_with_sound(tmp_path, tune):
    sound = (Soundtrack(tune, 0.0, 3.0, 0.5),)
    assert len({write_video(tmp_path / "a.mp4", FRAMES, 8, soundtrack=sound).read_bytes() for _ in range(3)}) == 1


def test_frames_that_cannot_be_counted_cannot_have_sound(tmp_path, tune):
    with pytest.raises(ValueError, match="counted"):
        write_video(tmp_path / "a.mp4", iter(FRAMES), 8, soundtrack=(Soundtrack(tune, 0.0, 1.0),))

import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.data.fetch import ALLOWED_HOSTS
from kinema.data.sheets import save_gif
from kinema.data.video_io import read_video, write_video
from kinema.pipeline.conform import FITS, place
from kinema.pipeline.grid import Grid
from kinema.pipeline.media import MediaError, look, open_image, open_video, working_shape
from kinema.pipeline.output import KinemaPipelineOutput

GRID = Grid(4, 8, (1, 2, 2))
OWN = (64, 64, 8.0)
SIDES = st.integers(1, 40)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def opened(source, height=16, width=24, frame_rate=8.0, **options):
    return open_video(source, height=height, width=width, frame_rate=frame_rate, **options)


def as_uint8(clip) -> np.ndarray:
    return (clip.frames * 255).round().to(torch.uint8).movedim(1, -1).numpy()


def forms(frames: np.ndarray) -> dict:
    """The same uint8 frames (T, H, W, 3) in every form that is taken from memory."""
    tensor = torch.from_numpy(frames).movedim(-1, 1)
    floats = np.divide(frames, np.float32(255), dtype=np.float32)
    pictures = [Image.fromarray(frame) for frame in frames]
    return {
        "numpy": frames,
        "numpy with a batch": frames[None],
        "numpy floats": floats,
        "numpy doubles": floats.astype(np.float64),
        "torch": tensor,
        "torch with a batch": tensor[None],
        "torch floats": torch.from_numpy(floats).movedim(-1, 1),
        "torch with gradients": torch.from_numpy(floats).movedim(-1, 1).requires_grad_(),
        "pictures": pictures,
        "pictures of a video": [pictures],
        "arrays": list(frames),
        "tensors": list(tensor),
        "np output": KinemaPipelineOutput(floats[None], 8.0, output_type="np"),
        "pt output": KinemaPipelineOutput(torch.from_numpy(floats).movedim(-1, 1)[None], 8.0, output_type="pt"),
        "pil output": KinemaPipelineOutput([pictures], 8.0, output_type="pil"),
    }


@pytest.fixture(scope="module")
def tone(tmp_path_factory):
    """Two seconds at 24 frames/s; frame k is all of grey 5 k; the sound is a tone of 440 Hz."""
    path = tmp_path_factory.mktemp("tone") / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(24), options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        sound = file.add_stream("aac", rate=48000)
        for k in range(48):
            frame = np.full((48, 96, 3), 5 * k, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        wave = np.sin(2 * np.pi * 440 * np.arange(96000) / 48000, dtype=np.float64)[None].astype(np.float32) / 2
        samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 48000, 0
        file.mux(sound.encode(samples))
        file.mux(sound.encode(None))
        file.mux(stream.encode(None))
    return path


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), SIDES, SIDES, st.integers(0, 99))
def test_every_form_gives_the_same_frames_bit_for_bit(count, height, width, seed):
    frames = noise(count, height, width, seed=seed)
    for name, source in forms(frames).items():
        clip = opened(source, height, width)
        assert clip.frames.dtype == torch.float32 and clip.frames.shape == (count, 3, height, width), name
        assert (clip.frames.movedim(1, -1).numpy() == frames / np.float32(255)).all(), name
        assert (as_uint8(clip) == frames).all() and not clip.notes and not clip.soundtrack, name
        seen = look(source)
        assert (seen.num_frames, seen.size, seen.is_video) == (count, (height, width), count > 1), name
        assert seen.frame_rate == (8.0 if "output" in name and count > 1 else None), name


def test_a_file_gives_its_frames_as_they_are_read(tmp_path):
    path = write_video(tmp_path / "a.mp4", noise(9, 16, 24) // 4, 8)
    clip = opened(str(path))
    assert (as_uint8(clip) == read_video(path).frames).all() and not clip.notes
    seen = look(path, "video")
    assert (seen.size, seen.num_frames, seen.frame_rate, seen.has_audio) == ((16, 24), 9, 8.0, False)
    assert str(seen) == "video a.mp4: 24 × 16, 9 frames at 8 frames/s"
    assert (opened(seen).frames == clip.frames).all()  # a look stands for its source


def test_what_is_changed_is_said(tone):
    clip = opened(tone, 64, 64, name="clip")
    note = (
        "clip clip.mp4: 96 × 48 at 24 frames/s, taken as 64 × 64 at 8 (cover: the left and right 24 pixels are "
        "cut off)"
    )
    assert clip.notes == (note,) and clip.frames.shape == (16, 3, 64, 64)
    shown = as_uint8(clip)[:, 32, 32, 0].astype(int)
    assert np.abs(shown - 15 * np.arange(16)).max() <= 2  # every third frame
    assert opened(tone, 48, 96, 8.0).notes == ("video clip.mp4: at 24 frames/s, taken at 8",)
    assert "top and bottom 16 pixels are black" in opened(tone, 64, 64, 24.0, fit="contain").notes[0]
    assert "scaled unequally" in opened(tone, 64, 64, 24.0, fit="stretch").notes[0]
    assert opened(tone, 24, 48, 24.0).notes == ("video clip.mp4: 96 × 48, taken as 48 × 24",)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.sampled_from([4.0, 7.5, 8.0, 24.0, 30.0]), st.sampled_from([4.0, 8.0, 12.0, 25.0]))
def test_each_frame_is_the_one_then_shown(count, own, wanted):
    frames = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3))
    source = KinemaPipelineOutput(frames[None] / np.float32(255), own, output_type="np")
    shown = as_uint8(opened(source, 2, 2, wanted))[:, 0, 0, 0]
    for k, number in enumerate(shown):
        at = Fraction(k) / Fraction(wanted)
        assert number == min(int(at * Fraction(own)), count - 1) if count > 1 else number == 0
    if count > 1:
        assert len(shown) / wanted == pytest.approx(count / own, abs=1 / wanted)


@settings(max_examples=80, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(FITS), st.sampled_from([np.uint8, np.float32, bool]))
def test_a_fit_keeps_plain_colour_and_size(height, width, rows, columns, fit, kind):
    placement = place((height, width), (rows, columns), fit)
    value = {np.uint8: 200, np.float32: 0.75, bool: True}[kind]
    placed = placement(np.full((height, width, 1 if kind is bool else 3), value, kind))
    assert placed.shape[:2] == (rows, columns) and placed.dtype == kind
    inside = np.zeros((rows, columns), bool)
    top, left = placement.corner
    inside[top : top + placement.inner[0], left : left + placement.inner[1]] = True
    assert np.allclose(placed[inside].astype(float), value, atol=1e-6) and not placed[~inside].any()
    assert fit == "contain" or inside.all()
    for x, y in ((placement.box[0], placement.box[1]), (placement.box[2], placement.box[3])):
        new = placement.point(x, y)  # the part's corners land on the corners of its place
        assert new[0] in (pytest.approx(left, abs=1e-6), pytest.approx(left + placement.inner[1], abs=1e-6))
        assert new[1] in (pytest.approx(top, abs=1e-6), pytest.approx(top + placement.inner[0], abs=1e-6))


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.integers(1, 12), st.integers(1, 12), st.sampled_from(FITS))
def test_a_mirrored_picture_is_fitted_to_the_mirror_image(height, width, rows, columns, fit):
    frame = noise(height, width)
    placement = place((height, width), (2 * rows, 2 * columns), fit)
    mirrored = placement(np.ascontiguousarray(frame[::-1, ::-1]))[::-1, ::-1]
    gap = np.abs(mirrored.astype(int) - placement(frame))
    whole = placement._whole_pixels or (placement.size[0] - placement.inner[0]) % 2
    whole = whole or (placement.size[1] - placement.inner[1]) % 2
    assert whole or gap.max() <= 1  # whole-pixel cuts and odd bars fall to one side


@pytest.mark.parametrize("extra", [0, 1, 6, 7])
def test_a_cut_without_scaling_leaves_pixels_as_they_are(extra):
    frames = noise(2, 16, 24 + extra)
    left = extra // 2
    assert (as_uint8(opened(frames)) == frames[:, :, left : left + 24]).all()


def test_shrinking_does_not_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    for source in (stripes, stripes / np.float32(255)):
        small = open_image(source, height=8, width=8).frames
        assert (small - 0.5).abs().max() < 0.06


def test_pictures_are_turned_made_opaque_and_animated(tmp_path):
    frame = noise(16, 24)
    picture = Image.fromarray(frame)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    for source in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        assert look(source).size == (24, 16)
        assert (as_uint8(open_image(source, height=24, width=16))[0] == np.rot90(frame, -1)).all()

    clear = picture.copy()
    clear.putalpha(Image.fromarray(np.tile(np.array([0, 255] * 12, np.uint8), (16, 1))))
    clear.save(tmp_path / "clear.png")
    for source in (tmp_path / "clear.png", clear):
        clip = open_image(source, height=16, width=24)
        assert "transparent parts are shown black" in clip.notes[0]
        assert (as_uint8(clip)[0, :, 1::2] == frame[:, 1::2]).all() and not as_uint8(clip)[0, :, ::2].any()

    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    assert as_uint8(open_image(tmp_path / "deep.png", height=4, width=4)).ravel().tolist() == [155] * 48

    levels = np.repeat(np.arange(0, 160, 10, dtype=np.uint8), 16 * 24 * 3).reshape(16, 16, 24, 3)
    save_gif(levels, 8, tmp_path / "a.gif")
    seen = look(tmp_path / "a.gif")
    assert (seen.num_frames, seen.is_video, seen.size) == (16, True, (16, 24))
    assert seen.frame_rate == pytest.approx(8, rel=0.01)
    assert (as_uint8(opened(tmp_path / "a.gif")) == levels).all()
    assert (as_uint8(opened(tmp_path / "a.gif", frame_rate=4.0)) == levels[::2]).all()
    save_gif(levels[:1], 8, tmp_path / "still.gif")
    assert not look(tmp_path / "still.gif").is_video


def test_a_url_is_fetched_once(tone, monkeypatch):
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, _format, *args):
            asked.append(args[0])

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tone.parent))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/clip.mp4"
        with pytest.raises(ValueError, match="public internet"):
            look(url)
        monkeypatch.setenv(ALLOWED_HOSTS, "127.0.0.1")
        seen = look(url)
        clip = opened(seen, 48, 96, 24.0)
        server.shutdown()
    assert len(asked) == 1 and seen.name == "video clip.mp4"
    assert (clip.frames == opened(tone, 48, 96, 24.0).frames).all()
    path = clip.soundtrack[0].path
    del seen
    assert path.exists()  # for the sound
    del clip
    assert not path.exists()


def test_sound_comes_along(tone):
    (sound,) = opened(tone).soundtrack
    assert (sound.path, sound.start_s, sound.duration_s, sound.offset_s) == (tone, 0.0, 2.0, 0.0)
    assert sound.shifted(3.0).offset_s == 3.0
    output = KinemaPipelineOutput(noise(1, 4, 16, 24) / 255, 8.0, output_type="np", soundtrack=(sound,))
    assert opened(output).soundtrack == (sound,) and look(output).has_audio


GOOD = noise(3, 8, 8)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("missing.mp4", "no such file"),
        ("notes.txt", "not a video that can be opened"),
        ("empty.mp4", "empty"),
        ("broken.png", "cannot be opened"),
        ("cut.png", "cannot be opened|unreadable"),
        ("ftp://example.org/a.mp4", "http"),
        ([], "empty list"),
        (["a", 3], "list of"),
        ([GOOD[0], GOOD[0, :4]], "differ"),
        ([Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))], "picture 1 is 9 × 8"),
        (Image.new("F", (8, 8)), "8 or 16 bits"),
        (None, "NoneType"),
        (3, "it needs to be a path"),
        (GOOD[:0], "no frame"),
        (GOOD[:, :0], "no frame or no pixel"),
        (GOOD[..., 0], r"shape \(3, 8, 8\)"),
        (GOOD[0, 0], "it needs"),
        (GOOD[..., [0, 1, 2, 0]], "3 channels"),
        (np.moveaxis(GOOD, -1, 1), "channels last"),
        (np.stack([GOOD, GOOD]), "holds 2 videos"),
        (torch.from_numpy(GOOD), "channels before its rows"),
        (torch.zeros(1, 3, 5, 8, 8), "channels come after the frames"),
        (torch.zeros(3, 5, 8, 8), "channels come after the frames"),
        (GOOD.astype(np.int64), "int64"),
        (torch.zeros(3, 3, 8, 8, dtype=torch.bool), "bool"),
        (GOOD / 127.5 - 1, r"\(x \+ 1\) / 2"),
        (GOOD.astype(np.float32), "x / 255"),
        (np.full((3, 8, 8, 3), np.nan), "NaN"),
        (np.full((3, 8, 8, 3), np.inf), "infinity"),
        (KinemaPipelineOutput(np.zeros((2, 3, 8, 8, 3)), 8.0, output_type="np"), "2 videos"),
        (KinemaPipelineOutput(torch.zeros(1, 4, 3, 8, 8), 8.0, output_type="latent"), "latents"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_said(tmp_path, monkeypatch, source, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("a red car")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    Image.fromarray(noise(64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(ValueError, match=match) as caught:
        opened(source, name="my clip")
    assert "my clip" in str(caught.value) or "ftp" in str(source)


def test_arguments_out_of_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cover, contain, stretch"):
        opened(GOOD, fit="crop")
    with pytest.raises(ValueError, match="frame_rate is 0"):
        opened(GOOD, frame_rate=0)
    with pytest.raises(MediaError, match="video of 3 frames; it needs to be one picture"):
        open_image(GOOD, height=8, width=8)
    path = write_video(tmp_path / "a.mp4", GOOD, 8)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"a\.mp4"):
        opened(path)


def test_rounding_outside_the_range_is_forgiven_and_gone():
    clip = opened(np.linspace(-1e-6, 1 + 1e-6, 16 * 24 * 3, dtype=np.float32).reshape(16, 24, 3))
    assert clip.frames.min() == 0 and clip.frames.max() == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([None, 5.0, 8.0, 12.0, 12.1, 24.0, 60.0]))
def test_the_working_size_and_rate_follow_the_rule(height, width, rate):
    frames = np.broadcast_to(np.uint8(0), (2, height, width, 3))
    seen = look(frames)
    if rate is not None:
        seen = look(KinemaPipelineOutput(frames[None], rate, output_type="np"))
    shape = working_shape(seen, GRID, OWN)
    assert shape.height % 16 == 0 == shape.width % 16 and min(shape.height, shape.width) >= 16
    if height % 16 == 0 == width % 16 and height * width <= 2 * 64 * 64:
        assert (shape.height, shape.width) == (height, width)
    else:
        assert any(f"working at {shape.width} × {shape.height}" in note for note in shape.notes)
        assert 0.5 <= shape.height * shape.width / 64**2 <= 2
        if 1 / 4 <= height / width <= 4:
            assert abs(np.log(shape.height / shape.width / (height / width))) < 0.35
    assert shape.frame_rate == (rate if rate in (8.0, 12.0) else 8.0)
    assert any("frames/s" in note for note in shape.notes) == (rate not in (None, 8.0, 12.0))


def test_what_is_asked_for_is_taken_or_refused():
    seen = look(np.zeros((2, 90, 160, 3), np.uint8))
    shape = working_shape(seen, GRID, OWN, 32, 48, 24)
    assert (shape.height, shape.width, shape.frame_rate, shape.notes) == (32, 48, 24.0, ())
    one = working_shape(seen, GRID, OWN, height=96)
    assert (one.height, one.width) == (96, 176) and "width 176" in one.notes[0]
    assert working_shape(seen, GRID, OWN, width=96).height == 48
    with pytest.raises(ValueError, match=r"height 60 does not fit; 48 or 64 do"):
        working_shape(seen, GRID, OWN, 60, 64)
    rated = look(KinemaPipelineOutput(np.zeros((1, 2, 16, 16, 3)), 6.0, output_type="np"))
    shape = working_shape([seen, rated], GRID, OWN)  # the first decides the size, the first with a rate the rate
    assert (shape.height, shape.width, shape.frame_rate) == (48, 80, 6.0)

"""What the tasks must hold with a model that can draw: the packaged checkpoint.

Given clips are its own, so that the tests ask about the tasks and not about how well it knows a film.
"""

import numpy as np
import pytest

from kinema import KinemaPipeline

PROMPT = "a red ball rolls to the left on grass in daylight"
OTHER = "a blue car drives to the right on sand at sunset"
STEPS = {"num_inference_steps": 8}
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def pipe():
    pipe = KinemaPipeline.from_pretrained()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def clips(pipe):
    made = [pipe(PROMPT, generator=seed, num_frames=17, **STEPS).videos()[0] for seed in SEEDS]
    return [*made, pipe(OTHER, generator=0, num_frames=17, **STEPS).videos()[0]]


def motion(video):
    return np.abs(np.diff(video.astype(np.float32) / 255, axis=0)).mean((1, 2, 3))


def brightness(video):
    return np.abs(np.diff((video.astype(np.float32) / 255).mean((1, 2, 3))))


def assert_seamless(steps, seams, own):
    """Steps at a seam against the largest inside, new frames included, and against the given clip's own steps."""
    assert steps[seams].max() <= np.delete(steps, seams).max() + 0.5 / 255
    assert steps[seams].max() <= 1.5 * own.max()


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_seam_of_an_extension_is_invisible(pipe, clips, direction):
    for seed in SEEDS:
        video = pipe.extend(clips[seed], PROMPT, seconds=1.0, direction=direction, generator=seed, **STEPS)
        frames = video.videos()[0]
        seam = 16 if direction == "forward" else 7
        assert_seamless(motion(frames), [seam], motion(clips[seed]))
        assert_seamless(brightness(frames), [seam], brightness(clips[seed]))
        moved = motion(frames)[16:] if direction == "forward" else motion(frames)[:7]
        assert moved.mean() > 0.2 * motion(clips[seed]).mean()  # the new part is no still


def test_the_step_from_last_to_first_of_a_loop_is_no_larger_than_its_own(pipe, clips):
    for seed in SEEDS:
        frames = pipe.loop(clips[seed], PROMPT, generator=seed, **STEPS).videos()[0]
        steps = motion(np.concatenate([frames, frames[:1]]))
        assert len(frames) > 17 and np.array_equal(frames[:17], clips[seed])
        assert_seamless(steps, [16, len(frames) - 1], motion(clips[seed]))


def test_a_connection_passes_without_a_cut_and_its_seams_are_near_the_largest_step_of_both(pipe, clips):
    a, b = clips[0], clips[2]
    frames = pipe.connect(a, b, seconds=1.0, generator=0, **STEPS).videos()[0]
    assert np.array_equal(frames[:17], a) and np.array_equal(frames[25:], b)
    cut = motion(np.stack([a[-1], b[0]]))[0]
    assert motion(frames).max() < 0.6 * cut
    # Into the calmer clip the step is 1.52 times that clip's own largest, so both clips together are the measure.
    assert_seamless(motion(frames)[16:25], [0, 8], np.concatenate([motion(a), motion(b)]))


def test_a_remix_leaves_its_input_the_more_the_stronger_it_is(pipe, clips):
    distances = []
    for strength in (0.0, 0.5, 1.0):
        far = [np.abs(pipe.remix(clips[seed], OTHER, strength=strength, generator=seed + 5, **STEPS).videos()[0]
                      - clips[seed].astype(np.float32)).mean() for seed in SEEDS]  # fmt: skip
        distances.append(np.mean(far))
    assert distances == sorted(distances) and distances[0] < 0.25 * distances[-1]


def test_what_is_made_in_a_mask_follows_the_text_and_goes_with_what_is_round_it(pipe, clips):
    clip, box = clips[0], (8, 16, 56, 56)
    video = pipe("a blue ball rolls to the left on grass in daylight", video=clip, mask=box, generator=0, **STEPS)
    frames = video.videos()[0].astype(float)
    inside = np.zeros((64, 64), bool)
    inside[16:56, 8:56] = True
    assert np.array_equal(frames[:, ~inside], clip[:, ~inside])
    red, blue = (
        (clip[..., 0].astype(float) - clip[..., 2])[:, inside],
        (frames[..., 2] - frames[..., 0])[:, inside],
    )
    assert (red > 80).mean() > 0.03 and (blue > 80).mean() > 0.01  # a red ball went, a blue one came
    across = np.abs(np.diff(frames, axis=2)).mean((0, 3))
    border = across[16:56, [7, 55]].mean()
    assert border < 2.5 * across[16:56, 8:55].mean()


def test_an_image_begins_to_move(pipe, clips):
    frames = pipe(PROMPT, image=clips[0][0], num_frames=17, generator=3, **STEPS).videos()[0]
    error = np.square(frames[0].astype(float) - clips[0][0]).mean()
    assert 10 * np.log10(255**2 / error) > 25
    assert motion(frames).mean() > 0.2 * motion(clips[0]).mean()


def test_a_blend_begins_as_one_video_and_ends_as_the_other(pipe, clips):
    a, b = clips[0], clips[2]
    frames = pipe.blend(a, b, generator=0, **STEPS).videos()[0].astype(float)
    assert np.array_equal(frames[0], a[0]) and np.array_equal(frames[-1], b[-1])
    share = [np.abs(frames[t] - a[t]).mean() / (np.abs(frames[t] - a[t]).mean() + np.abs(frames[t] - b[t]).mean())
             for t in (1, 6, 11, 15)]  # fmt: skip
    assert share == sorted(share) and share[0] < 0.3 and share[-1] > 0.7


def test_a_storyboard_keeps_its_scene(pipe):
    board = [(0.0, PROMPT), (1.0, "a red ball rolls to the right on grass in daylight")]
    frames = pipe(storyboard=board, num_frames=17, generator=0, **STEPS).videos()[0]
    sky = frames[:, :16].astype(float).mean((1, 2))
    assert np.abs(sky - sky[0]).max() < 40
    assert motion(frames).max() < 4 * motion(frames).mean()


def green_centres(video):
    """Horizontal middle of what is green, (T,) in pixels."""
    video = video.astype(float)
    green = video[..., 1] - video[..., 0] > 60
    return (green * np.arange(video.shape[2])).sum((1, 2)) / green.sum((1, 2))


def test_each_span_of_most_storyboards_follows_its_own_text(pipe):
    text = "a green ball rolls to the {} on sand"
    for ways in (("left", "right"), ("right", "left")):
        board = [(2.0 * number, text.format(way)) for number, way in enumerate(ways)]
        output = pipe(storyboard=board, num_frames=33, generator=0, num_videos_per_prompt=4, **STEPS)
        followed = 0
        for video in output.videos():
            centres = green_centres(video)
            moved = centres[16] - centres[0], centres[32] - centres[16]
            followed += all((way > 0) == (name == "right") for way, name in zip(moved, ways))
        assert followed >= 3, ways

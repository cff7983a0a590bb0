"""The gallery's rows: what each shows and measures. `bench/gallery.py` runs them."""

import time
from collections.abc import Callable
from itertools import accumulate, combinations

import numpy as np
from gallery_studio import Row, Studio, as_uint8, check_same, file_frames, psnr, seam, steps, untouched
from PIL import Image

from kinema.data.video_io import read_video

CLIP, ROLL, CAR = (
    "a red ball bounces on grass in daylight",
    "a red ball rolls to the left on grass in daylight",
    "a red car drives left on snow",
)


def text(studio: Studio) -> Row:
    row = studio.row = Row(
        "Text to video, text to image",
        "The subject, its colour and its motion; and that tall and wide frames are composed as such, not cropped.",
    )
    for call, command, title in (
        (f'pipe("{CAR}", generator=1)', f'kinema generate "{CAR}" --seed 1 -o car.mp4', CAR),
        (
            'pipe("a green heart falls on sand", height=80, width=48, generator=2)',
            'kinema generate "a green heart falls on sand" --aspect 9:16 --seed 2 -o heart.mp4',
            "a green heart falls on sand, 9:16",
        ),
        (
            'pipe("a yellow duck waddles right in daylight", height=48, width=80, generator=3)',
            'kinema generate "a yellow duck waddles right in daylight" --aspect 16:9 --seed 3 -o duck.mp4',
            "a yellow duck waddles right in daylight, 16:9",
        ),
        (
            'pipe("a blue star spins on wood at night", num_frames=33, generator=4)',
            'kinema generate "a blue star spins on wood at night" --frames 33 --seed 4 -o star.mp4',
            "a blue star spins on wood at night, 33 frames",
        ),
    ):
        row.figures[f"the judge sees in “{title}”"] = studio.read(studio.make(call, command, title))
    prompt = "a purple ball stands on grass in daylight"
    studio.make(
        f'pipe("{prompt}", num_frames=1, generator=5)',
        f'kinema generate "{prompt}" --seed 5 -o ball.png', f"{prompt}: a picture",
    )  # fmt: skip
    return row


def given(studio: Studio) -> Row:
    row = studio.row = Row("The clips that the rows below are given", "Made by the same checkpoint, as above.")
    for name, prompt, seed in (("bounce", CLIP, 11), ("roll", ROLL, 12)):
        frames = studio.make(
            f'pipe("{prompt}", generator={seed})',
            f'kinema generate "{prompt}" --seed {seed} -o {name}.mp4',
            prompt,
        )
        row.figures[f"the judge sees in {name}.mp4"] = studio.read(frames)
    return row


def image(studio: Studio) -> Row:
    row = studio.row = Row(
        "Animate an image", "The first frame is the picture; the rest moves as the prompt says."
    )
    prompt = "a purple ball rolls to the right on grass in daylight"
    picture = file_frames("ball.png")
    row.clips.append(("given: ball.png", as_uint8(picture)))
    made = studio.make(
        f'pipe("{prompt}", image="ball.png", generator=6)',
        f'kinema generate "{prompt}" --image ball.png --seed 6 -o rolls.mp4', prompt,
    )  # fmt: skip
    row.figures["first frame to the picture, PSNR in dB"] = psnr(made[:1], picture)
    row.figures["the autoencoder alone on that picture"] = psnr(studio.reconstructed(picture), picture)
    row.figures["the judge sees"] = studio.read(made)
    return row


def keyframes(studio: Studio) -> Row:
    row = studio.row = Row(
        "Keyframes",
        "The video passes through the three pictures (frames 0, 8 and 16 of rolls.mp4) at 0, 1 and 2 seconds.",
    )
    pictures = {}
    for frame, name in ((0, "start.png"), (8, "middle.png"), (16, "end.png")):
        Image.fromarray(read_video("rolls.mp4").frames[frame]).save(name)
        pictures[frame] = file_frames(name)
    shown = np.concatenate([as_uint8(picture) for picture in pictures.values()])
    row.clips.append(("given: start.png, middle.png, end.png", shown))
    prompt = "a purple ball rolls to the right on grass in daylight"
    made = studio.make(
        f'pipe("{prompt}", keyframes={{0: "start.png", 1.0: "middle.png", -1: "end.png"}}, generator=7)',
        f'kinema generate "{prompt}" --keyframe 0=start.png --keyframe 1.0s=middle.png --keyframe -1=end.png '
        "--seed 7 -o between.mp4",
        prompt,
    )  # fmt: skip
    for frame, picture in pictures.items():
        alone = studio.reconstructed(picture) if frame == 0 else studio.as_still(picture[0])[-1:]
        row.figures[f"frame {frame} to its picture, PSNR in dB (the autoencoder alone)"] = (
            f"{psnr(made[frame], picture[0])} ({psnr(alone, picture)})"
        )
    return row


def extend(studio: Studio) -> Row:
    row = studio.row = Row(
        "Extend forwards and backwards", "The motion goes on through the seam, and the given frames are unchanged."
    )
    clip = file_frames("bounce.mp4")
    row.clips.append(("given: bounce.mp4", as_uint8(clip)))
    made = studio.make(
        f'pipe.extend("bounce.mp4", "{CLIP}", seconds=2, generator=8)',
        f'kinema extend bounce.mp4 "{CLIP}" --seconds 2 --seed 8 -o longer.mp4', "two seconds more",
    )  # fmt: skip
    row.figures["forwards: given frames came back"] = untouched(made[: len(clip)], clip)
    saved = file_frames("longer.mp4")[: len(clip)]
    row.figures["… and from the MP4 file, least PSNR in dB"] = min(psnr(a, b) for a, b in zip(saved, clip))
    row.figures["step across the seam, of 255"] = seam(made, len(clip))
    made = studio.make(
        f'pipe.extend("bounce.mp4", "{CLIP}", seconds=1, direction="backward", generator=9)',
        f'kinema extend bounce.mp4 "{CLIP}" --seconds 1 --backward --seed 9 -o earlier.mp4', "one second before",
    )  # fmt: skip
    row.figures["backwards: given frames came back"] = untouched(made[-len(clip) :], clip)
    row.figures["step across the seam backwards, of 255"] = seam(made, len(made) - len(clip))
    return row


def loop(studio: Studio) -> Row:
    row = studio.row = Row("Seamless loop", "The last frame leads into the first: play it round and round.")
    for call, command, title in (
        (
            f'pipe.loop("bounce.mp4", "{CLIP}", seconds=1, generator=10)',
            f'kinema loop bounce.mp4 "{CLIP}" --seconds 1 --seed 10 -o loop.gif',
            "bounce.mp4 and back",
        ),
        (
            'pipe.loop("a pink heart spins on snow", seconds=1, generator=13)',
            'kinema loop "a pink heart spins on snow" --seconds 1 --seed 13 -o spin.gif',
            "of a text: a pink heart spins on snow",
        ),
    ):
        made = studio.make(call, command, title)
        round_trip = steps(np.concatenate([made[-1:], made[:1]]))[0]
        inside = steps(made)
        row.figures[f"step from last to first frame, of 255, “{title}”"] = (
            f"{round_trip:.1f}; elsewhere {np.median(inside):.1f}, at most {inside.max():.1f}"
        )
    return row


def connect(studio: Studio) -> Row:
    row = studio.row = Row(
        "Connect two clips", "Both clips are whole; what is between leads from one to the other."
    )
    a, b = file_frames("bounce.mp4"), file_frames("roll.mp4")
    made = studio.make(
        f'pipe.connect("bounce.mp4", "roll.mp4", "{CLIP}", seconds=1, generator=14)',
        f'kinema connect bounce.mp4 roll.mp4 "{CLIP}" --seconds 1 --seed 14 -o both.mp4',
        "bounce.mp4, a second between, roll.mp4",
    )
    row.figures["the first clip came back"] = untouched(made[: len(a)], a)
    row.figures["the second clip came back"] = untouched(made[-len(b) :], b)
    row.figures["steps across the two seams, of 255"] = seam(made, len(a), len(made) - len(b))
    jump = steps(np.stack([a[-1], b[0]]))[0]
    row.figures["a cut from one clip to the other would step"] = round(float(jump), 1)
    return row


def remix(studio: Studio) -> Row:
    row = studio.row = Row(
        "Video to video",
        "With strength the clip leaves its input and follows the text: 0 is the input through the autoencoder, 1 "
        "ignores it.",
    )
    prompt, clip = "a blue cube on snow", file_frames("roll.mp4")
    row.clips.append(("given: roll.mp4", as_uint8(clip)))
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        made = studio.make(
            f'pipe.remix("roll.mp4", "{prompt}", strength={strength}, generator=15)',
            f'kinema remix roll.mp4 "{prompt}" --strength {strength} --seed 15 -o remix-{strength}.mp4',
            f"{prompt}, strength {strength}",
        )
        row.figures[f"strength {strength}: PSNR to the input in dB"] = psnr(made, clip)
    row.figures["the autoencoder alone"] = psnr(studio.reconstructed(clip), clip)
    return row


def inpaint(studio: Studio) -> Row:
    row = studio.row = Row(
        "Inpaint and outpaint",
        "What is outside the box is the given clip; the box may move, and the frame may grow.",
    )
    clip = file_frames("car.mp4")
    height, width = clip.shape[1:3]
    row.clips.append(("given: car.mp4", as_uint8(clip)))
    prompt = "a green cone on snow"
    made = studio.make(
        f'pipe("{prompt}", video="car.mp4", mask=(0, 16, 64, 56), generator=16)',
        f'kinema inpaint car.mp4 "{prompt}" --box 0,16,64,56 --seed 16 -o cone.mp4', f"{prompt}: a box",
    )  # fmt: skip
    outside = np.ones((height, width), bool)
    outside[16:56, 0:64] = False
    row.figures["outside the box"] = untouched(made[:, outside], clip[:, outside])
    inner, outer = made[:, 14:17, :].astype(np.float64), clip[:, 14:17, :].astype(np.float64)
    edge = [float(np.abs(np.diff(rows, axis=1))[:, -1].mean() * 255) for rows in (inner, outer)]
    row.figures["step across its upper edge, of 255 (in the given clip)"] = f"{edge[0]:.1f} ({edge[1]:.1f})"
    made = studio.make(
        f'pipe("{prompt}", video="car.mp4", mask={{0.0: (24, 16, 64, 56), 2.0: (0, 16, 40, 56)}}, generator=17)',
        f'kinema inpaint car.mp4 "{prompt}" --box 0s:24,16,64,56 --box 2s:0,16,40,56 --seed 17 -o moving.mp4',
        f"{prompt}: a box that moves",
    )
    row.figures["outside the moving box, first frame"] = untouched(made[0, :, :24], clip[0, :, :24])
    clip = file_frames("bounce.mp4")
    made = studio.make(
        f'pipe.outpaint("bounce.mp4", "{CLIP}", aspect="9:16", generator=18)',
        f'kinema outpaint bounce.mp4 "{CLIP}" --aspect 9:16 --seed 18 -o tall.mp4', "bounce.mp4 made 9:16",
    )  # fmt: skip
    top = (made.shape[1] - clip.shape[1]) // 16 * 8
    row.figures[
        f"outpaint: the given {clip.shape[2]} × {clip.shape[1]} in the {made.shape[2]} × {made.shape[1]}"
    ] = untouched(made[:, top : top + clip.shape[1]], clip)
    return row


def storyboard(studio: Studio) -> Row:
    row = studio.row = Row(
        "Storyboard", "At half time the text changes: the motion follows, and subject and scene stay."
    )
    for first, second, seed, file in (
        ("a red car drives left on snow", "a red car bounces on snow", 19, "story.mp4"),
        ("a green cube spins on grass", "a green cube rises on grass", 20, "story2.mp4"),
    ):
        made = studio.make(
            f'pipe(storyboard=[(0.0, "{first}"), (2.0, "{second}")], num_frames=33, generator={seed})',
            f'kinema storyboard "0:{first}" "2:{second}" --frames 33 --seed {seed} -o {file}',
            f"{first} | {second}",
        )
        row.figures[f"the judge sees in {file}"] = studio.read(made)
        row.figures[f"step at the change of text in {file}, of 255"] = seam(made, 16)
    return row


def stream(studio: Studio) -> Row:
    row = studio.row = Row(
        "Stream", "Each chunk is shown as soon as it is made; the text changes on the way, and memory is constant."
    )
    later = "a red ball spins on grass in daylight"
    call = f'pipe.stream([(0.0, "{CLIP}"), (8.0, "{later}")], seconds=16, generator=21)'
    command = f'kinema stream "0:{CLIP}" "8:{later}" --seconds 16 --seed 21 -o stream.mp4'
    began = time.perf_counter()
    running = eval(call, {"pipe": studio.pipe})
    chunks, times = [], []
    for chunk in running:
        chunks.append(chunk)
        times.append(time.perf_counter() - began)
    made = np.concatenate(chunks)
    assert running.provenance is not None
    check_same(command, running.provenance)
    row.calls.append((f"for frames in {call}:\n    show(frames)", command))
    middle = len(made) // 2
    row.clips += [("first 8 seconds", as_uint8(made[:middle])), ("last 8 seconds", as_uint8(made[middle:]))]
    row.figures["frames, in chunks of"] = f"{len(made)}, {len(chunks[0])} then {len(chunks[1])}"
    row.figures["seconds to the first chunk, and to the last"] = f"{times[0]:.1f}, {times[-1]:.1f}"
    row.figures["the judge sees in the first 4 seconds"] = studio.read(made[:32])
    row.figures["the judge sees in the last 4 seconds"] = studio.read(made[-32:])
    ends = list(accumulate(len(chunk) for chunk in chunks))[:-1]
    between = steps(made)[[end - 1 for end in ends]]
    row.figures["steps between chunks, of 255"] = (
        f"{np.median(between):.1f}; all steps {np.median(steps(made)):.1f}, at most {steps(made).max():.1f}"
    )
    return row


def variations(studio: Studio) -> Row:
    row = studio.row = Row(
        "Variations and blend", "One text, four videos; and one clip that passes into another along a schedule."
    )
    prompt = "an orange cylinder rolls right on sand"
    studio.make(
        f'pipe("{prompt}", num_videos_per_prompt=4, generator=22)',
        f'kinema generate "{prompt}" --num 4 --seed 22 -o many.mp4', prompt,
    )  # fmt: skip
    pairs = combinations([frames for _, frames in row.clips], 2)
    row.figures["PSNR between two of the four in dB, highest"] = max(psnr(a / 255, b / 255) for a, b in pairs)
    a, b = file_frames("roll.mp4"), file_frames("car.mp4")
    made = studio.make(
        f'pipe.blend("roll.mp4", "car.mp4", "{CAR}", schedule="ease", generator=23)',
        f'kinema blend roll.mp4 car.mp4 "{CAR}" --schedule ease --seed 23 -o blend.mp4', "roll.mp4 into car.mp4",
    )  # fmt: skip
    places = [0, len(made) // 4, len(made) // 2, 3 * len(made) // 4, len(made) - 1]
    row.figures["blend: PSNR to a and to b in dB at five times"] = "; ".join(
        f"{_capped(made[at], a[at])} and {_capped(made[at], b[at])}" for at in places
    )
    return row


def _capped(made: np.ndarray, given: np.ndarray) -> str:
    value = psnr(made, given)
    return "exact" if value >= 100 else f"{value}"


ROWS: dict[str, Callable[[Studio], Row]] = {
    "text": text, "given": given, "image": image, "keyframes": keyframes, "extend": extend, "loop": loop,
    "connect": connect, "remix": remix, "inpaint": inpaint, "storyboard": storyboard, "stream": stream,
    "variations": variations,
}  # fmt: skip
NEEDED = ("text", "given", "image")  # rows whose files others are given

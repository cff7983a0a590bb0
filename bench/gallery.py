"""Makes docs/gallery.md: every task from one checkpoint, as contact sheets with their calls, seeds and figures.

    python bench/gallery.py                                # the packaged checkpoint; about 3 minutes on a core
    python bench/gallery.py --only extend loop --out /tmp  # some rows, elsewhere

Every call on the page is the text that was run. Each command line beside one is checked to ask for the same: the
file that the call wrote says by which command it is made again.
"""

import argparse
import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema import KinemaPipeline
from kinema.cli import build_parser
from kinema.data.diorama.scene import COLOURS, KINDS
from kinema.data.sheets import contact_sheet
from kinema.data.video_io import read_video
from kinema.eval.judge.pixel import PixelJudge
from kinema.eval.judge.reading import DIRECTIONS
from kinema.eval.questions import MOTIONS
from kinema.pipeline.media import open_image
from kinema.pipeline.output import KinemaPipelineOutput
from kinema.pipeline.provenance import Provenance, fingerprint
from kinema.pipeline.task_commands import read_boxes, read_storyboard
from kinema.vae.context import encode_still
from kinema.vae.latents import decode_latents, encode_latents

DOCS = Path(__file__).resolve().parent.parent / "docs"
LARGEST = 150_000  # bytes of one sheet
CLIP, ROLL, CAR = (
    "a red ball bounces on grass",
    "a red ball rolls to the left on grass",
    "a red car drives left on snow",
)


@dataclass
class Row:
    """One row of the page.

    Attributes:
        title, look_at: its heading, and what to look at.
        calls: (Python, command line) pairs.
        clips: (title, uint8 frames) of the contact sheet.
        figures: what was measured, by what it is.
    """

    title: str
    look_at: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    clips: list[tuple[str, np.ndarray]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


class Studio:
    """The pipeline, the judge, and the row under way; files lie in the current folder."""

    def __init__(self, model: str | None) -> None:
        self.pipe = KinemaPipeline.from_pretrained(model)
        self.pipe.set_progress_bar_config(disable=True)
        self.judge = PixelJudge.from_pretrained()
        self.row = Row("", "")

    def make(self, call: str, command: str, title: str) -> np.ndarray:
        """Run a call, save what it makes to the command's file, and show it.

        Returns:
            Frames (T, H, W, 3) in [0, 1]; of several videos the first one's, and all are shown.
        """
        output: KinemaPipelineOutput = eval(call, {"pipe": self.pipe})
        file = _parsed(command)["output"]
        output.save(file)
        check_same(command, (output.provenance or [])[0])
        self.row.calls.append((f"{call}.save({str(file)!r})".replace("'", '"'), command))
        for number, frames in enumerate(output.videos()):
            self.row.clips.append((title if number == 0 else f"… the same call, video {number + 1}", frames))
        return output.frames[0]

    def read(self, frames: np.ndarray, rate: float = 8.0) -> str:
        """What the pixel judge sees: it knows neither the prompt nor the generator."""
        things = self.judge.read(_uint8(frames), rate).things
        if not things:
            return "nothing"
        thing = things[0]
        deeds = []
        for motion, direction in zip(thing.halves, thing.half_directions):
            way = DIRECTIONS[int(direction.argmax())]
            deeds.append(MOTIONS[int(motion.argmax())] + (f" {way}" if way != "none" else ""))
        deed = deeds[0] if deeds[0] == deeds[1] else " then ".join(deeds)
        return f"{COLOURS[int(thing.colour.argmax())]} {KINDS[int(thing.kind.argmax())]}, {deed}"

    def reconstructed(self, frames: np.ndarray) -> np.ndarray:
        """Frames (T, H, W, 3) through the autoencoder and back: the error that no call can be below."""
        pixels = torch.from_numpy(frames).float().permute(3, 0, 1, 2)[None] * 2 - 1
        with torch.no_grad():
            decoded = decode_latents(self.pipe.vae, encode_latents(self.pipe.vae, pixels))
        return _frames(decoded)

    def as_still(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) as the frames of the latent frame that it fills, through the autoencoder."""
        pixels = torch.from_numpy(picture).float().permute(2, 0, 1)[None, :, None] * 2 - 1
        with torch.no_grad():
            first = encode_latents(self.pipe.vae, pixels)
            latents = torch.cat([first, encode_still(self.pipe.vae, pixels)], dim=2)
            return _frames(decode_latents(self.pipe.vae, latents))[1:]


def check_same(command: str, made: Provenance) -> None:
    """Raise a ValueError unless a command line asks for what a call has made."""
    asked, done = _parsed(command), _parsed(made.as_command("x.mp4")[0])
    for name in set(asked) - {"output", "num", "quiet", "aspect" if asked["command"] != "outpaint" else ""}:
        if asked[name] not in (None, [], "", False) and asked[name] != done.get(name):
            raise ValueError(f"{command} asks for {name} {asked[name]!r}, and the call made {done.get(name)!r}")


def _parsed(command: str) -> dict[str, Any]:
    values = vars(build_parser().parse_args(shlex.split(command)[1:]))
    if values.get("box"):
        values["box"] = read_boxes(values["box"])
    if values["command"] == "storyboard":
        values["texts"] = read_storyboard(values["texts"])
    return values


def _frames(pixels: torch.Tensor) -> np.ndarray:
    return (pixels[0] * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 3, 0).numpy()


def _uint8(frames: np.ndarray) -> np.ndarray:
    return (frames * 255).round().clip(0, 255).astype(np.uint8)


def _file(name: str) -> np.ndarray:
    """Frames of a file in [0, 1], as a call is given them."""
    if name.endswith(".png"):
        clip = open_image(name, height=64, width=64)
        return clip.frames.movedim(1, -1).numpy()
    return read_video(name).frames.astype(np.float32) / np.float32(255)


def psnr(made: np.ndarray, given: np.ndarray) -> float:
    """In dB, over all of both arrays."""
    error = np.square(made.astype(np.float64) - given).mean()
    return round(float(-10 * np.log10(max(error, 1e-12))), 1)


def steps(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame to the one before, of 255."""
    return np.abs(np.diff(frames.astype(np.float64), axis=0)).mean((1, 2, 3)) * 255


def seam(frames: np.ndarray, *places: int) -> str:
    """The steps into the frames at the given places beside the steps elsewhere."""
    all_steps = steps(frames)
    at = [place - 1 for place in places]
    inside = np.delete(all_steps, at)
    shown = " and ".join(f"{all_steps[place]:.1f}" for place in at)
    return f"{shown}; elsewhere {np.median(inside):.1f}, at most {inside.max():.1f}"


def untouched(made: np.ndarray, given: np.ndarray) -> str:
    """Whether given pixels came back."""
    error = np.abs(made - given).max()
    return "every bit" if error == 0 else f"no: they differ by up to {error * 255:.2f} of 255"


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
            'pipe("a yellow duck waddles right on grass", height=48, width=80, generator=3)',
            'kinema generate "a yellow duck waddles right on grass" --aspect 16:9 --seed 3 -o duck.mp4',
            "a yellow duck waddles right on grass, 16:9",
        ),
        (
            'pipe("a blue star spins on wood at night", num_frames=33, generator=4)',
            'kinema generate "a blue star spins on wood at night" --frames 33 --seed 4 -o star.mp4',
            "a blue star spins on wood at night, 33 frames",
        ),
    ):
        row.figures[f"the judge sees in “{title}”"] = studio.read(studio.make(call, command, title))
    prompt = "a purple ball on grass"
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
    prompt = "a purple ball rolls to the right on grass"
    picture = _file("ball.png")
    row.clips.append(("given: ball.png", _uint8(picture)))
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
    from PIL import Image

    pictures = {}
    for frame, name in ((0, "start.png"), (8, "middle.png"), (16, "end.png")):
        Image.fromarray(read_video("rolls.mp4").frames[frame]).save(name)
        pictures[frame] = _file(name)
        row.clips.append((f"given: {name}", _uint8(pictures[frame])))
    prompt = "a purple ball rolls to the right on grass"
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
    clip = _file("bounce.mp4")
    row.clips.append(("given: bounce.mp4", _uint8(clip)))
    made = studio.make(
        f'pipe.extend("bounce.mp4", "{CLIP}", seconds=2, generator=8)',
        f'kinema extend bounce.mp4 "{CLIP}" --seconds 2 --seed 8 -o longer.mp4', "two seconds more",
    )  # fmt: skip
    row.figures["forwards: given frames came back"] = untouched(made[: len(clip)], clip)
    saved = _file("longer.mp4")[: len(clip)]
    row.figures["… and from the MP4 file, least PSNR in dB"] = min(psnr(a, b) for a, b in zip(saved, clip))
    row.figures["step across the seam, of 255"] = seam(made, len(clip))
    made = studio.make(
        f'pipe.extend("bounce.mp4", "{CLIP}", seconds=1, direction="backward", generator=9)',
        f'kinema extend bounce.mp4 "{CLIP}" --seconds 1 --backward --seed 9 -o earlier.mp4', "one second before",
    )  # fmt: skip
    row.figures["backwards: given frames came back"] = untouched(made[-len(clip) :], clip)
    row.figures["step across the seam, of 255 "] = seam(made, len(made) - len(clip))
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
    a, b = _file("bounce.mp4"), _file("roll.mp4")
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
    prompt, clip = "a blue cube on snow", _file("roll.mp4")
    row.clips.append(("given: roll.mp4", _uint8(clip)))
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
    clip = _file("car.mp4")
    height, width = clip.shape[1:3]
    row.clips.append(("given: car.mp4", _uint8(clip)))
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
    clip = _file("bounce.mp4")
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
    later = "a red ball spins on grass"
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
    row.clips += [("first 8 seconds", _uint8(made[:middle])), ("last 8 seconds", _uint8(made[middle:]))]
    row.figures["frames, in chunks of"] = f"{len(made)}, {len(chunks[0])} then {len(chunks[1])}"
    row.figures["first chunk after, the whole after (seconds, one core)"] = f"{times[0]:.1f}, {times[-1]:.1f}"
    row.figures["the judge sees in the first 4 seconds"] = studio.read(made[:32])
    row.figures["the judge sees in the last 4 seconds"] = studio.read(made[-32:])
    between = steps(made)[[len(c) - 1 for c in _cumulated(chunks)][:-1]]
    row.figures["steps between chunks, of 255"] = (
        f"{np.median(between):.1f}; all steps {np.median(steps(made)):.1f}, at most {steps(made).max():.1f}"
    )
    return row


def _cumulated(chunks: list[np.ndarray]) -> Iterator[range]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        yield range(total)


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
    a, b = _file("roll.mp4"), _file("car.mp4")
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

PAGE = """# Gallery: one checkpoint, every task

Every picture and figure here comes from the packaged checkpoint by one command, `python bench/gallery.py`, first
try each. A row's frames are evenly spaced in time, first and last included. Python and command line ask for the
same. Videos are small ({size}), because the checkpoint was trained on two CPU cores. “The judge” is the exam's
[pixel judge](exam.md), which sees the pixels alone. Steps are mean absolute differences from one frame to the
next. See also {links}.

```python
from kinema import KinemaPipeline

pipe = KinemaPipeline.from_pretrained()
```
"""
LINKS = {
    "canvas.md": "how the tasks work",
    "schedules.md": "noise schedules and streaming",
    "previews.md": "previews while it is made",
    "lora.md": "teaching the model a new thing",
    "finetuning.md": "teaching the model a new thing",
}


def page(rows: dict[str, Row], size: str) -> str:
    """The page's text."""
    links = [f"[{what}]({name})" for name, what in LINKS.items() if (DOCS / name).exists()]
    parts = [PAGE.format(size=size, links=" · ".join(links))]
    for name, row in rows.items():
        python, shell = ("\n".join(call[side] for call in row.calls) for side in (0, 1))
        lines = [f"| {label.strip()} | {value} |" for label, value in row.figures.items()]
        table = "\n".join(["| figure | |", "|---|---|", *lines]) if lines else ""
        parts.append(
            f"## {row.title}\n\n{row.look_at}\n\n![{row.title}](gallery/{name}.png)\n\n"
            f"```python\n{python}\n```\n\n```bash\n{shell}\n```\n" + (f"\n{table}\n" if table else "")
        )
    return "\n".join(parts)


def write_sheet(row: Row, path: Path) -> int:
    """Write a row's contact sheet; returns its size in bytes.

    Raises:
        ValueError: it is larger than a page can bear.
    """
    sheet = contact_sheet(row.clips, columns=8, tile_height=72, font_size=12).quantize(128)
    sheet.save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size} bytes, more than {LARGEST}; show fewer clips")
    return size


def main() -> None:
    """Make the rows, their sheets, their figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a checkpoint (default: the packaged one)")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the page")
    args = parser.parse_args()
    model, out = args.model and str(Path(args.model).resolve()), args.out.resolve()
    (out / "gallery").mkdir(parents=True, exist_ok=True)
    studio = Studio(model)
    rows, seconds, total = {}, {}, 0
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in ROWS:
            if name not in args.only and name not in NEEDED:
                continue
            began = time.perf_counter()
            row = ROWS[name](studio)
            if name in args.only:
                rows[name] = row
                total += write_sheet(row, out / "gallery" / f"{name}.png")
            seconds[name] = round(time.perf_counter() - began, 1)
            told = (f"\n  {label}: {value}" for label, value in row.figures.items())
            print(f"{name}: {seconds[name]} s", *told, flush=True)
    own = studio.pipe.config
    size = f"{own['default_width']} × {own['default_height']} and the like"
    (out / "gallery.md").write_text(page(rows, size), encoding="utf-8")
    figures = {
        "model": fingerprint([studio.pipe.transformer, studio.pipe.vae, studio.pipe.text_encoder]),
        "torch": torch.__version__,
        "seconds": seconds,
        "figures": {name: row.figures for name, row in rows.items()},
    }
    text_of_figures = json.dumps(figures, indent=1, ensure_ascii=False)
    (out / "gallery" / "figures.json").write_text(text_of_figures + "\n", encoding="utf-8")
    print(f"{len(rows)} rows, {total} bytes of pictures, {sum(seconds.values()):.0f} s, {out / 'gallery.md'}")


if __name__ == "__main__":
    main()

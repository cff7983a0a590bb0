"""The commands of the tasks: `kinema storyboard, extend, loop, connect, remix, inpaint, outpaint, blend, stream`.

    kinema extend clip.mp4 "the red car drives on" --seconds 2 -o longer.mp4

Each reads its own options, and hands over to the pipeline's method of the same name.
"""

import argparse
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .command import (
    call_settings,
    check_output,
    check_readable,
    first_seed,
    length_of,
    loading,
    make,
    open_pipeline,
    pictures_of,
    read_time,
    report,
    say,
    size_of,
)
from .saving import VIDEO_SUFFIXES

STORYBOARD_FILES = (".json", ".yaml", ".yml")


def storyboard(args: argparse.Namespace) -> None:
    """Make a video whose texts follow one another."""
    check_output(args, args.frames or 2)
    spans = read_storyboard(args.texts, args.picture)
    pictures = pictures_of(args)
    pipe = open_pipeline(args)
    settings = {**call_settings(args), **pictures, **length_of(pipe, args), **size_of(pipe, args)}
    make(args, lambda seed: pipe(storyboard=spans, generator=seed, **settings))


def extend(args: argparse.Namespace) -> None:
    """Make a video go on, or begin earlier."""
    direction = "backward" if args.backward else "forward"
    task = {"seconds": args.seconds, "direction": direction, "context": args.context}
    _make_from(args, (args.video,), lambda pipe: pipe.extend, (args.video, args.prompt), **task)


def loop(args: argparse.Namespace) -> None:
    """Close a video to a loop, or make one of a prompt."""
    with loading():
        from .along_time import names_a_video

    files = (args.source,) if names_a_video(args.source) else ()
    if files and args.frames is not None:
        raise ValueError("--frames is the length of what a prompt makes, and a video was given; leave it out")
    _make_from(args, files, lambda pipe: pipe.loop, (args.source, args.prompt), seconds=args.seconds)


def connect(args: argparse.Namespace) -> None:
    """Join two videos by a transition."""
    _make_from(
        args, (args.a, args.b), lambda pipe: pipe.connect, (args.a, args.b, args.prompt), seconds=args.seconds
    )


def remix(args: argparse.Namespace) -> None:
    """Make a video into another by a text."""
    task = {"strength": args.strength}
    _make_from(args, (args.video,), lambda pipe: pipe.remix, (args.video, args.prompt), **task)


def inpaint(args: argparse.Namespace) -> None:
    """Make a part of a video anew."""
    mask = args.mask if args.mask is not None else read_boxes(args.box)
    task = {"video": args.video, "mask": mask, "strength": args.strength}
    files = (args.video, args.mask)
    _make_from(args, files, lambda pipe: pipe, (args.prompt,), **task)


def outpaint(args: argparse.Namespace) -> None:
    """Make what lies round a video."""
    task = {"aspect": args.aspect}
    _make_from(args, (args.video,), lambda pipe: pipe.outpaint, (args.video, args.prompt), **task)


def blend(args: argparse.Namespace) -> None:
    """Pass from one video to another."""
    task = {"schedule": read_weights(args.schedule), "strength": args.strength}
    _make_from(args, (args.a, args.b), lambda pipe: pipe.blend, (args.a, args.b, args.prompt), **task)


def stream(args: argparse.Namespace) -> None:
    """Write a video while it is made. Ctrl-C ends it within a step, and what is made is kept."""
    from tqdm import tqdm

    if args.output.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f"{args.output}: a stream is written while it is made; use .mp4, .mov or .mkv")
    is_prompt = len(args.texts) == 1 and not args.picture and not args.texts[0].endswith(STORYBOARD_FILES)
    text = args.texts[0] if is_prompt else read_storyboard(args.texts, args.picture)
    check_readable(args.image, args.video)
    pipe = open_pipeline(args)
    settings = {**call_settings(args), **size_of(pipe, args)}
    task = {"image": args.image, "video": args.video, "window": args.window, "context_noise": args.context_noise,
            "frames_per_block": args.block or 1}  # fmt: skip
    running = pipe.stream(text, seconds=args.seconds, generator=first_seed(args), **task, **settings)
    if args.seconds is None:
        say(args, "no --seconds: it goes on until Ctrl-C")
    made = 0
    with (
        running,
        tqdm(total=running.num_frames, unit="frame", desc="streaming", disable=args.quiet or None) as bar,
        _kept_on_interrupt(pipe, lambda: say(args, "\nstopping; what is made is kept")),
    ):

        def count() -> None:
            nonlocal made
            made += 1
            bar.update()

        try:
            running.save(args.output, on_frame=count)
        except ValueError:
            if made == 0 and pipe.interrupt:  # there is nothing to keep yet
                raise KeyboardInterrupt from None
            raise
    if made < (running.num_frames or 0):
        say(args, f"stopped after {made} of {running.num_frames} frames")
    assert running.provenance is not None  # the pipeline's own method says how it makes the stream
    report(args, args.output, running.provenance, made)


def read_storyboard(texts: Sequence[str], pictures: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """A storyboard as the pipeline takes it: (start in seconds, text) or (start, text, picture).

    Args:
        texts: "START:TEXT" each, or one .json or .yaml file with a list of {at, text, image}; its images are
            files beside it.
        pictures: "START=FILE" each, a picture for the text that starts then.

    Raises:
        ValueError: another form, or a picture for a time at which no text starts.
    """
    if len(texts) == 1 and texts[0].lower().endswith(STORYBOARD_FILES):
        spans = _storyboard_file(Path(texts[0]).expanduser())
    else:
        spans = []
        for entry in texts:
            start, _, text = entry.partition(":")
            try:
                spans.append((float(start.strip().removesuffix("s")), text.strip()))
            except ValueError:
                raise ValueError(
                    f'the text {entry!r} does not say when it starts; write START:TEXT, such as "2.5:{entry}", or '
                    "give one .json or .yaml file"
                ) from None
    for option in pictures:
        start, _, picture = option.partition("=")
        time = read_time(start, f"--picture {option}")
        places = [number for number, span in enumerate(spans) if span[0] == time]
        if not places or not picture:
            starts = ", ".join(f"{span[0]:g}" for span in spans)
            raise ValueError(f"--picture {option}: it needs START=FILE, with one of the texts' starts: {starts}")
        spans[places[0]] = (*spans[places[0]][:2], picture)
    check_readable(*(span[2] for span in spans if len(span) > 2))
    return spans


def _storyboard_file(path: Path) -> list[tuple[Any, ...]]:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from None
    spans = []
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        if not isinstance(entry, dict) or not {"at", "text"} <= set(entry) <= {"at", "text", "image"}:
            raise ValueError(
                f"{path}: entry {number} is {entry!r}; it needs `at` (seconds) and `text`, and may have an `image`"
            )
        image = entry.get("image")
        if image is not None and "://" not in image:
            image = str(path.parent / Path(image).expanduser())
        spans.append((entry["at"], entry["text"], *([] if image is None else [image])))
    return spans


def read_boxes(texts: Sequence[str]) -> Any:
    """Boxes as the pipeline takes them: (x0, y0, x1, y1), or {time: box} for one that moves.

    Args:
        texts: "X0,Y0,X1,Y1" once, or "TIME:X0,Y0,X1,Y1" each; see `read_time`. Numbers with a point are fractions.

    Raises:
        ValueError: another form.
    """
    boxes = {}
    for text in texts:
        time, colon, corners = text.rpartition(":")
        try:
            box = tuple(float(value) if "." in value else int(value) for value in corners.split(","))
        except ValueError:
            box = ()
        if len(box) != 4:
            raise ValueError(
                f"--box {text}: it needs four numbers, X0,Y0,X1,Y1, with TIME: before them if it moves"
            )
        if not colon and len(texts) > 1:
            raise ValueError(f"--box {text}: of several boxes each needs its time, such as --box 0s:{corners}")
        if not colon:
            return box
        boxes[read_time(time, f"--box {text}")] = box
    return boxes


def read_weights(text: str) -> str | list[float]:
    """A blend's schedule: a name, or a weight for each frame with commas between."""
    if "," not in text:
        return text
    try:
        return [float(weight) for weight in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--schedule {text}: it needs linear, ease, or a weight for each frame: 0,0.1,0.2 …"
        ) from None


def _make_from(
    args: argparse.Namespace,
    files: Sequence[str | None],
    method: Callable[[Any], Callable[..., Any]],
    given: Sequence[Any],
    **task: Any,
) -> None:
    """Make the videos of a task that is given videos.

    Args:
        args: of the command.
        files: what is given, if it is files or URLs.
        method: the pipeline's, of a pipeline.
        given: its positional arguments.
        task: its own settings.
    """
    is_still = args.output.suffix.lower() == ".png" and _are_pictures(files)
    check_output(args, 1 if is_still else 2)
    check_readable(*files)
    pipe = open_pipeline(args)
    settings = {**task, **call_settings(args)}
    make(args, lambda seed: method(pipe)(*given, generator=seed, **settings))


@loading()
def _are_pictures(files: Sequence[str | None]) -> bool:
    from .media import look

    return all(not look(file, "file").is_video for file in files if file is not None)


@contextmanager
def _kept_on_interrupt(pipe: Any, said: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C ask the pipeline to stop, so that the file is finished; the second is as ever."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return

    def ask(*_: Any) -> None:
        pipe._interrupt = True
        signal.signal(signal.SIGINT, before)
        said()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

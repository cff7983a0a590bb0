import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.cli import TASKS, build_parser, main
from kinema.data.video_io import read_video
from kinema.pipeline.again import asked_again
from kinema.pipeline.provenance import read_provenance
from kinema.pipeline.stream import VideoStream
from kinema.pipeline.task_commands import read_boxes, read_storyboard


@pytest.fixture(scope="module")
def place(built, tmp_path_factory):
    """A folder with a tiny model, two clips and a picture."""
    folder = tmp_path_factory.mktemp("place")
    built.save_pretrained(folder / "model")
    for name, size in (("a", (16, 16)), ("b", (32, 16))):
        built("a ball", height=size[0], width=size[1], num_frames=9, generator=0).save(folder / f"{name}.mp4")
    built("a cube", height=16, width=16, num_frames=1, generator=0).save(folder / "p.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    Image.fromarray(mask).save(folder / "m.png")
    return folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """A folder of the test's own, with the files of `place` in it."""
    for path in place.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


UNGUIDED = [
    'loop "a ball" --height 16 --width 32 --frames 5 --seconds 0.5 -o x.mp4',
    'extend a.mp4 "it rolls" --seconds 0.5 -o x.mp4',
]


def run(line: str) -> None:
    main([*shlex.split(line), "--model", "model", "--steps", "1"])


LINES = [
    'generate "a ball" --image p.png -o x.mp4',
    'generate "a ball" --keyframe 0=p.png --keyframe 0.9s=p.png --keyframe -1=p.png --frames 17 -o x.mp4',
    'generate "a ball" --aspect 9:16 --seconds 1 -o x.mp4',
    'extend a.mp4 "it rolls" --seconds 1.5 -o x.mp4',
    "extend a.mp4 --seconds 0.5 --backward --context 4 -o x.mp4",
    "loop a.mp4 --seconds 0.5 -o x.gif",
    'loop "a ball" --height 16 --width 32 --frames 5 --seconds 0.5 -o x.mp4',
    'connect a.mp4 b.mp4 "it falls" --seconds 0.5 --fit contain -o x.mp4',
    'remix a.mp4 "a cube" --strength 0.3 --frames 5 -o x.mp4',
    'inpaint a.mp4 "a cube" --mask m.png -o x.mp4',
    'inpaint a.mp4 "a cube" --box 0.25,0.25,0.5,1.0 --strength 0.8 -o x.mp4',
    'inpaint a.mp4 "a cube" --box 0s:1,1,9,9 --box -1:4,4,12,12 -o x.mp4',
    'inpaint p.png "a cube" --box 2,2,9,9 -o x.png',
    "outpaint a.mp4 --aspect 1:2 -o x.mp4",
    'outpaint p.png "a cube" --width 32 -o x.png',
    "blend a.mp4 b.mp4 --schedule ease --frames 5 -o x.mp4",
    "blend a.mp4 a.mp4 --schedule 0,0.1,0.3,0.7,1 --strength 0.4 --frames 5 -o x.mp4",
    'storyboard "0:a ball" "0.5:a cube" --picture 0.5=p.png --keyframe -1=p.png --frames 13 -o x.mp4',
    'stream "a ball" --seconds 1.5 --window 2 --context-noise 0.1 --height 16 --width 16 -o x.mp4',
    'stream "0:a ball" "1:a cube" --picture 0=p.png --picture 1=p.png --seconds 2 --block 2 -o x.mp4',
    'stream "0:a ball" --picture 0=p.png --seconds 0.5 -o x.mp4',
    'stream "a ball" --video a.mp4 --seconds 1.5 --fps 8 -o x.mp4',
]


@pytest.mark.parametrize("line", [*(f"{line} --guidance 2" for line in LINES), *UNGUIDED])
def test_a_file_says_the_command_that_makes_it_again_bit_for_bit(here, line, capsys):
    run(f"{line} --seed 3 --negative=-fog")
    words = shlex.split(line)
    name = words[words.index("-o") + 1]
    said = capsys.readouterr()
    made = read_provenance(here / name)
    assert f"{name}: {made.width} × {made.height}, " in said.out
    assert "seed 3" in said.out and made.by_hand == ()
    main(["info", name, "--as-command"])
    again, doubts = capsys.readouterr()
    assert doubts == ""
    words = shlex.split(again)
    assert words[:2] == ["kinema", shlex.split(line)[0]]
    main(words[1:])
    assert (here / name.replace("x.", "x-again.")).read_bytes() == (here / name).read_bytes()


def test_every_task_is_tried_above():
    tried = {shlex.split(line)[0] for line in LINES}
    assert tried == {"generate", *TASKS}


def test_given_frames_are_in_the_file(here):
    run("extend a.mp4 --seconds 0.5 --quiet -o longer.mp4")
    given, longer = (read_video(name).frames for name in ("a.mp4", "longer.mp4"))
    assert len(longer) == len(given) + 4
    error = np.square((longer[: len(given)].astype(float) - given) / 255).mean(axis=(1, 2, 3))
    assert (-10 * np.log10(np.maximum(error, 1e-12))).min() >= 45
    run("extend a.mp4 --seconds 0.5 --quiet --compatible -o plain.mp4")
    assert read_video("plain.mp4").frames.shape == longer.shape


def test_what_was_conformed_is_said(here, capsys, caplog):
    run("connect a.mp4 b.mp4 --seconds 0.5 --seed 1 -o x.gif")
    run('generate "a ball" --aspect 16:9 --seed 1 -o y.gif')
    out, err = capsys.readouterr()
    logged = caplog.text  # Python writes warnings to stderr where nothing else takes them, as pytest does here
    assert "b b.mp4: 16 × 32, taken as 16 × 16 (cover" in logged
    assert "a GIF has 256 colours" in logged
    assert "aspect 16:9: the nearest this model makes at about its own area is 32 × 16" in err
    assert "y.gif: 32 × 16, " in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "extend a.mp4 --seconds 0.3 -o x.mp4",
            "kinema extend: seconds 0.3 at 8 frames/s does not fit; 0.5 or 1 do",
        ),
        ("extend no.mp4 --seconds 0.5 -o x.mp4", "kinema extend: file no.mp4: "),
        ("extend a.mp4 --seconds 0.5 -o x.avi", "cannot write .avi"),
        ("extend a.mp4 --seconds 0.5 -o x.png", "a PNG holds one frame"),
        ("loop a.mp4 --frames 9 -o x.mp4", "leave it out"),
        ("remix a.mp4 x --strength 1.5 -o x.mp4", "strength is 1.5"),
        ("remix a.mp4 x --num 0 -o x.mp4", "--num is 0"),
        ("inpaint a.mp4 x --box 1,2,3 -o x.mp4", "--box 1,2,3: it needs four numbers"),
        ("inpaint a.mp4 x --box 1,2,3,4 --box 1,2,3,5 -o x.mp4", "each needs its time, such as --box 0s:1,2,3,4"),
        ("inpaint a.mp4 x --box soon:1,2,3,4 -o x.mp4", "'soon' is no time"),
        ("inpaint a.mp4 x --box 1,2,3,400 -o x.mp4", "needs 0 <= x0 < x1 <= 16"),
        ("inpaint a.mp4 x --mask no.png -o x.mp4", "file no.png"),
        ("outpaint a.mp4 -o x.mp4", "outpaint needs either an aspect"),
        ("outpaint a.mp4 --aspect wide -o x.mp4", "aspect is 'wide'"),
        ("blend a.mp4 b.mp4 --schedule 0,x -o x.mp4", "it needs linear, ease, or a weight for each frame"),
        ("generate x --keyframe p.png -o x.mp4", "--keyframe p.png: it needs TIME=FILE"),
        ("generate x --keyframe soon=p.png -o x.mp4", "'soon' is no time"),
        ("generate x --image p.png --keyframe 0=p.png -o x.mp4", "give one of them"),
        ("generate x --aspect 9:16 --height 32 -o x.mp4", "--aspect 9:16 decides height and width"),
        ('storyboard "a ball" -o x.mp4', 'write START:TEXT, such as "2.5:a ball"'),
        ('storyboard "0:a ball" --picture 1=p.png -o x.mp4', "one of the texts' starts: 0"),
        ('storyboard "1:a ball" -o x.mp4', "the first to be 0"),
        ('storyboard "0:a ball" "9:a cube" --frames 13 -o x.mp4', "has no latent frame of its own"),
        ("stream x --seconds 1 -o x.gif", "a stream is written while it is made; use .mp4"),
        ("stream x --seconds 0.3 -o x.mp4", "seconds 0.3 at 8 frames/s does not fit"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(here, line, message):
    before = sorted(here.iterdir())
    with pytest.raises(SystemExit) as ended:
        run(f"{line} --quiet")
    assert message in str(ended.value)
    assert str(ended.value).count("\n") == 0
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    "line",
    [
        "extend a.mp4",
        "inpaint a.mp4 x",
        "inpaint a.mp4 x --mask m.png --box 1,2,3,4",
        "remix a.mp4",
        "connect a.mp4",
    ],
)
def test_what_is_missing_or_too_much_is_a_usage_error(line, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(shlex.split(line))
    assert ended.value.code == 2
    assert f"usage: kinema {line.split()[0]}" in capsys.readouterr().err


def test_a_prompt_may_stand_after_options():
    args = build_parser().parse_args(shlex.split('extend a.mp4 --seconds 2 "it rolls" -o x.mp4'))
    assert (args.video, args.prompt, args.seconds) == ("a.mp4", "it rolls", 2)
    with pytest.raises(SystemExit):
        build_parser().parse_args(shlex.split("extend a.mp4 --seconds 2 one two"))


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_storyboard_may_lie_in_a_file(here, tmp_path, suffix):
    (tmp_path / "story").mkdir()
    (tmp_path / "story" / "q.png").symlink_to(here / "p.png")
    entries = [{"at": 0, "text": "a ball"}, {"at": 0.5, "text": "a cube: blue", "image": "q.png"}]
    text = json.dumps(entries)
    if suffix == ".yaml":
        text = '- at: 0\n  text: a ball\n- {at: 0.5, text: "a cube: blue", image: q.png}\n'
    path = tmp_path / "story" / f"board{suffix}"
    path.write_text(text)
    assert read_storyboard([str(path)]) == [(0, "a ball"), (0.5, "a cube: blue", str(path.with_name("q.png")))]
    run(f"storyboard {path} --quiet --seed 1 -o x.mp4")
    picture = path.with_name("q.png")
    run(f'storyboard "0:a ball" "0.5:a cube: blue" --picture 0.5={picture} --quiet --seed 1 -o y.mp4')
    assert (here / "x.mp4").read_bytes() == (here / "y.mp4").read_bytes()
    path.write_text('[{"at": 0}]')
    with pytest.raises(SystemExit, match=r"entry 0 is .* needs `at`"):
        run(f"storyboard {path} --quiet -o z.mp4")
    path.write_text("[{")
    with pytest.raises(SystemExit, match="neither JSON nor YAML"):
        run(f"storyboard {path} --quiet -o z.mp4")


def test_boxes_are_read_as_the_pipeline_takes_them():
    assert read_boxes(["1,2,3,4"]) == (1, 2, 3, 4)
    assert read_boxes(["0.5,0,1,1"]) == (0.5, 0, 1, 1)
    moving = read_boxes(["0s:1,2,3,4", "1.5s:1,2,3,5", "-1:0,0,9,9"])
    assert moving == {0.0: (1, 2, 3, 4), 1.5: (1, 2, 3, 5), -1: (0, 0, 9, 9)}
    assert [type(time) for time in moving] == [float, float, int]


def interrupting(monkeypatch, chunk: int) -> None:
    """Press Ctrl-C while a stream makes a chunk."""
    whole, made = VideoStream._output, []

    def output(self, frames):
        made.append(frames)
        if len(made) == chunk:
            signal.raise_signal(signal.SIGINT)
        return whole(self, frames)

    monkeypatch.setattr(VideoStream, "_output", output)


def test_ctrl_c_keeps_what_a_stream_has_made(here, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGINT)
    interrupting(monkeypatch, 3)
    run('stream "a ball" --seed 1 --height 16 --width 16 -o x.mp4')
    assert signal.getsignal(signal.SIGINT) is before
    out, err = capsys.readouterr()
    assert "it goes on until Ctrl-C" in err and "stopping; what is made is kept" in err
    assert "x.mp4: 16 × 16, 9 frames" in out
    assert len(read_video("x.mp4").frames) == 9
    main(["info", "x.mp4", "--as-command"])
    assert "stop the command likewise" in capsys.readouterr().err


def test_a_streams_beginning_does_not_depend_on_when_it_is_stopped(here, monkeypatch, capsys):
    run('stream "a ball" --seed 1 --height 16 --width 16 --seconds 2 -o whole.mp4 --quiet')
    interrupting(monkeypatch, 2)
    run('stream "a ball" --seed 1 --height 16 --width 16 --seconds 2 -o part.mp4')
    assert "stopped after 5 of 17 frames" in capsys.readouterr().err
    whole, part = read_video("whole.mp4").frames, read_video("part.mp4").frames
    assert len(part) == 5
    assert np.abs(whole[:5].astype(int) - part).mean() < 2  # the files are compressed, each in its own way


def test_ctrl_c_before_the_first_frame_writes_nothing(here, monkeypatch):
    def stop(self):
        signal.raise_signal(signal.SIGINT)
        return iter(())

    monkeypatch.setattr(VideoStream, "_frames", stop)
    with pytest.raises(SystemExit) as ended:
        run('stream "a ball" --seconds 1 --quiet -o x.mp4')
    assert ended.value.code == 130
    assert not (here / "x.mp4").exists()


def test_several_are_numbered_and_each_has_its_seed(here, capsys):
    run('remix a.mp4 "a cube" --strength 1 --seed 5 --num 2 -o x.mp4')
    assert [read_provenance(here / f"x-{number}.mp4").seed for number in (0, 1)] == [5, 6]
    frames = [read_video(f"x-{number}.mp4").frames for number in (0, 1)]
    assert (frames[0] != frames[1]).any()


def test_things_in_memory_are_capitals_in_the_command(pipe):
    frames = np.zeros((9, 16, 16, 3), np.uint8)
    command, doubts = pipe.remix(frames, "a cube", generator=0).provenance[0].as_command("x.mp4")
    assert shlex.split(command)[1:4] == ["remix", "VIDEO", "a cube"]
    assert any("video from memory" in doubt for doubt in doubts)


def test_a_given_file_that_is_gone_is_told(pipe, here):
    made = pipe.remix("a.mp4", "a cube", generator=0).provenance[0]
    assert not any("is not here" in doubt for doubt in made.as_command("x.mp4")[1])
    (here / "a.mp4").unlink()
    assert any("it was made from a.mp4, which is not here" in doubt for doubt in made.as_command("x.mp4")[1])
    for kind, where in (("video", "download that in its Library"), ("upload", "given to it")):
        name = f"{kind}_{32 * '0'}"  # as the studio writes it
        doubts = replace(made, settings={**made.settings, "video": name}).as_command("x.mp4")[1]
        assert any(told.startswith(f"{name} is what the studio calls") and where in told for told in doubts)


def test_a_task_without_a_command_is_told(pipe):
    assert asked_again("juggle", {}, "x", 9, 8.0) is None


def test_the_readmes_tour_is_understood():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    tour = readme.split("## One checkpoint, every task")[1].split("\n## ")[0]
    shell, python = (re.findall(rf"```{name}\n(.*?)```", tour, re.DOTALL)[0] for name in ("bash", "python"))
    asked = [shlex.split(line, comments=True)[1:] for line in shell.splitlines()]
    parsed = [build_parser().parse_args(words) for words in asked]
    assert {args.command for args in parsed} >= {"generate", *TASKS}
    assert all(f"pipe.{verb}(" in python for verb in TASKS if verb not in ("inpaint", "storyboard"))
    assert "mask=" in python and "storyboard=" in python
    compile(python, "README.md", "exec")


def test_every_command_of_the_gallery_is_understood():
    gallery = (Path(__file__).resolve().parents[2] / "docs" / "gallery.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", gallery, re.DOTALL) for line in block.splitlines()]
    parsed = [build_parser().parse_args(shlex.split(line)[1:]) for line in lines]
    assert {args.command for args in parsed} == {"generate", *TASKS}


def test_help_needs_no_heavy_import_and_names_every_verb():
    script = (
        "import sys\nfrom kinema.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'numpy', 'diffusers', 'yaml'} & set(sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert all(f"    {verb}" in shown for verb in ("generate", *TASKS))


def test_the_verbs_share_their_options():
    parser = build_parser()
    [verbs] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    options = [set(verbs.choices[verb]._option_string_actions) for verb in ("generate", *TASKS)]
    shared = {"--output", "--model", "--lora", "--negative", "--seed", "--steps", "--guidance", "--height"}
    shared |= {"--width", "--fps", "--fit", "--device", "--dtype", "--quiet"}
    assert all(shared <= one for one in options)
    assert all(one != other for one, other in pairwise(options))

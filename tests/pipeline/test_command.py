import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema import KinemaPipeline
from kinema.cli import build_parser, main
from kinema.pipeline.command import table
from kinema.pipeline.guidance import Guidance
from kinema.pipeline.provenance import Provenance, fingerprint, read_provenance
from kinema.pipeline.saving import check_suffix

PROMPT = 'a red ball "rolls" to the left & stops; it\'s 100% round'


@pytest.fixture(scope="module")
def model(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "a checkpoint"
    built.save_pretrained(folder)
    return folder


def run(*words):
    main([str(word) for word in words])


def test_the_command_read_from_a_file_makes_it_again_bit_for_bit(model, tmp_path, capsys):
    clip = tmp_path / "a clip.mp4"
    run("generate", PROMPT, "-o", clip, "--model", model, "--negative", "a duck", "--seconds", "0.7",
        "--width", "48", "--quiet")  # fmt: skip
    assert capsys.readouterr() == ("", "")
    run("info", clip, "--as-command")
    out, notes = capsys.readouterr()
    assert notes == ""
    words = shlex.split(out)
    assert words[:3] == ["kinema", "generate", PROMPT]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    again = subprocess.run([sys.executable, "-m", "kinema.cli", *words[1:]], cwd=tmp_path, env=environment,
                           capture_output=True, text=True)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "a clip-again.mp4").read_bytes() == clip.read_bytes()


def test_settings_reach_the_file_and_what_was_made_is_said(model, tmp_path, capsys):
    run("generate", PROMPT, "-o", tmp_path / "c.mp4", "--model", model, "--seed", 5, "--steps", 3, "--guidance", 2,
        "--height", 16, "--width", 48, "--frames", 5, "--fps", 12, "--num", 2, "--dtype", "bfloat16",
        "--device", "cpu")  # fmt: skip
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'c-1.mp4'}: 48 × 16, 5 frames, 0.417 s, seed 6" in out
    assert err == ""  # the progress bar is for terminals
    made = read_provenance(tmp_path / "c-1.mp4")
    assert "kinema (the packaged checkpoint)" in table(replace(made, model="default"))
    expected = {
        "prompt": PROMPT,
        "seed": 6,
        "num_inference_steps": 3,
        "guidance_scale": 2.0,
        "height": 16,
        "width": 48,
        "num_frames": 5,
        "frame_rate": 12.0,
        "dtype": "bfloat16",
        "device": "cpu",
        "model": str(model),
        "batch_size": 1,
        "by_hand": (),
    }
    assert {name: getattr(made, name) for name in expected} == expected
    run("generate", PROMPT, "-o", tmp_path / "d.mp4", "--model", model, "--seed", 6, "--steps", 3, "--guidance", 2,
        "--height", 16, "--width", 48, "--frames", 5, "--fps", 12, "--dtype", "bfloat16", "--quiet")  # fmt: skip
    assert (tmp_path / "d.mp4").read_bytes() == (tmp_path / "c-1.mp4").read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".gif", ".png"])
def test_every_kind_of_file_carries_its_provenance(pipe, tmp_path, suffix, capsys):
    output = pipe(PROMPT, num_frames=1 if suffix == ".png" else 5, generator=3)
    [path] = output.save(tmp_path / f"x{suffix}")
    assert read_provenance(path) == output.provenance[0]
    run("info", path)
    shown = capsys.readouterr().out
    assert "seed" in shown and PROMPT in shown and "FlowMatchEulerDiscreteScheduler" in shown


def test_a_picture_is_exact_and_a_gif_still_opens(pipe, tmp_path):
    output = pipe(PROMPT, num_frames=1, generator=3)
    [path] = output.save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(path)), output.videos()[0][0])
    [path] = pipe(PROMPT, num_frames=5, generator=3).save(tmp_path / "x.gif")
    with Image.open(path) as gif:
        assert gif.n_frames == 5
        assert gif.info["loop"] == 0


def test_a_picture_needs_no_frame_count(model, tmp_path, capsys):
    run("generate", PROMPT, "-o", tmp_path / "x.png", "--model", model)
    assert "1 frame, seed" in capsys.readouterr().out
    assert read_provenance(tmp_path / "x.png").num_frames == 1


def test_several_videos_are_numbered(pipe, tmp_path):
    paths = pipe([PROMPT, "x"], generator=0).save(tmp_path / "x.gif")
    assert [path.name for path in paths] == ["x-0.gif", "x-1.gif"]
    assert [read_provenance(path).prompt for path in paths] == [PROMPT, "x"]


def test_a_length_off_the_grid_is_conformed_and_said(model, tmp_path, capsys):
    run("generate", "x", "-o", tmp_path / "x.gif", "--model", model, "--seconds", 2)
    out, err = capsys.readouterr()
    assert "2 s at 8 frames per second: the nearest this model makes is 17 frames" in err
    assert "17 frames" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "x.avi"], "cannot write .avi; use .mp4"),
        (["-o", "x"], "cannot write a name without suffix"),
        (["-o", "x.png", "--frames", "5"], "a PNG holds one frame, and there are 5"),
        (["-o", "x.gif", "--num", "0"], "--num is 0"),
        (["-o", "x.gif", "--frames", "7"], "num_frames 7 does not fit; 5 or 9 do"),
        (["-o", "x.gif", "--model", "/no/such"], "no folder '/no/such'"),
        (["-o", "x.gif", "--steps", "0"], "num_inference_steps 0"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(model, words, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        run("generate", "x", "--quiet", "--model", model, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_provenance_is_said(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(SystemExit, match="does not say how it was made"):
        run("info", tmp_path / "x.png")
    with pytest.raises(SystemExit, match="does not exist"):
        run("info", tmp_path / "y.mp4")


def test_the_command_says_what_it_cannot_promise(pipe):
    def notes(**call):
        return pipe(**{"prompt": ["a", "b"], "generator": [0, 1], **call}).provenance[1].as_command("x.mp4")[1]

    assert [note.split(";")[0] for note in notes()] == [
        "its model was built in Python and not loaded from a folder",
        "it was made in a batch of 2",
    ]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    assert "matmul precision medium" in notes()[2]
    torch.set_float32_matmul_precision(before)
    used = torch.Generator().manual_seed(0)
    assert "not drawn from a seed" in notes(generator=used)[0]
    by_hand = notes(guidance=Guidance("apg"), sigmas=[1.0, 0.5], callback_on_step_end=doubling)
    assert "sigmas, guidance, a callback" in by_hand[1]
    assert (
        notes(callback_on_step_end=lambda *args: args[3])
        == notes(callback_on_step_end=lambda *args: {})
        == notes()
    )
    made = pipe("a", generator=0).provenance[0]
    assert any("torch 0.1" in note for note in replace(made, torch="0.1+cpu").as_command("x.mp4")[1])


def doubling(pipe, index, timestep, tensors):
    return {"latents": 2 * tensors["latents"]}


@pytest.mark.parametrize(("prompt", "negative"), [("-blur", "--seed"), ("a red ball", "-blur"), ("--", "")])
def test_texts_that_look_like_options_come_back_whole(pipe, prompt, negative):
    command, _ = pipe(prompt, negative, generator=0, guidance_scale=2).provenance[0].as_command("x.mp4")
    args = build_parser().parse_args(shlex.split(command)[1:])
    assert (args.prompt, args.negative or "") == (prompt, negative)


def test_a_part_given_at_loading_is_told(model, built):
    loaded = KinemaPipeline.from_pretrained(model, transformer=built.transformer)
    assert loaded("a", generator=0).provenance[0].by_hand == ("another transformer",)


def test_provenance_survives_json_and_newer_fields(pipe):
    made = pipe("a", generator=0).provenance[0]
    text = made.to_metadata()["kinema"]
    assert Provenance.from_json(text) == made
    assert Provenance.from_json(json.dumps({**json.loads(text), "newer": 1})) == made
    with pytest.raises(ValueError, match="lacks seed"):
        Provenance.from_json(json.dumps({k: v for k, v in json.loads(text).items() if k != "seed"}))


def test_the_fingerprint_changes_with_any_weight(pipe):
    parts = [pipe.transformer, pipe.vae]
    before = fingerprint(parts)
    assert before == fingerprint(parts)
    with torch.no_grad():
        next(pipe.vae.decoder.parameters()).mul_(1.01)
    assert fingerprint(parts) != before


@pytest.mark.parametrize("prompt", ["", "nul \0 in it", "größer 🚗 \n\t'\"\\"])
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_any_prompt_survives_in_the_file(pipe, tmp_path, prompt, suffix):
    [path] = pipe(prompt, num_frames=5, generator=0).save(tmp_path / f"x{suffix}")
    assert read_provenance(path).prompt == prompt


def test_suffixes_are_judged_without_regard_to_case():
    check_suffix(Path("X.MP4"), 5)
    check_suffix("x.PNG", 1)


def test_info_needs_no_heavy_import(model, pipe, tmp_path):
    [path] = pipe(PROMPT, generator=0).save(tmp_path / "x.mp4")
    script = (
        "import sys\nfrom kinema.cli import main\n"
        f"main(['info', {str(path)!r}])\nassert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_file_that_is_no_video_is_told_in_one_line(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("these are notes")
    with pytest.raises(SystemExit, match=r"kinema info: .*notes\.mp4"):
        main(["info", str(path)])


@pytest.mark.parametrize("words", [["generate", "x"], ["loop", "x", "--steps", "1"]])
def test_threads_that_wait_sleep_and_no_garbage_is_sought_while_libraries_load(model, tmp_path, words):
    """The first is read when torch loads, so it must be set before, whatever imports torch first."""
    script = f"""
import gc, os, sys
from kinema.cli import main

class Watch:
    def find_spec(self, name, *rest):
        if name in ("torch", "diffusers"):
            seen[name] = os.environ.get("OMP_WAIT_POLICY"), gc.isenabled()

seen = {{}}
sys.meta_path.insert(0, Watch())
main([*{words!r}, "--model", {str(model)!r}, "-o", {str(tmp_path / "x.mp4")!r}, "--quiet"])
assert gc.isenabled() and seen == {{name: ("PASSIVE", False) for name in ("torch", "diffusers")}}, seen
"""
    plain = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", script], env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_installed_command_leaves_at_once_with_everything_said_and_closed(model, tmp_path):
    """What `run` adds to `main`: nothing is taken apart, yet exit functions run and output is whole."""
    script = """
import atexit, sys, threading, time
from kinema import cli

class Late:  # what only an interpreter that is taken apart comes to
    def __del__(self): print("taken apart")

late = Late()
atexit.register(print, "closed")
made = threading.Event()
def work(): made.wait(60); time.sleep(0.5); print("waited for")
if sys.argv.pop() == "busy": threading.Thread(target=work).start()
main = cli.main
cli.main = lambda: (main(), made.set())
cli.run()
"""
    words = ["generate", "x", "--model", str(model), "-o", str(tmp_path / "x.mp4"), "--steps", "1"]
    for last, expected in (("alone", ["closed"]), ("busy", ["waited for", "closed", "taken apart"])):
        done = subprocess.run([sys.executable, "-c", script, *words, last], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said = done.stdout.splitlines()
        assert "x.mp4: " in said[0] and said[1:] == expected
    failed = subprocess.run([sys.executable, "-c", script, "generate", "x", "--steps", "0", "alone"],
                            capture_output=True, text=True)  # fmt: skip
    assert failed.returncode == 1 and "steps" in failed.stderr

"""What is copied is run: the same frames come out."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import threading
import time
import typing
from dataclasses import replace

import numpy as np
import pytest
import uvicorn

from kinema import KinemaPipeline, cli
from kinema.data.video_io import read_video
from kinema.pipeline import command, task_commands
from kinema.pipeline.provenance import read_provenance
from kinema.studio.jobs.claims import claim
from kinema.studio.making.make import make
from kinema.studio.models.model import read_model
from kinema.studio.rest.access import Access
from kinema.studio.rest.api import build_api
from kinema.studio.service import Studio
from kinema.studio.snippets import Place, as_cli, as_curl, as_python

CAR = {"prompt": 'a red car "drives" to the $left', "num_inference_steps": 2}


@pytest.fixture(scope="module")
def model(tiny_model):
    return read_model(str(tiny_model))


@pytest.fixture(scope="module")
def pipe(tiny_model, model):
    pipe = command.load(str(tiny_model), device="cpu", quiet=True)
    pipe.facts = model
    return pipe


def made(store, shelf, pipe, wish):
    job = store.add(wish.get("task", "generate"), wish)
    make(store, shelf, pipe, claim(store, "w"))
    job = store.get(job.id)
    assert job.status == "completed", job.error
    return job


def place_of(shelf, model, folder, job=None, **more):
    def suffix(name):
        return shelf.upload(name).suffix if name.startswith("upload_") else ".mp4"

    how = read_provenance(shelf.content(job.id)) if job else None
    settings = {"name": folder and str(folder), "told": True, "url": "http://127.0.0.1:1/", "keys": False} | more
    return Place(model, suffix=suffix, made=how, **settings)


def same(made, again):
    return np.array_equal(read_video(made).frames, read_video(again).frames)


def test_python_and_command_make_the_same_frames(studio, pipe, model, tiny_model, tmp_path, monkeypatch):
    store, shelf = studio
    first = made(store, shelf, pipe, CAR)
    after = {"task": "extend", "video": first.id, "seconds": 1, "num_inference_steps": 1, "guidance_scale": 2.5}
    longer = made(store, shelf, pipe, after)
    monkeypatch.chdir(tmp_path)
    story = [{"at": 0, "text": "a red ball"}, {"at": 1, "text": "a blue ball"}]
    long = made(store, shelf, pipe, {"storyboard": story, "num_frames": 37, "num_inference_steps": 1})
    other = made(store, shelf, pipe, CAR | {"sampler": "unipc"})
    assert long.result["streamed"]
    for job, run in ((first, "both"), (long, "both"), (other, "python"), (longer, "python")):
        place = place_of(shelf, model, tiny_model, job)
        program = as_python(job, place)
        if job is longer:  # it names the video that it goes on after
            shutil.copy(shelf.content(first.id), tmp_path / f"video-{first.id[6:14]}.mp4")
        exec(compile(program.text, "snippet", "exec"), {})
        file = tmp_path / f"video-{job.id[6:14]}.mp4"
        assert same(shelf.source(job.id), file)
        if run == "both":
            file.unlink()
            (line,) = as_cli(job, place).text.splitlines()
            cli.main([*shlex.split(line)[1:], "--quiet"])
            assert same(shelf.content(job.id), file)
    (note,) = program.notes
    assert note == f"First: curl -o video-{first.id[6:14]}.mp4 http://127.0.0.1:1/v1/videos/{first.id}/content"


BOX = (0.1, 0.1, 0.5, 0.5)
A, B = "video_" + 32 * "a", "video_" + 32 * "b"
WISHES = [
    CAR | {"image": "upload_" + 32 * "c", "negative_prompt": "-snow", "keyframes": {"0.5": B}},
    {"prompt": "--help", "fps": 8, "width": 32, "height": 64, "num_frames": 9, "guidance_scale": 1.5, "seed": 3},
    {"storyboard": [{"at": 0, "text": "a car"}, {"at": 1, "text": "a ball: red", "image": A}]},
    {"task": "extend", "video": A, "seconds": 1, "direction": "backward", "fit": "contain", "prompt": "on"},
    CAR | {"num_frames": 401, "fps": 10, "image": A},
    CAR | {"num_frames": 401, "schedule": "equal"},
    {"storyboard": [{"at": 0, "text": "a car"}], "schedule": "stream"},
    {"task": "loop", "video": A},
    {"task": "loop", "prompt": "a car", "seconds": 1.5},
    {"task": "connect", "video": A, "other": B, "seconds": 1},
    {"task": "remix", "video": A, "prompt": "a ball", "strength": 0.3},
    {"task": "blend", "video": A, "other": B},
    {"task": "outpaint", "video": A, "aspect": "9:16", "seed": 1},
    {"task": "inpaint", "video": A, "prompt": "a cone", "boxes": {"0": BOX}},
    {"task": "inpaint", "video": A, "prompt": "a cone", "boxes": {"0": BOX, "1.5": BOX}},
    {"task": "inpaint", "video": A, "prompt": "a cone", "mask": "upload_" + 32 * "d"},
]
USUAL = {"direction": "forward", "fit": "cover", "schedule": "linear", "strength": 0.6, "frames_per_block": 1}


class AskedError(Exception):
    """Says what a pipeline was asked for."""


class Pipe:
    """Tells what it is asked for, instead of making it."""

    config: typing.ClassVar = {"default_frame_rate": 8.0}

    def __call__(self, *given, **named):
        named = {name: value for name, value in named.items() if value not in (None, "equal", USUAL.get(name))}
        raise AskedError(tuple(each for each in given if each != ""), named)

    def __getattr__(self, method):
        return lambda *given, **named: self(method, *given, **named)


@pytest.mark.parametrize("wish", WISHES)
def test_python_and_command_ask_for_the_same(studio, model, tmp_path, monkeypatch, wish):
    store, shelf = studio
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(KinemaPipeline, "from_pretrained", lambda: Pipe())
    for module in (command, task_commands):
        monkeypatch.setattr(module, "open_pipeline", lambda args: Pipe())
        monkeypatch.setattr(module, "check_readable", lambda *files: None)
    monkeypatch.setattr(task_commands, "_are_pictures", lambda files: False)
    for digit in "cd":
        folder = shelf.folder / "uploads" / ("upload_" + 32 * digit)
        folder.mkdir()
        (folder / "picture.png").touch()
    job = store.add(wish.get("task", "generate"), wish | {"seed": 5})
    place = place_of(shelf, model, None, name=None)
    with pytest.raises(AskedError) as python:
        exec(as_python(job, place).text, {})
    with pytest.raises(AskedError) as words:
        cli.main(["--traceback", *shlex.split(as_cli(job, place).text)[1:]])
    assert python.value.args == words.value.args
    assert python.value.args[1]["generator"] == 5
    notes = " ".join(as_cli(job, place).notes)
    assert all(f"{name}/content" in notes for name in (A, B) if name in str(wish))
    assert ("named given-" in notes) == ("upload_" in str(wish))


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH (Debian: apt install curl)")
def test_the_request_is_taken_with_a_key(studio, model, tmp_path, tiny_model):
    store, shelf = studio
    wish = CAR | {"seed": 7, "storyboard": [{"at": 0, "text": 'it\'s "$5"'}]}
    job = store.add("generate", wish)
    app = build_api(Studio(store, shelf, model), Access(["secret"]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        place = place_of(shelf, model, tiny_model, url=f"http://127.0.0.1:{port}/", keys=True)
        request = as_curl(job, place).text.split("\n#")[0]
        environment = {"KINEMA_API_KEY": "secret", "PATH": os.environ["PATH"]}
        shell = ["bash", "-c", request + " -s"]
        done = subprocess.run(shell, env=environment, capture_output=True, check=True)
        answered = json.loads(done.stdout)
        assert store.get(answered["id"]).request == wish and "secret" not in request
    finally:
        server.should_exit = True
        thread.join()


def test_what_a_program_cannot_do_is_said(studio, model):
    store, shelf = studio
    place = place_of(shelf, model, "tiny", told=False)
    loop = store.add("loop", {"task": "loop", "video": A})
    assert as_curl(loop, place).text == "" and "“loop”" in as_curl(loop, place).notes[0]
    keyframes = store.add("generate", CAR | {"keyframes": {"0.5": A}})
    assert as_curl(keyframes, place).text == "" and "keyframes" in as_curl(keyframes, place).notes[0]
    assert (
        "write the folder" in " ".join(as_python(loop, place).notes)
        and "never made" in as_python(loop, place).notes[-1]
    )
    scheduled = store.add("generate", CAR | {"schedule": "rolling"})
    sampled = store.add("generate", CAR | {"sampler": "heun"})
    assert (
        as_cli(scheduled, place).text == as_cli(sampled, place).text == ""
        and "schedule='rolling'" in as_python(scheduled, place).text
    )
    wan = replace(place, model=replace(model, kind="WanPipeline"), name="some/wan")
    assert as_cli(loop, wan).text == ""
    text = as_python(store.add("generate", CAR | {"seed": 2, "num_frames": 9}), wan).text
    compile(text, "snippet", "exec")
    assert (
        "DiffusionPipeline.from_pretrained('some/wan'" in text
        and "num_frames=9" in text
        and "manual_seed(2)" in text
    )

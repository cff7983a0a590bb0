"""Tiny Wan and LTX pipelines, served by real workers: what they make, how they stop, and what they cannot do."""

import html
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kinema.data.video_io import read_video
from kinema.pipeline.checkpoint import CheckpointError
from kinema.pipeline.provenance import read_provenance
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.jobs.wish import read_wish
from kinema.studio.making.workers import Workers, worker_command
from kinema.studio.models.facts import strides
from kinema.studio.models.foreign_model import read_call
from kinema.studio.models.model import read_model
from kinema.studio.service import Studio

sys.path.insert(0, str(Path(__file__).parent))
from foreign_models import save_ltx, save_ltx_of_pictures, save_wan

SMALL = {"prompt": "a red car", "width": 32, "height": 32, "seed": 7}
KINDS = {"wan": ("WanPipeline", 4, 16.0), "ltx": ("LTXPipeline", 8, 25.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    save_wan(folder / "wan")
    save_ltx(folder / "ltx")
    save_ltx_of_pictures(folder / "ltx_of_pictures")
    return folder


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory):
    """A studio with a worker of its own for each."""
    shelves = {name: Shelf(tmp_path_factory.mktemp(name)) for name in KINDS}
    stores = {name: JobStore(shelf.database) for name, shelf in shelves.items()}
    workers = [
        Workers(stores[name], shelf, [worker_command(shelf.folder, str(folder / name), "cpu")])
        for name, shelf in shelves.items()
    ]
    for each in workers:
        each.start()
    yield {name: Studio(stores[name], shelves[name], read_model(str(folder / name))) for name in KINDS}
    for each in workers:
        each.stop()
    for store in stores.values():
        store.close()


@pytest.mark.parametrize("name", KINDS)
def test_one_is_served_as_our_own_is(served, wait_until, name):
    studio = served[name]
    kind, step, rate = KINDS[name]
    asked = SMALL | {
        "num_frames": 10,
        "num_inference_steps": 2,
        "guidance_scale": 4.0,
        "negative_prompt": "a tree",
    }
    job = studio.submit(asked)
    stopped = studio.submit(SMALL | {"num_frames": 9, "num_inference_steps": 1000})
    kept = studio.submit(SMALL | {"num_frames": 9, "num_inference_steps": 1000})
    made = wait_until(lambda: (found := studio.store.get(job.id)).ended and found)
    assert made.status == "completed", made.error
    path = studio.content(job.id)
    how = read_provenance(path)
    assert (how.prompt, how.negative_prompt, how.seed, how.task, how.model) == (
        "a red car",
        "a tree",
        7,
        kind,
        name,
    )
    assert (how.num_inference_steps, how.guidance_scale, how.frame_rate) == (2, 4.0, rate)
    assert len(read_video(path).frames) == how.num_frames == made.result["num_frames"] == 9
    assert f"10 frames do not fit; it makes 9 (1 + a multiple of {step})" in made.result["warnings"]
    for each, how in ((stopped, "discard"), (kept, "keep")):
        wait_until(lambda each=each: studio.store.get(each.id).stage == "denoising")
        studio.store.stop(each.id, how)
        wait_until(lambda each=each: studio.store.get(each.id).ended, 20)
    assert studio.store.get(stopped.id).status == "cancelled"
    result = studio.store.get(kept.id).result
    assert result["interrupted"] and 0 < read_provenance(studio.content(kept.id)).interrupted_after < 1000
    with pytest.raises(JobError, match=f"extend: {kind} only makes new videos"):
        studio.submit({"task": "extend", "video": job.id, "seconds": 1})
    with pytest.raises(JobError, match=r"image: .* not from a picture"):
        studio.submit(SMALL | {"image": "upload_" + 32 * "a"})


def test_what_is_kept_of_a_stopped_one_is_clean(folder):
    """The first of two steps leads to noise; what is kept is where its velocity leads: nearer to the end."""
    from kinema.studio.making.loading import load_model

    pipe = load_model(str(folder / "wan"), device="cpu")
    wish = read_wish(SMALL | {"num_frames": 5, "num_inference_steps": 8})

    def latents_after(stop_at):
        seen = []
        decode = pipe.pipe.vae.decode
        pipe.pipe.vae.decode = lambda z, **more: (seen.append(z), decode(z, **more))[1]

        def callback(pipe, index, timestep, tensors):
            pipe._interrupt = index == stop_at

        pipe.run(wish, lambda name: None, 7, callback_on_step_end=callback)
        pipe.pipe.vae.decode = decode
        return seen[0]

    end, kept = latents_after(None), latents_after(4)
    noisy = pipe._before
    assert (kept - end).std() < (noisy - end).std() / 2


def test_one_that_begins_with_a_picture(folder, tmp_path):
    from kinema.studio.making.loading import load_model

    model = read_model(str(folder / "ltx_of_pictures"))
    assert model.needs == ("image",) and "image" not in model.off
    with pytest.raises(JobError, match="image: this model makes videos from one and a text"):
        model.check(read_wish(SMALL))
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "picture.png")
    pipe = load_model(str(folder / "ltx_of_pictures"), device="cpu")
    wish = read_wish(SMALL | {"image": "upload_" + 32 * "a", "num_frames": 9, "num_inference_steps": 1})
    output = pipe.run(wish, lambda name: tmp_path / "picture.png", 7, callback_on_step_end=lambda *_: {})
    assert output.frames.shape == (1, 9, 32, 32, 3) and np.isfinite(output.frames).all()
    assert output.warnings == ["the picture was brought from 64 x 48 to 32 x 32"]
    with pytest.raises(ValueError, match="width 40 does not fit; 32 or 64 do"):
        pipe.shape(read_wish(SMALL | {"width": 40}), lambda name: None)


@pytest.mark.parametrize(
    "kind, told",
    [
        ("StableDiffusionPipeline", "makes no videos of texts"),
        ("WanVideoToVideoPipeline", "needs a video"),
        ("TextToVideoSDPipeline", "could not be stopped"),
        ("../../etc/passwd", "is no pipeline"),
    ],
)
def test_what_cannot_be_served_says_why(kind, told):
    with pytest.raises(CheckpointError, match=told):
        read_call(kind)


def test_facts_of_models_as_they_are_on_the_hub():
    wan = {"_class_name": "AutoencoderKLWan", "temperal_downsample": [False, True, True]}
    ltx = {"spatio_temporal_scaling": [True, True, True, False], "patch_size": 4, "patch_size_t": 1}
    cog = {"block_out_channels": [128, 256, 256, 512], "temporal_compression_ratio": 4}
    assert (strides(wan), strides(ltx), strides(cog)) == ((8, 4), (32, 8), (8, 4))
    call = read_call("WanImageToVideoPipeline")
    assert (call.default("height"), call.default("num_frames"), call.divisors) == (480, 81, (16, 16))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_its_page_shows_what_is_off_and_why(folder, tmp_path):
    """As Gradio sends it to a browser, of a server that has not even loaded the model."""
    pytest.importorskip("gradio")
    from kinema.studio.boards import Boards
    from kinema.studio.rest.access import Access
    from kinema.studio.serving import Served, Serving
    from kinema.studio.ui.page import build_page

    shelf, model = Shelf(tmp_path), read_model(str(folder / "wan"))
    studio = Studio(JobStore(shelf.database), shelf, model)
    workers = SimpleNamespace(problem="", ready=0)
    serving = Serving(folder=tmp_path, model=str(folder / "wan"))
    page = build_page(Served(serving, studio, workers, Boards(studio), Access()))  # pyright: ignore[reportArgumentType]
    parts = {each["props"].get("elem_id"): each["props"] for each in page.get_config_file()["components"]}
    for part, option in (
        ("image", "image"),
        ("keyframe-1", "keyframes"),
        ("guide", "remix"),
        ("strength", "remix"),
    ):
        words = f"{parts[part].get('label')} {parts[part].get('info')}"
        assert model.off[option] in words and "Off: " in words and parts[part]["interactive"] is False, part
    for task in ("extend", "loop", "inpaint", "outpaint", "connect"):
        assert html.escape(model.off[task]) in parts["edit-off"]["value"]
    assert parts["prompt"].get("interactive") is not False and parts["steps"].get("interactive") is not False
    studio.close()

"""What a server knows of its model: from its small files, without torch, and without a download of weights."""

import json
import shutil
import subprocess
import sys

import huggingface_hub
import pytest

from kinema.pipeline.checkpoint import DEFAULT_FOLDER, CheckpointError
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.wish import read_wish
from kinema.studio.models.facts import aspect_name, aspects_of, facts_folder, read_examples
from kinema.studio.models.model import name_of, read_model


def test_the_packaged_model_is_known_without_torch():
    reads = "from kinema.studio.models.model import read_model; read_model()"
    program = f"import sys; {reads}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    model = read_model()
    assert (model.name, model.kind, model.off, model.needs) == ("kinema", "kinema", {}, ())
    assert model.aspects[:3] == (("1:1 square", 64, 64), ("5:3 wide", 80, 48), ("3:5 tall", 48, 80))
    assert model.drafts == {"draft": 4, "standard": 12, "best": 24}
    assert model.frames(read_wish({"prompt": "x", "seconds": 2})) == 17
    assert len(model.examples) >= 5
    for example in model.examples:
        assert not model.unknown(example), example
    assert set(model.unknown("a red dog drives to the moon")) == {"dog", "moon"}


def test_its_facts_are_those_of_the_loaded_pipeline(tiny_model):
    from kinema.studio.making.loading import load_model

    pipe = load_model(str(tiny_model), device="cpu")
    model = pipe.facts
    assert pipe.grid.side_steps == (model.multiple, model.multiple) and pipe.grid.temporal == model.frame_step
    own = (pipe.config.default_width, pipe.config.default_height, pipe.config.default_num_frames)
    assert (model.width, model.height, model.num_frames) == own
    for seconds in (0.1, 1.0, 1.3, 7.9):
        wish = read_wish({"prompt": "x", "seconds": seconds})
        assert model.frames(wish) == pipe.grid.nearest_frames(1 + seconds * model.fps)
    for _, width, height in model.aspects:
        assert pipe.grid.fits(height, width)


def test_of_a_hub_model_only_the_small_files_are_fetched(monkeypatch, tmp_path):
    asked = {}

    def snapshot(name, **options):
        asked.update(options, name=name)
        folder = tmp_path / "hub"
        shutil.copytree(DEFAULT_FOLDER, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    model = read_model("someone/kinema-large")
    assert asked["name"] == "someone/kinema-large" and "*.json" in asked["allow_patterns"]
    assert not any("safetensors" in pattern for pattern in asked["allow_patterns"])
    assert (model.name, model.width, model.weights) == ("kinema-large", 64, None)
    with pytest.raises(CheckpointError, match="owner/model"):
        facts_folder("no-such-folder")


@pytest.mark.parametrize(
    "width, height, multiple, names",
    [
        (832, 480, 16, ["16:9 wide", "1:1 square", "9:16 tall", "4:3 wide", "3:4 tall"]),
        (704, 512, 32, ["4:3 wide", "1:1 square", "16:9 wide", "9:16 tall", "3:4 tall"]),
        (16, 16, 16, ["1:1 square"]),
    ],
)
def test_aspects_are_on_the_grid_and_near_the_models_own_area(width, height, multiple, names):
    found = aspects_of(width, height, multiple)
    assert [name for name, *_ in found] == names and found[0][1:] == (width, height)
    for _, across, down in found:
        assert across % multiple == down % multiple == 0
        assert 0.6 <= across * down / (width * height) <= 1.6
    assert (aspect_name(80, 48), aspect_name(112, 80), aspect_name(80, 112)) == (
        "5:3 wide",
        "4:3 wide",
        "3:4 tall",
    )


def test_what_a_model_cannot_do_is_refused_before_it_is_queued(tmp_path):
    shutil.copytree(DEFAULT_FOLDER, tmp_path / "blind")
    config = tmp_path / "blind" / "vae" / "config.json"
    values = json.loads(config.read_text())
    del values["latent_rgb_weights"]
    config.write_text(json.dumps(values))
    assert list(read_model(str(tmp_path / "blind")).off) == ["preview"]
    from dataclasses import replace

    model = replace(read_model(), off={"image": "it begins with nothing", "loop": "it makes no loops"})
    with pytest.raises(JobError, match="image: it begins with nothing"):
        model.check(read_wish({"prompt": "x", "image": "upload_" + 32 * "a"}))
    with pytest.raises(JobError, match="loop: it makes no loops"):
        model.check(read_wish({"task": "loop", "prompt": "x"}))
    model.check(read_wish({"prompt": "x"}))


@pytest.mark.parametrize("card", ["", "no front matter", "---\n- [\n---\n", "---\nwidget: 3\n---\n"])
def test_a_card_without_examples_has_none(tmp_path, card):
    (tmp_path / "README.md").write_text(card)
    assert read_examples(tmp_path) == ()


def test_a_model_has_one_name_before_others_and_no_path(tmp_path, monkeypatch):
    assert name_of(None) == name_of("default") == read_model().name == "kinema"
    assert name_of("/srv/models/mine") == "mine" and name_of("org/name") == "name"
    monkeypatch.chdir(tmp_path)
    assert name_of(".") == name_of(f"../{tmp_path.name}") == tmp_path.name
    assert name_of("..") == tmp_path.parent.name

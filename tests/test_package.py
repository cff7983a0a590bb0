"""The package as a whole: layout, lazy imports, the command."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import kinema
from kinema.cli import main
from kinema.doctor import checkpoint_state

ROOT = Path(kinema.__path__[0])
CHECKOUT = Path(__file__).parent.parent


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.home()
    ).stdout


def test_packages_listed_in_pyproject_are_the_folders_with_code():
    listed = set(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    apart = {"tests", "bench", "docs", "build", "dist"}
    folders = {
        ".".join(("kinema", *path.parent.relative_to(CHECKOUT).parts))
        for path in CHECKOUT.rglob("*.py")
        if not (set(path.parts) & apart or any(part.startswith(".") for part in path.parts))
        and not (path.parent / "model_index.json").is_file()  # a checkpoint's own loader is data
    }
    assert listed == folders


def test_importing_kinema_loads_nothing_heavy():
    heavy = run_python(
        "import kinema, sys\nprint(sorted({'torch', 'diffusers', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    assert heavy.strip() == "[]"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom kinema.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'diffusers', 'gradio', 'pydantic'} & set(sys.modules)))"
    )
    assert run_python(code).strip().endswith("[]")


@pytest.mark.parametrize("name", [name for name in kinema.__all__ if name != "__version__"])
def test_every_public_name_loads(name):
    assert getattr(kinema, name).__name__ == name.split(".")[-1]


def test_unknown_public_name_is_an_error():
    with pytest.raises(AttributeError, match="Pipelin"):
        kinema.Pipelin  # noqa: B018


def test_every_import_goes_one_way():
    """configs → data → conditioner, vae → dit → pipeline → entry points (see ARCHITECTURE.md)."""
    rank = {
        "configs": 0,
        "trainer": 1,
        "data": 1,
        "conditioner": 2,
        "vae": 2,
        "dit": 3,
        "pipeline": 4,
        "captioner": 4,
        "studio": 5,
    }
    import ast

    wrong = []
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).parts
        if place[0] not in rank or place[0] == "tests" or path.name in ("train.py", "command.py", "build.py"):
            continue
        for node in ast.parse(path.read_text()).body:  # imports inside functions are choices of entry points
            names = []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("kinema."):
                names = [node.module.split(".")[1]]
            elif isinstance(node, ast.ImportFrom) and node.level == len(place):
                names = [(node.module or node.names[0].name).split(".")[0]]
            wrong += [f"{path.relative_to(ROOT)} imports {n}" for n in names if rank.get(n, 9) > rank[place[0]]]
    assert not wrong


def test_doctor_names_what_a_checkpoint_lacks(tmp_path):
    assert "no model_index.json" in checkpoint_state(tmp_path).state
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "KinemaPipeline", "vae": ["kinema", "Y"]})
    )
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    finding = checkpoint_state(tmp_path)
    assert "vae/*.safetensors" in finding.state and finding.fix
    weights = tmp_path / "vae" / "model.safetensors"
    save_file({"a": torch.zeros(8)}, weights)
    assert not checkpoint_state(tmp_path).fix
    whole = weights.read_bytes()
    for cut in (4, 20, len(whole) - 1):
        weights.write_bytes(whole[:cut])
        assert "the end of vae/model.safetensors" in checkpoint_state(tmp_path).state
    weights.write_bytes(whole)
    table = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "vae" / "model.safetensors.index.json").write_text(json.dumps(table))
    assert "lacks vae/model-2.safetensors" in checkpoint_state(tmp_path).state


def test_a_wrong_command_exits_with_2():
    from kinema.cli import main

    with pytest.raises(SystemExit) as error:
        main(["generat"])
    assert error.value.code == 2


def test_the_readme_shows_every_file_with_its_purpose():
    spec = importlib.util.spec_from_file_location("readme_tree", Path(__file__).with_name("readme_tree.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.tree() in (CHECKOUT / "README.md").read_text(), "put the output of tests/readme_tree.py there"


@pytest.mark.parametrize("preset", ["tiny", "large"])
def test_a_dry_run_says_the_cost_and_makes_nothing(preset, tmp_path, capsys):
    main(["train", "dit", "--config", preset, "--out", str(tmp_path / "run"), "--dry-run"])
    said = capsys.readouterr().out
    assert all(word in said for word in ("parameters", "tokens", "memory", "FLOP"))
    assert not (tmp_path / "run").exists()


def test_a_source_that_is_not_there_is_one_line_and_locks_no_folder(tmp_path):
    with pytest.raises(SystemExit, match=r"kinema train vae: .*nowhere.*data\.source"):
        main(["train", "vae", "--config", "tiny", "--out", str(tmp_path / "run"), "data.source=/nowhere"])
    assert not (tmp_path / "run").exists()

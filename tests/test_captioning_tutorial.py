"""The tutorial of captioning, run word for word: every block marked `bash`, in order, in one empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.trainer import read_drawn

TUTORIAL = Path(__file__).parent.parent / "docs" / "captioning.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder in which the tutorial was followed, and what each block printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": places, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / ".hub")}
    printed = []
    for kind, block in FENCE.findall(TUTORIAL.read_text()):
        if kind == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            printed.append(done.stdout)
    return folder, printed


def test_it_ends_with_a_dataset_and_a_model_that_was_trained_on_it(followed):
    folder, printed = followed
    for name in ("clips.parquet", "captions.parquet", "README.md", "report.html", "sheet.png"):
        assert (folder / "dataset" / name).stat().st_size > 500
    assert (folder / "run" / "dit" / "final" / "transformer" / "config.json").is_file()
    shown = set(read_drawn(folder / "run" / "dit")["origin"].to_pylist())
    assert "original" in shown and "synthetic" not in shown
    assert "outside of what our captioner was trained on" in printed[1] and "--backend transformers" in printed[1]


def test_it_tells_of_what_happens(followed):
    _, printed = followed
    assert "('short', 'out_of_domain')" in printed[2] and "bytes of MP4" in printed[2]
    assert "('original', 'success')" in printed[2] and "('dense', 'success')" not in printed[2]
    assert re.search(r"\('(short|medium|dense)', 'success'\)", printed[-1])  # where our captioner is at home

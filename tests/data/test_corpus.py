"""The corpus on disk: what training sees, in files."""

import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from kinema.data.clips import ClipDataset
from kinema.data.corpus import Shape, write_corpus
from kinema.data.diorama import DioramaDataset, Scene
from kinema.data.manifest import read_manifest
from kinema.data.video_io import VideoWriteError, read_metadata, read_video

SHAPE = Shape(seed=3, split="train", difficulty=(0, 0), height=32, width=32, num_frames=5, fps=4.0)


def test_a_corpus_is_written_once_and_holds_the_training_clips(tmp_path):
    manifest = write_corpus(tmp_path, 3, SHAPE, workers=1)
    rows = read_manifest(manifest)
    dataset = DioramaDataset(**SHAPE._asdict(), num_clips=3)
    assert [row["id"] for row in rows] == [dataset.describe(i)["id"] for i in range(3)]
    assert Scene.from_json(rows[1]["scene"]).to_json() == dataset[1]["scene"]
    frames = read_video(tmp_path / rows[1]["path"]).frames
    truth = dataset[1]["pixel_values"].permute(1, 2, 3, 0).numpy()
    assert np.abs(frames.astype(int) - truth).mean() < 8
    assert read_metadata(tmp_path / rows[1]["path"])["title"] == rows[1]["caption_medium"]
    assert (tmp_path / "sheet.png").stat().st_size > 1000

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").iterdir()}
    (tmp_path / rows[2]["path"]).write_bytes(b"half a file")
    (tmp_path / "clips" / ".000001.00aa.part.mp4").write_bytes(b"left by a kill")
    write_corpus(tmp_path, 3, SHAPE, workers=2)
    changed = [p.name for p in times if p.stat().st_mtime_ns != times[p]]
    assert changed == ["000002.mp4"]
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {f"{k:06d}.mp4" for k in range(3)}
    assert len(ClipDataset(manifest, height=32, width=32, num_frames=5, fps=4.0)) == 2  # one of three is held out


def test_another_corpus_in_the_same_folder_is_refused(tmp_path):
    write_corpus(tmp_path, 1, SHAPE, workers=1)
    with pytest.raises(ValueError, match="seed 3 there, 4 now"):
        write_corpus(tmp_path, 1, SHAPE._replace(seed=4), workers=1)
    with pytest.raises(ValueError, match="--n 1 or more"):
        write_corpus(tmp_path, 0, SHAPE)


def test_a_failure_in_a_worker_ends_the_command(tmp_path):
    (tmp_path / "clips" / "000000.mp4").mkdir(parents=True)  # in the way of the first clip
    with pytest.raises(VideoWriteError, match="000000"):
        write_corpus(tmp_path, 500, SHAPE, workers=2)
    assert len(list((tmp_path / "clips").iterdir())) < 100  # the others are not waited for


@pytest.mark.soak
def test_a_killed_command_leaves_no_process_and_goes_on_to_the_same_files(tmp_path):
    def start(out):
        arguments = ["corpus", "diorama", "--n", "60", "--out", str(out), "--frames", "9", "--workers", "2"]
        code = f"from kinema.cli import main; main({[*arguments, '--height', '64', '--width', '64']!r})"
        return psutil.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)

    def finished(out):
        return {path.name: path.read_bytes() for path in (out / "clips").glob("[0-9]*.mp4")}

    for wanted in (5, 20, 35):
        process = start(tmp_path / "killed")
        while len(finished(tmp_path / "killed")) < wanted:
            time.sleep(0.1)
        children = process.children(recursive=True)
        process.kill()
        process.wait()
        assert not psutil.wait_procs(children, timeout=20)[1]
    assert start(tmp_path / "killed").wait() == 0 and start(tmp_path / "whole").wait() == 0
    assert finished(tmp_path / "killed") == finished(tmp_path / "whole")
    manifests = [(tmp_path / name / "manifest.parquet").read_bytes() for name in ("killed", "whole")]
    assert manifests[0] == manifests[1]

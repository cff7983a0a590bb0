"""Loading as any diffusers pipeline is loaded: by name, from the hub, by plain diffusers, in parts and halves."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from diffusers import AutoModel, DiffusionPipeline

from kinema import AutoencoderKLKinema, KinemaPipeline, KinemaTransformer3DModel

REPO, COMMIT = "someone/dancing", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def saved(pipe, tmp_path):
    folder = tmp_path / "saved"
    pipe.save_pretrained(folder)
    return folder


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of the hub to download one repository."""

    folder: Path

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = self.path.split("?")[0]
        names = sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())
        kind, content = "application/json", b""
        if path.startswith((f"/api/models/{REPO}/revision/", f"/api/models/{REPO}")) and "/tree/" not in path:
            files = [{"rfilename": name} for name in names]
            content = json.dumps({"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": files}).encode()
        elif "/tree/" in path:
            files = [
                {"type": "file", "path": name, "oid": name, "size": (self.folder / name).stat().st_size}
                for name in names
            ]
            content = json.dumps(files).encode()
        elif path.startswith(f"/{REPO}/resolve/") and path.split("/", 5)[5] in names:
            kind, content = "application/octet-stream", (self.folder / path.split("/", 5)[5]).read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(saved):
    """The address of a hub that has the saved pipeline under REPO."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Saved", (Hub,), {"folder": saved}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_fresh_process_loads_it_by_plain_diffusers_and_from_a_hub(pipe, saved, hub, tmp_path):
    script = (
        "import sys\n"
        "from diffusers import DiffusionPipeline\n"
        "folder = sys.argv[1]\n"
        "one = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)\n"
        "import kinema\n"
        "two = kinema.KinemaPipeline.from_pretrained(sys.argv[2])\n"
        "for pipe in (one, two):\n"
        "    print(type(pipe).__name__, float(pipe.transformer.proj_out.weight.detach().double().sum()))\n"
    )
    where = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", script, saved, REPO]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **where}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = f"KinemaPipeline {float(pipe.transformer.proj_out.weight.detach().double().sum())}"
    assert done.stdout.splitlines() == [expected, expected]
    assert list((tmp_path / "hf").rglob(f"snapshots/{COMMIT}/model_index.json"))


def test_plain_diffusers_knows_it_by_name_once_kinema_is_imported(pipe, saved, run, expected):
    loaded = DiffusionPipeline.from_pretrained(saved)
    assert type(loaded) is KinemaPipeline
    torch.testing.assert_close(run(loaded), expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("part", "kind"), [("transformer", KinemaTransformer3DModel), ("vae", AutoencoderKLKinema)]
)
def test_diffusers_auto_model_finds_the_parts(saved, part, kind):
    assert type(AutoModel.from_pretrained(str(saved), subfolder=part)) is kind
    assert type(AutoModel.from_pretrained(str(saved / part))) is kind


def test_each_part_has_its_own_precision(saved):
    dtypes = {"transformer": torch.bfloat16, "default": torch.float16}
    loaded = KinemaPipeline.from_pretrained(saved, dtype=dtypes)
    assert (
        loaded.transformer.dtype == torch.bfloat16
        and loaded.vae.dtype == loaded.text_encoder.dtype == torch.float16
    )
    kept = {name for name, p in loaded.transformer.named_parameters() if p.dtype == torch.float32}
    assert kept and all("time_embed" in name or "scale_shift_table" in name for name in kept)


@pytest.mark.parametrize("safe", [True, False])
def test_variants_and_shards(pipe, run, expected, tmp_path, safe):
    pipe.save_pretrained(tmp_path, variant="fp16", max_shard_size="40KB", safe_serialization=safe)
    for part in ("transformer", "vae", "text_encoder"):
        assert any(".fp16" in file.name for file in (tmp_path / part).iterdir())
    shards = [file for file in (tmp_path / "transformer").iterdir() if "-of-" in file.name]
    assert len(shards) > 1
    loaded = KinemaPipeline.from_pretrained(tmp_path, variant="fp16", use_safetensors=safe)
    torch.testing.assert_close(run(loaded), expected, atol=0, rtol=0)


def test_a_variant_that_is_not_there_is_said(saved):
    with pytest.raises(ValueError, match="load the model files of the `variant=fp16`"):
        KinemaPipeline.from_pretrained(saved, variant="fp16")

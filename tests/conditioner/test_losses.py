"""The captioner's losses: positives, padding, and the same numbers on one process and on two."""

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from kinema.conditioner.losses import caption_loss, contrastive_loss, meaning_keys, positive_pairs


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_meaning_keys_ignore_case_space_and_punctuation_alone():
    a, b, c = meaning_keys(["A red ball.", "a  red, ball", "a red bell"]).tolist()
    assert a == b != c and min(a, b, c) > 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_positives_are_own_pairs_and_shared_keys(rows):
    pairs = positive_pairs(torch.tensor(rows))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            assert bool(pairs[i, j]) == (i == j or any(x == y != 0 for x, y in zip(a, b)))


def test_infonce_without_repeats_is_clips_loss():
    video, text, scale = unit(6, 8), unit(6, 8, seed=1), torch.tensor(7.0)
    logits, own = scale * video @ text.T, torch.arange(6)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(contrastive_loss(video, text, torch.eye(6, dtype=torch.bool), scale), expected)


def test_sigmoid_loss_is_the_papers_sum():
    video, text, scale, bias = unit(4, 8), unit(4, 8, seed=1), torch.tensor(3.0), torch.tensor(-2.0)
    total = 0.0
    for i in range(4):
        for j in range(4):
            z = 1 if i == j else -1
            total += math.log(1 + math.exp(z * -(3 * float(video[i] @ text[j]) - 2)))
    loss = contrastive_loss(video, text, torch.eye(4, dtype=torch.bool), scale, bias)
    torch.testing.assert_close(loss, torch.tensor(total / 4))


@pytest.mark.parametrize("bias", [None, torch.tensor(-25.0)])
def test_the_text_of_another_clip_is_right_when_it_means_the_same(bias):
    video = torch.eye(3)
    text = video[[1, 0, 2]]  # the first two texts are swapped, and mean the same
    keys = meaning_keys(["a red ball", "A red ball.", "a car"])[:, None]
    together = contrastive_loss(video, text, positive_pairs(keys), torch.tensor(50.0), bias)
    apart = contrastive_loss(video, text, torch.eye(3, dtype=torch.bool), torch.tensor(50.0), bias)
    torch.testing.assert_close(together, apart / 2, atol=1e-3, rtol=0)


@given(st.integers(0, 6))
def test_caption_loss_ignores_padding(extra):
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([[1, 7, 8, 2], [1, 9, 2, 0]])
    logits = torch.randn(2, 3, 12, generator=generator)
    padded_ids = F.pad(ids, (0, extra))
    padded = torch.cat([logits, torch.randn(2, extra, 12, generator=generator) * 9], dim=1)
    expected = F.cross_entropy(logits.flatten(0, 1)[[0, 1, 2, 3, 4]], torch.tensor([7, 8, 2, 9, 2]))
    torch.testing.assert_close(caption_loss(padded, padded_ids, 0), expected)


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_two_processes_give_the_loss_and_gradient_of_one_with_the_doubled_batch(loss, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = Path(__file__).parent / "ranks.py"
    runs = []
    for name, ranks in (("one", 1), ("two", 2)):
        for rank in range(ranks):
            environment = {
                **os.environ, "RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            command = [sys.executable, str(script), loss, str(tmp_path / f"{name}.safetensors")]
            runs.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for run in runs:
        _, errors = run.communicate(timeout=600)
        assert run.returncode == 0, errors[-2000:]
    one, two = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    assert one.keys() == two.keys() and float(one["loss"]) > 0
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=2e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")

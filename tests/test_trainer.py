"""The training loops' shared functions, on a toy run in real processes."""

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from kinema.configs.schema import TrainConfig
from kinema.trainer import BatchOrder, latest_checkpoint, learning_rate_factor, sample_seed

TOY = Path(__file__).parent / "toy_run.py"


def toy(folder, steps, batch, *overrides, launch=(), expect=0, **environment):
    command = [*launch, str(TOY)] if launch else [sys.executable, str(TOY)]
    result = subprocess.run(
        [*command, str(folder), str(steps), str(batch), *overrides],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        start_new_session=True,
    )
    assert result.returncode == expect, result.stderr[-3000:]
    return result.stderr


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


def weights(folder):
    return load_file(latest_checkpoint(folder) / "model.safetensors")


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    toy(folder, 9, 4)
    return folder


def test_a_run_learns(tmp_path):
    toy(tmp_path, 60, 8, "train.vae.learning_rate=0.05", "train.vae.muon_learning_rate=0.02")
    found = [loss for _, loss in sorted(losses(tmp_path).items())]
    assert len(found) == 60
    assert sum(found[-10:]) < 0.5 * sum(found[:10])


@pytest.mark.parametrize("kill_at", ["2", "5"])  # between two checkpoints, and just before one is written
def test_a_killed_run_goes_on_bitwise(whole_run, tmp_path, kill_at):
    toy(tmp_path, 9, 4, KILL_AT=kill_at, expect=-9)
    toy(tmp_path, 9, 4)
    assert losses(tmp_path) == losses(whole_run)
    assert_same(weights(tmp_path), weights(whole_run))
    averaged = [load_file(latest_checkpoint(f) / "ema.safetensors") for f in (tmp_path, whole_run)]
    assert_same(*averaged)


def test_a_run_asked_to_stop_checkpoints_at_once_and_goes_on_bitwise(whole_run, tmp_path):
    message = toy(tmp_path, 9, 4, TERM_AT="4", expect=1)  # the toy does not catch the pause; kinema train does
    assert "paused after 5 of 9 steps" in message
    assert latest_checkpoint(tmp_path).name == "step-00000005"
    toy(tmp_path, 9, 4, KINEMA_SECONDS_LEFT="0", expect=1)
    assert latest_checkpoint(tmp_path).name == "step-00000006"
    toy(tmp_path, 9, 4)
    assert losses(tmp_path) == losses(whole_run)
    assert_same(weights(tmp_path), weights(whole_run))


@pytest.mark.parametrize("told", ["TERM_AT", "TERM_ALL_AT"])  # the trainer alone, and the whole job as by Slurm
def test_a_loader_outlives_the_stop_and_ends_with_the_trainer(whole_run, tmp_path, told):
    message = toy(tmp_path, 9, 4, "data.num_workers=2", expect=1, **{told: "4"})
    assert "paused after 5 of 9 steps" in message
    assert latest_checkpoint(tmp_path).name == "step-00000005"
    toy(tmp_path, 9, 4, "data.num_workers=2")
    assert losses(tmp_path) == losses(whole_run)
    assert_same(weights(tmp_path), weights(whole_run))


@pytest.mark.soak
def test_twenty_kills_change_nothing(whole_run, tmp_path):
    for kill in range(20):
        toy(tmp_path, 9, 4, KILL_AT=str(min(8, kill // 2 + kill % 2)), expect=-9)
    toy(tmp_path, 9, 4)
    assert losses(tmp_path) == losses(whole_run)
    assert_same(weights(tmp_path), weights(whole_run))


def test_a_kill_inside_a_checkpoint_leaves_the_last_good_one(whole_run, tmp_path):
    toy(tmp_path, 9, 4, KILL_AT="5", expect=-9)
    good = latest_checkpoint(tmp_path)
    partial = tmp_path / "checkpoints" / "step-00000006.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) == good
    toy(tmp_path, 9, 4)
    assert_same(weights(tmp_path), weights(whole_run))


def test_two_processes_equal_one_with_the_doubled_batch(whole_run, tmp_path):
    # `accelerate launch --cpu --num_processes 2` (1.15) quietly starts one process; torchrun starts two.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    toy(tmp_path, 9, 2, launch=launcher, ACCELERATE_USE_CPU="true")
    one, two = losses(whole_run), losses(tmp_path)
    assert one.keys() == two.keys()
    for step in one:
        assert two[step] == pytest.approx(one[step], rel=1e-4)


def test_accumulation_equals_the_larger_batch(whole_run, tmp_path):
    toy(tmp_path, 9, 2, "train.vae.gradient_accumulation_steps=2")
    for step, loss in losses(whole_run).items():
        assert losses(tmp_path)[step] == pytest.approx(loss, rel=1e-4)


def test_every_weight_learns(whole_run, tmp_path):
    toy(tmp_path, 1, 4)
    before, after = weights(tmp_path), weights(whole_run)
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_a_nan_loss_stops_and_keeps_the_last_checkpoint(tmp_path):
    message = toy(tmp_path, 9, 4, POISON_AT="5", expect=1)
    assert "loss became nan at step 5" in message and "step-00000004" in message
    assert latest_checkpoint(tmp_path).name == "step-00000004"


def test_a_gradient_that_is_not_finite_stops_before_it_is_kept(tmp_path):
    message = toy(tmp_path, 9, 4, POISON_GRADIENT_AT="5", expect=1)
    assert "grad norm became nan at step 5" in message
    assert latest_checkpoint(tmp_path).name == "step-00000004"
    toy(tmp_path, 9, 4, "train.vae.learning_rate=0.0005")  # as the message says


def test_a_folder_without_a_checkpoint_is_not_held_to_its_settings(tmp_path):
    toy(tmp_path, 2, 4, POISON_AT="0", expect=1)
    toy(tmp_path, 2, 2)


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    toy(tmp_path, 2, 4)
    message = toy(tmp_path, 4, 2, expect=1)
    assert "train.vae.batch_size: 4 there, 2 now" in message


def test_other_keys_of_a_mapping_in_the_same_folder_are_refused(tmp_path):
    toy(tmp_path, 2, 4, "data.caption_mix={short: 0.5, medium: 0.5}")
    message = toy(tmp_path, 4, 4, "data.caption_mix={short: 0.5, dense: 0.5}", expect=1)
    assert "data.caption_mix.medium: 0.5 there, nothing now" in message
    assert "data.caption_mix.dense: nothing there, 0.5 now" in message


@given(
    size=st.integers(1, 40),
    batch=st.integers(1, 5),
    ranks=st.integers(1, 3),
    first=st.integers(0, 6),
    steps=st.integers(1, 6),
)
def test_the_order_is_a_function_of_the_step(size, batch, ranks, first, steps):
    train = TrainConfig(steps=first + steps, batch_size=batch)
    big = TrainConfig(steps=first + steps, batch_size=batch * ranks)
    whole = list(BatchOrder(size, 3, 0, 0, 1, big))
    parts = [list(BatchOrder(size, 3, first, rank, ranks, train)) for rank in range(ranks)]
    assert [list(chain(*(part[i] for part in parts))) for i in range(steps)] == whole[first:]
    flat = list(chain(*whole))
    for epoch in range(len(flat) // size):  # every epoch sees every sample once
        assert sorted(i for _, i in flat[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(-1, 2**40))
def test_sample_seeds_fit_and_differ_between_neighbours(seed, epoch, index):
    here = sample_seed(seed, epoch, index)
    assert 0 <= here < 2**63
    assert len({here, sample_seed(seed, epoch, index + 1), sample_seed(seed, epoch + 1, index)}) == 3


@given(st.sampled_from(["constant", "cosine", "linear"]), st.integers(0, 50), st.integers(1, 200))
def test_the_learning_rate_warms_up_then_never_rises(schedule, warmup, steps):
    train = TrainConfig(steps=warmup + steps, warmup_steps=warmup, schedule=schedule)
    factors = [learning_rate_factor(train, step) for step in range(warmup + steps)]
    assert all(0 < f <= 1 + 1e-9 for f in factors)
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)

"""Configs: presets load, overrides apply, mistakes are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.configs import ConfigError, dump_config, load_config, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_a_round_trip(name, tmp_path):
    config = load_config(name)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_an_override_changes_one_field_only():
    before, after = load_config("tiny"), load_config("tiny", ["train.vae.steps=7"])
    assert after.train.vae.steps == 7
    assert after.train.dit == before.train.dit


@given(st.sampled_from(["steps", "batch_size", "learning_rate"]), st.integers(0, 20), st.sampled_from("qxz"))
def test_a_misspelt_key_names_the_nearest(key, position, letter):
    wrong = key[: position % len(key)] + letter + key[position % len(key) :]
    with pytest.raises(ConfigError, match=rf"unknown key train\.vae\.{wrong}; did you mean train\.vae\."):
        load_config("tiny", [f"train.vae.{wrong}=1"])


def test_the_nearest_of_a_one_letter_slip_is_the_right_one():
    for moved in ("vae.train.learning_rate=1", "vae.learning_rat=1", "train.vae.lerning_rate=1"):
        with pytest.raises(ConfigError, match=r"did you mean train\.vae\.learning_rate"):
            load_config("tiny", [moved])
    with pytest.raises(ConfigError, match=r"did you mean train\.vae\.learning_rate"):
        load_config("tiny", ["train.vae.learning_rat=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.num_frames=10", r"10 frames.*1 \+ k \* 4"),
        ("data.height=40", "multiple of 16"),
        ("data.difficulty=[2, 1]", "lowest <= highest"),
        ("sample.guidance_interval=[0.5, 0.2]", "lowest <= highest"),
        ("flow.plans={equal: 0.5}", "sum to 1"),
        ("train.vae.steps=-1", "train.vae.steps"),
        ("train.vae.steps=many", "train.vae.steps"),
        ("train.vae.steps", "key=value"),
        ("name.first=1", "is a value, not a section"),
    ],
)
def test_a_value_that_cannot_work_says_what_is_needed(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config("tiny", [override])


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match="tiny"):
        load_config("tinny")

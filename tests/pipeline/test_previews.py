"""Callbacks see a small picture of what each step is heading for."""

import pytest
import torch

from kinema.vae.preview import CONFIG_KEYS, preview

PROMPT = "a red ball rolls to the left"
SIGMAS = [1.0, 0.7, 0.4]


@pytest.fixture
def fitted(pipe):
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    pipe.vae.register_to_config(**dict(zip(CONFIG_KEYS, (weights.tolist(), [0.5, 0.4, 0.6]))))
    return pipe


def previews_of(pipe, **options):
    seen = []

    def callback(pipe, step, timestep, tensors):
        assert set(tensors) == {"previews"}
        seen.append(tensors["previews"])
        return {}

    output = pipe(
        PROMPT, generator=0, output_type="latent", callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=["previews"], **options,
    )  # fmt: skip
    return seen, output


def test_each_step_shows_where_it_would_end(fitted):
    seen, output = previews_of(fitted, sigmas=SIGMAS)
    assert [shown.shape for shown in seen] == [(1, 3, 3, 4, 4)] * 3
    for step, shown in enumerate(seen):
        ended = fitted(PROMPT, sigmas=SIGMAS[: step + 1], generator=0, output_type="latent").frames
        assert torch.allclose(shown, preview(fitted.vae, ended), atol=1e-5)
    assert torch.allclose(seen[-1], preview(fitted.vae, output.frames), atol=1e-5)
    assert (seen[0] - seen[-1]).abs().max() > 1e-3
    # To look changes neither the video nor what is said of it.
    plain = fitted(PROMPT, sigmas=SIGMAS, generator=0, output_type="latent")
    assert torch.equal(output.frames, plain.frames)
    assert output.provenance == plain.provenance


def test_given_frames_are_shown_as_they_are_from_the_first_step_on(fitted):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    seen, output = previews_of(fitted, image=image, sigmas=SIGMAS)
    for shown in seen:
        assert torch.allclose(shown[:, 0], preview(fitted.vae, output.frames)[:, 0], atol=1e-5)


def test_they_are_offered_where_the_autoencoder_has_a_map(fitted):
    names = fitted._callback_tensor_inputs
    assert names[-1] == "previews"
    seen = []
    fitted(
        PROMPT, callback_on_step_end=lambda pipe, step, timestep, tensors: seen.append(set(tensors)) or {},
        callback_on_step_end_tensor_inputs=names,
    )  # fmt: skip
    assert seen == [set(names)] * 2


def test_without_a_map_the_error_comes_before_any_model_runs(pipe):
    assert "previews" not in pipe._callback_tensor_inputs
    for model in (pipe.text_encoder, pipe.transformer):
        model.register_forward_pre_hook(lambda *_: pytest.fail("a model ran"))
    with pytest.raises(ValueError, match=r"this AutoencoderKLKinema has no preview: .*fit_preview"):
        previews_of(pipe)

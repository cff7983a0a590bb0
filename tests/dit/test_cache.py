import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.dit.cache import KVCache, block_causal_mask

few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def part(inputs, start, stop):
    """The inputs of latent frames start to stop."""
    return {
        **inputs,
        "hidden_states": inputs["hidden_states"][:, :, start:stop],
        "timestep": inputs["timestep"][:, start:stop],
        "frame_times": inputs["frame_times"][:, start:stop],
    }


@few
@given(
    chunks=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    frames_per_block=st.integers(1, 2),
    window=st.none() | st.integers(1, 3),
)
def test_cached_rollout_equals_a_full_forward(model, make_inputs, chunks, frames_per_block, window):
    frames = frames_per_block * sum(chunks)
    inputs = make_inputs(frames=frames, rows=2, columns=4)
    with torch.no_grad():
        whole = model(**inputs, frames_per_block=frames_per_block, window=window).sample
        cache, start, outputs = KVCache(frames_per_block, window), 0, []
        for chunk in chunks:
            stop = start + chunk * frames_per_block
            noisy = part(inputs, start, stop)
            model(**{**noisy, "timestep": noisy["timestep"] + 50}, kv_cache=cache)  # reading leaves no trace
            with cache.recording():
                outputs.append(model(**noisy, kv_cache=cache).sample)
            start = stop
    torch.testing.assert_close(torch.cat(outputs, dim=2), whole, atol=2e-5, rtol=1e-4)


def test_memory_is_constant_with_a_window(model, make_inputs):
    inputs = make_inputs(frames=8, rows=2, columns=2)
    cache, sizes = KVCache(window=3), []
    with torch.no_grad(), cache.recording():
        for frame in range(8):
            model(**part(inputs, frame, frame + 1), kv_cache=cache)
            sizes.append(cache.nbytes)
    one = sizes[0]
    assert sizes == [one, 2 * one] + 6 * [2 * one]  # two earlier blocks and the own one make a window of 3
    assert cache.num_frames == 8 and cache.num_cached_frames == 2


@given(frames=st.integers(1, 12), frames_per_block=st.integers(1, 4), window=st.none() | st.integers(1, 4))
def test_mask_is_the_rule(frames, frames_per_block, window):
    mask = block_causal_mask(frames, frames_per_block, window)
    expected = [
        [0 <= query // frames_per_block - key // frames_per_block < (window or frames) for key in range(frames)]
        for query in range(frames)
    ]
    if mask is None:
        assert all(map(all, expected))
    else:
        assert mask.tolist() == expected


def test_misuse_is_named(model, make_inputs):
    inputs = make_inputs(frames=3)
    with pytest.raises(ValueError, match="window is 0 blocks"):
        KVCache(window=0)
    cache = KVCache(frames_per_block=2)
    with torch.no_grad(), cache.recording():
        model(**inputs, kv_cache=cache)
        with pytest.raises(ValueError, match="end in the middle of a block of 2"):
            model(**inputs, kv_cache=cache)
    cache = KVCache()
    with torch.no_grad(), cache.recording():
        model(**inputs, kv_cache=cache)
        with pytest.raises(ValueError, match="call reset"):
            model(**make_inputs(frames=1, rows=2), kv_cache=cache)
        cache.reset()
        model(**make_inputs(frames=1, rows=2), kv_cache=cache)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_frame_sees_its_block_alone_whatever_the_batch(model, make_inputs, batch):
    """With one token a frame there are as many tokens as frames, and once as many as clips."""
    inputs = make_inputs(batch=batch, frames=3, rows=2, columns=2)
    with torch.no_grad():
        whole = model(**inputs, frames_per_block=1, window=1).sample
        alone = torch.cat([model(**part(inputs, frame, frame + 1)).sample for frame in range(3)], dim=2)
    torch.testing.assert_close(whole, alone, atol=2e-5, rtol=1e-4)

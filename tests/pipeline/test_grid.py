import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.pipeline.grid import Grid

grids = st.builds(
    Grid, st.sampled_from([1, 2, 4, 8]), st.sampled_from([4, 8]), st.tuples(*[st.integers(1, 3)] * 3)
)


def fits(grid, frames):
    latents, rest = divmod(frames - 1, grid.temporal)
    return frames >= 1 and rest == 0 and (latents + 1) % grid.patch[0] == 0


@given(grids, st.integers(1, 200))
def test_a_length_fits_or_the_error_names_the_nearest_that_do(grid, frames):
    side = (grid.spatial * grid.patch[1], grid.spatial * grid.patch[2])
    if fits(grid, frames):
        assert grid.latent_shape(frames, *side)[0] == 1 + (frames - 1) // grid.temporal
        return
    with pytest.raises(ValueError, match=f"num_frames {frames} does not fit") as error:
        grid.latent_shape(frames, *side)
    named = [int(n) for n in re.findall(r"\d+", str(error.value).split(";")[1].split("(")[0])]
    assert named and all(fits(grid, n) for n in named)
    assert not any(fits(grid, n) for n in range(frames, max(named)) if n not in named)


@given(grids, st.floats(0, 300))
def test_the_nearest_length_is_the_nearest(grid, wish):
    best = min((n for n in range(1, 400) if fits(grid, n)), key=lambda n: (abs(n - wish), -n))
    found = grid.nearest_frames(wish)
    assert fits(grid, found)
    assert abs(found - wish) <= abs(best - wish) + 1e-9


def test_every_misfit_is_named_at_once():
    with pytest.raises(
        ValueError, match=r"height 30 .*16 or 32.*width 3 .*16 is the least.*num_frames 30 .*29 or 33"
    ):
        Grid(4, 8, (1, 2, 2)).latent_shape(30, 30, 3)

import pytest
import torch

from kinema.pipeline.seeds import draw_noise, known_seeds, per_video_generators


def test_a_seed_counts_up_over_the_videos():
    assert known_seeds(per_video_generators(7, 3)) == [7, 8, 9]
    assert known_seeds(per_video_generators([5, 1], 2)) == [5, 1]


def test_a_videos_noise_does_not_depend_on_the_others():
    together = draw_noise(per_video_generators([3, 4, 5], 3), (2, 3))
    alone = draw_noise(per_video_generators(4, 1), (2, 3))
    assert torch.equal(together[1:2], alone)


def test_without_a_seed_torchs_global_generator_decides():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = known_seeds(per_video_generators(None, 2))
        torch.manual_seed(1)
        assert known_seeds(per_video_generators(None, 2)) == first
        assert known_seeds(per_video_generators(None, 2)) != first


def test_a_generator_in_use_has_no_seed_to_tell():
    fresh = torch.Generator().manual_seed(9)
    assert known_seeds([fresh]) == [9]
    torch.rand(1, generator=fresh)
    assert known_seeds([fresh]) == [None]
    assert known_seeds(per_video_generators(torch.Generator().manual_seed(9), 2)) == [None, None]


def test_seeds_for_another_number_of_videos_are_refused():
    with pytest.raises(ValueError, match="2 entries for 3 videos"):
        per_video_generators([1, 2], 3)

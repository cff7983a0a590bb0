"""What is rare in the corpus can be shown more often."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.configs.schema import TrainConfig
from kinema.data.diorama import DioramaDataset
from kinema.data.diorama.scene import Scene
from kinema.dit.repeats import Repeated, repeat, words
from kinema.trainer import TrainingError
from kinema.trainer.order import batch_order, sample_seed

CLIPS = DioramaDataset(
    seed=5,
    difficulty=(1, 1),
    num_clips=60,
    two_events=0.3,
    buckets=((9, 16, 16), (9, 16, 24)),
    height=16,
    width=16,
)


def shown(index):
    return words(Scene.from_json(CLIPS.describe(index)["scene"]))


def test_a_clip_comes_as_often_as_the_product_of_what_it_shows():
    repeats = {"medium": 2, "slow": 3}
    times = Counter(repeat(CLIPS, CLIPS, repeats).indices)
    assert set(times) == set(range(60))
    for index in range(60):
        says = shown(index)
        assert times[index] == (2 if "medium" in says else 1) * (3 if "slow" in says else 1)
    assert {1, 2, 3} <= set(times.values())


def test_the_second_of_two_motions_counts_too():
    scenes = [Scene.from_json(CLIPS.describe(index)["scene"]) for index in range(60)]
    second = next(scene for scene in scenes if any(scene.second_motions))
    assert {second.second_motions[0].action, second.objects[0].motion.action} <= words(second)


def test_batches_still_have_one_shape_and_each_copy_its_own_randomness():
    dataset = repeat(CLIPS, CLIPS, {"medium": 2})
    order = list(batch_order(dataset, 3, 0, 0, 1, TrainConfig(steps=40, batch_size=4)))
    for batch in order:
        assert len({CLIPS.shape(dataset.indices[place]) for _, place in batch}) == 1
    seen = {
        (dataset.indices[place], sample_seed(3, epoch, place))
        for batch in order
        for epoch, place in batch
        if not epoch
    }
    medium = [index for index in range(60) if "medium" in shown(index)]
    assert medium and all(sum(index == each for each, _ in seen) == 2 for index in medium)


@given(times=st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_every_item_comes_so_often_and_no_other(times):
    dataset = Repeated(list(range(100, 100 + len(times))), times)
    found = Counter(dataset[place] for place in range(len(dataset)))
    assert found == {100 + index: count for index, count in enumerate(times)}


def test_without_repeats_the_dataset_is_itself_and_a_misspelt_word_is_named():
    assert repeat(CLIPS, CLIPS, {}) is CLIPS
    with pytest.raises(
        TrainingError, match=r"mediun, which no clip can show; it needs some of .*medium.* or \{\}"
    ):
        repeat(CLIPS, CLIPS, {"mediun": 2, "slow": 2})


def test_words_that_no_clip_shows_change_nothing():
    assert repeat(CLIPS, CLIPS, {"small": 2, "hop": 3}).indices == list(range(60))

import pytest
import torch

from kinema.conditioner.decoding import decode

VOCAB, END, PAD = 8, 2, 0


def script(rows):
    """A next-token function that writes fixed rows; it may only be asked for rows that are not finished."""

    def next_logits(ids, alive):
        assert not (ids == END).any()
        logits = torch.zeros(len(ids), VOCAB)
        for i, row in enumerate(alive.tolist()):
            logits[i, rows[row][ids.shape[1] - 1]] = 5.0
        return logits

    return next_logits


def test_greedy_decoding_writes_each_row_to_its_end():
    ids = decode(
        script([[5, 6, END], [END], [7, END]]), torch.tensor([1, 1, 3]), end_id=END, pad_id=PAD, max_length=9
    )
    assert ids.tolist() == [[1, 5, 6, 2], [1, 2, 0, 0], [3, 7, 2, 0]]


def test_a_row_that_never_ends_is_ended_at_the_maximum():
    ids = decode(script([[5] * 9]), torch.tensor([1]), end_id=END, pad_id=PAD, max_length=4)
    assert ids.tolist() == [[1, 5, 5, 2]]


def test_banned_tokens_and_padding_are_never_written():
    def likes_banned(ids, alive):
        return torch.tensor([9.0, 8.0, 7.0, 0, 0, 6.0, 0, 0]).repeat(len(ids), 1)

    ids = decode(likes_banned, torch.tensor([1]), end_id=END, pad_id=PAD, max_length=5, banned_ids=[1])
    assert ids.tolist() == [[1, 2]]


def test_nucleus_sampling_draws_from_the_smallest_set_and_repeats_with_its_seed():
    probabilities = torch.tensor([0.0, 0.0, 0.0, 0.5, 0.3, 0.15, 0.05, 0.0])

    def fixed(ids, alive):
        return probabilities.log().repeat(len(ids), 1)

    def draw(top_p, seed=0):
        generator = torch.Generator().manual_seed(seed)
        start = torch.ones(4000, dtype=torch.int64)
        return decode(fixed, start, end_id=END, pad_id=PAD, max_length=3, top_p=top_p, generator=generator)[:, 1]

    drawn = draw(0.75)
    assert set(drawn.tolist()) == {3, 4}
    assert abs((drawn == 3).float().mean() - 0.625) < 0.03
    assert torch.equal(drawn, draw(0.75)) and not torch.equal(drawn, draw(0.75, seed=1))
    assert set(draw(1.0).tolist()) == {3, 4, 5, 6} and set(draw(0.4).tolist()) == {3}
    with pytest.raises(ValueError, match="top_p is 0"):
        draw(0)

import pytest
import torch

from kinema.pipeline.text import TextBatch, join_texts, per_video, text_warnings


def rows(count, length, width=3, start=0):
    embeds = torch.arange(start, start + count * length * width).float().view(count, length, width)
    return embeds, torch.ones(count, length, dtype=torch.bool)


def test_one_text_is_left_as_it_is():
    embeds, mask = rows(2, 4)
    joined = join_texts(embeds, mask, (0, 0, 0))
    assert joined[0] is embeds and joined[1] is mask


def test_each_frame_reads_its_own_text_of_its_own_video():
    embeds, mask = rows(4, 2)  # two videos of two texts
    mask[1, 1] = False  # the second text of the first video is shorter
    joined, spans = join_texts(embeds, mask, (0, 1, 1))
    assert joined.shape == (2, 4, 3)
    assert torch.equal(joined[1, 2:], embeds[3])
    assert spans[0].tolist() == [
        [True, True, False, False],
        [False, False, True, False],
        [False, False, True, False],
    ]
    assert spans[1].tolist() == [
        [True, True, False, False],
        [False, False, True, True],
        [False, False, True, True],
    ]


def test_texts_of_two_lengths_stack_with_the_rest_masked():
    positive, negative = rows(2, 3), rows(2, 1, start=100)
    embeds, mask = TextBatch(*positive, *negative).stacked()
    assert embeds.shape == (4, 3, 3)
    assert torch.equal(embeds[2:], positive[0])
    assert mask.sum(1).tolist() == [1, 1, 3, 3]


def test_a_prompts_videos_lie_side_by_side():
    positive = rows(2, 1)
    batch = TextBatch(*positive, None, None).repeated(3)
    assert torch.equal(batch.prompt_embeds[:, 0, 0], torch.tensor([0.0, 0, 0, 3, 3, 3]))
    assert per_video(["a", "b"], 6) == ["a", "a", "a", "b", "b", "b"]


@pytest.mark.parametrize(
    ("texts", "videos", "each", "expected"),
    [
        ([], 2, 1, ["", ""]),
        (["a"], 2, 1, ["a", "a"]),
        (["a"], 2, 3, ["a", "a"]),  # one negative prompt for a storyboard's videos
        (["a", "b", "c", "d"], 2, 2, ["a | b", "c | d"]),
        (["a", "b"], 2, 2, ["a | b", "a | b"]),
        (["a", "b", "c", "d"], 4, 2, ["a | b", "a | b", "c | d", "c | d"]),
    ],
)
def test_every_video_knows_its_text(texts, videos, each, expected):
    assert per_video(texts, videos, each) == expected


class Encoder:
    def unknown_words(self, prompt):
        return {word: ["lorry"] if word == "lory" else [] for word in prompt.split() if word not in ("a", "red")}

    def tokenize(self, prompts):
        return type("T", (), {"truncated": ["the tail" if "long" in prompt else "" for prompt in prompts]})


def test_warnings_name_the_word_the_nearest_and_what_was_cut():
    warnings = text_warnings(Encoder(), ["a red lory", "a long", "a red lory"])
    assert warnings == [
        "the model does not know the word 'lory'; the nearest it knows: lorry",
        "the model does not know the word 'long'",
        "the prompt is too long for the model; this part was left out: 'the tail'",
    ]
    assert text_warnings(Encoder(), []) == []
    assert text_warnings(None, ["x"]) == []

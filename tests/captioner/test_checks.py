"""What captions must pass: true ones do, and each kind of fault is found."""

import re

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import ContrastiveCaptioner
from kinema.captioner.captions.facts import facts_of_diorama, parse_facts
from kinema.captioner.checks.agreement import camera_claims, camera_problems, colour_problems
from kinema.captioner.checks.grounding import ungrounded
from kinema.captioner.checks.sentences import split_sentences, split_to_fit
from kinema.captioner.checks.similarity import open_scorer
from kinema.captioner.checks.verdict import check_caption
from kinema.captioner.checks.wording import (
    is_cut_off,
    is_refusal,
    preamble,
    repetition,
    without_preamble,
    wording_problems,
)
from kinema.captioner.engine.commits import CaptionError
from kinema.captioner.settings import CaptionSettings, CheckSettings
from kinema.captioner.shots.frames import ClipFrames
from kinema.conditioner.corpus import fact_text
from kinema.conditioner.tokenizer import train_tokenizer
from kinema.data.diorama import captions, sample_scene
from kinema.data.diorama.words import CAMERA_WORDS

PARTS = ["A dog runs", "3.5 m", "Mr.", "e.g.", "wow", "«oh»", "小狗在跑", ".", "。", "!", "?", "\n\n", " ", ", "]
TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(PARTS)).map(" ".join)


def squeezed(text):
    return "".join(text.split())


# ------------------------------------------------------------------------------------------------------- sentences


@given(TEXTS)
def test_sentences_keep_every_character_in_order(text):
    found = split_sentences(text)
    assert squeezed("".join(found)) == squeezed(text)
    assert all(sentence.strip() == sentence != "" for sentence in found)


@given(TEXTS, st.integers(1, 30))
def test_pieces_fit_and_keep_every_character(text, size):
    found = split_to_fit(text, lambda piece: len(piece) <= size)
    assert all(len(piece) <= size for piece in found)
    assert squeezed("".join(found)) == squeezed(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A dog runs. It barks.", 2),
        ("Mr. Smith walks 3.5 km, e.g. on Mt. Fuji. He stops at 5 p.m. The end.", 3),
        ('"Stop!" he said. "Why?" She left.', 3),
        ("A clip of J. Smith in the U.S. navy...", 1),
        ("They wait... and wait.", 1),
        ("小狗在跑。它停下来了！为什么？", 3),
        ("एक कुत्ता दौड़ता है। वह रुकता है।", 2),
        ("كلب يركض؟ نعم.", 2),
        ("one line without an end", 1),
        ("First\n\nSecond", 2),
        ("  \n ", 0),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, count):
    assert len(split_sentences(text)) == count, split_sentences(text)


def test_long_sentences_are_cut_between_clauses():
    text = "A red ball rolls to the left, a blue cube falls down, and a green duck stands still on the grass."
    found = split_to_fit(text, lambda piece: len(piece.split()) <= 8)
    assert found == [
        "A red ball rolls to the left,",
        "a blue cube falls down,",
        "and a green duck stands still on the",
        "grass.",
    ]


# --------------------------------------------------------------------------------------------------------- wording

PREAMBLES = [
    ("The video shows a red ball.", "A red ball."),
    ("This clip depicts two dogs playing.", "Two dogs playing."),
    ("In this clip, we see that a dog runs.", "A dog runs."),
    ("In this clip we see a dog.", "A dog."),
    ("In the video, a man walks.", "A man walks."),
    ("This is a video of a cat on a mat.", "A cat on a mat."),
    ("This is a short video showing a cat.", "A cat."),
    ("A video of a dog.", "A dog."),
    ("Here is a caption: a cat sits.", "A cat sits."),
    ("Here's a detailed description of the video: a cat sits.", "A cat sits."),
    ("Sure! Here is a dense caption for the video:\n\nThe video shows a cat.", "A cat."),
    ("Certainly. A cat sits.", "A cat sits."),
    ("Caption: A cat sits.", "A cat sits."),
    ("We can see a cat.", "A cat."),
    ("The viewer sees a cat.", "A cat."),
    ("The scene depicts a cat.", "A cat."),
    ("The footage captures an eagle in flight.", "An eagle in flight."),
    ("The image features a tall tower.", "A tall tower."),
    ("Based on the provided facts, a cat sits.", "A cat sits."),
]


@pytest.mark.parametrize(("text", "rest"), PREAMBLES)
def test_preambles_are_found_and_removed_alone(text, rest):
    assert preamble(text)
    assert any("speaks of the video" in problem for problem in wording_problems(text, "medium"))
    assert without_preamble(text) == rest and not preamble(rest)


def test_a_preamble_inside_a_caption_is_found_too():
    assert preamble("A dog runs. The video then shows a cat.") == "The video then shows"


@pytest.mark.parametrize(
    "text",
    [
        "The scene is set on grass.",
        "It is daytime, on the snow under an open sky.",
        "A video camera stands on a tripod.",
        "A photographer takes pictures in the snow.",
        "The camera pans left.",
        "Perhaps a dog; it appears to be asleep.",
        "A sure-footed goat climbs.",
        "Frames hang on the wall.",
    ],
)
def test_other_words_about_pictures_and_hedges_are_no_preamble(text):
    assert preamble(text) == "" and without_preamble(text) == text
    assert not [each for each in wording_problems(text, "short") if "speaks" in each]


@given(TEXTS)
def test_removing_a_preamble_only_takes_from_the_front(text):
    rest = without_preamble(text)
    assert rest == text or text.lower().endswith(rest.lower())
    assert rest or not text


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot describe this video.",
        "As an AI language model, I do not watch videos.",
        "I am unable to view the video.",
        "No video was provided.",
        "Please upload the video.",
    ],
)
def test_refusals_are_told_from_captions(text):
    verdict = check_caption(text, level="dense")
    assert is_refusal(text) and verdict.status == "blocked" and not verdict.passed
    assert without_preamble(text) == text


def test_a_person_who_is_sorry_is_no_refusal():
    assert not is_refusal("A man looks sorry and cannot help laughing.")


@pytest.mark.parametrize(
    "text",
    [
        "```json\nA dog.\n```",
        "**A dog** runs on grass.",
        "# A dog\nIt runs.",
        "- A dog runs.\n- It barks.",
        '{"caption": "A dog runs."}',
        'A dog "subjects": runs.',
        "A dog runs.<|im_end|>",
        "A dog <b>runs</b> away.",
        "A dog runs.<end>",
    ],
)
def test_markup_is_found(text):
    assert any("markup" in problem for problem in wording_problems(text, "medium"))


def test_texts_that_stop_in_the_middle():
    assert is_cut_off("A dog runs on the", "short") and not is_cut_off("a dog on grass", "short")
    assert is_cut_off("A dog runs. It barks at a", "dense") and is_cut_off("A dog runs on grass", "medium")
    assert not is_cut_off('A sign says "stop."', "dense") and not is_cut_off("小狗在跑。", "dense")
    assert check_caption("A dog runs on grass today.", level="dense", finished=False).status == "truncated"


@given(st.lists(st.sampled_from("abcdefgh"), max_size=40))
def test_repetition_is_a_share_that_grows_with_every_copy(words):
    text = " ".join(words)
    assert 0 <= repetition(text) <= 1
    if len(words) > 2:
        once, often = repetition(f"{text} {text}"), repetition(" ".join([text] * 6))
        assert often >= once and often > 0.2
    assert repetition(" ".join(map(str, range(30)))) == 0


def test_repeats_length_and_emptiness():
    assert any("repeats" in each for each in wording_problems("a dog runs and " * 8 + ".", "dense"))
    assert wording_problems("", "short") == wording_problems(" …! ", "short") == ["empty"]
    assert any("words" in each for each in wording_problems("word " * 60, "short"))
    assert any("words" in each for each in wording_problems("Dog.", "dense"))
    assert not wording_problems("一只红色的小狗在绿色的草地上慢慢地跑。", "medium")


# ------------------------------------------------------------------------------------------------------- grounding


def own_facts(scene):
    return facts_of_diorama(fact_text(scene.to_json()))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5000), st.integers(0, 1), st.sampled_from(["train", "heldout"]), st.integers(0, 3))
def test_true_captions_of_diorama_pass(index, level, split, seed):
    scene = sample_scene(7, index, split=split, difficulty=(level, level), two_events=0.3)
    said = captions(scene, seed)
    for name, text in said.items():
        verdict = check_caption(text, level=name, facts=own_facts(scene), previous=said)
        assert verdict.passed, (text, verdict.problems, own_facts(scene))


SWAPS = {
    "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "black", "white"),
    "object": ("ball", "cube", "cone", "car", "duck", "house", "tree", "ring", "star", "heart"),
    "floor": ("grass", "sand", "snow", "wood"),
    "time": ("at night", "at sunset", "in daylight", "at dawn"),
}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5000), st.sampled_from(sorted(SWAPS)), st.data())
def test_one_swapped_word_is_caught(index, kind, data):
    scene = sample_scene(7, index, difficulty=(0, 0))
    text = captions(scene, 1)["dense"]
    found = [match for word in SWAPS[kind] for match in re.finditer(rf"\b{word}\b", text)]
    if found:
        match = data.draw(st.sampled_from(found))
        other = data.draw(st.sampled_from([word for word in SWAPS[kind] if word != match[0]]))
        false = text[: match.start()] + other + text[match.end() :]
        assert ungrounded(false, own_facts(scene)), false


CARS = parse_facts(
    {
        "subjects": [
            {"name": "cars", "count": 3, "attributes": ["white"]},
            {"name": "bus", "count": 1, "attributes": ["red", "double-decker"]},
        ],
        "actions": ["cars drive to the left", "bus stops at a traffic light"],
        "setting": "city street",
        "camera": "slow zoom in",
        "lighting": "overcast daylight",
        "on_screen_text": ["CITY TOURS"],
    }
)


@pytest.mark.parametrize(
    "text",
    [
        "Three white cars drive to the left down a city street while a red double-decker bus stops.",
        "A red bus has stopped at the traffic lights; 3 white automobiles are driving left.",
        'It is an overcast day. The words "CITY TOURS" are visible on the bus. The camera slowly zooms in.',
        "Vehicles on a street, possibly in the daytime.",
    ],
)
def test_plain_paraphrase_passes(text):
    assert ungrounded(text, CARS) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Two white cars drive down a city street.", "two"),
        ("Three red cars drive down a city street.", "red cars"),
        ("Three white cars drive past a green bus.", "green"),
        ("Three white cars drive to the right down a city street.", "right"),
        ("Three white cars drive down a city street at night.", "night"),
        ("Three white cars drive past a red bus and a cyclist.", "cyclist"),
        ("The camera slowly zooms out from the three cars.", "out"),
        ("A red bus stops, and a crowd of people gets in.", "crowd"),
    ],
)
def test_what_the_facts_do_not_have_is_named(text, word):
    problems = ungrounded(text, CARS)
    assert any(word in problem for problem in problems), problems


@given(TEXTS)
def test_grounding_reads_anything(text):
    assert isinstance(ungrounded(text, CARS), list)
    assert ungrounded(text, None) == ungrounded(text, {}) == []


def test_other_languages_are_not_judged():
    assert ungrounded("Drei weiße Autos fahren durch eine Straße der Stadt.", CARS) == []
    assert ungrounded("三辆白色汽车在街上行驶。", CARS) == []


# ------------------------------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("move", [move for move in CAMERA_WORDS if move.split()[0] in ("pan", "tilt", "static")])
def test_the_camera_words_of_diorama_are_understood(move):
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    for phrase in CAMERA_WORDS[move]:
        assert camera_claims(f"A red ball rolls left. {phrase}") == [move]
        assert camera_problems(phrase, {"camera_move": move, "camera": 0.1}) == []
        verb, _, side = move.partition(" ")
        wrong = f"{verb} {opposite[side]}" if side else "pan left"
        (problem,) = camera_problems(phrase, {"camera_move": wrong, "camera": 0.1})
        assert wrong in problem and move in problem
        if move != "static":
            assert camera_problems(phrase, {"camera_move": "static", "camera": 0.0})


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("The camera slowly pans to the left as a dog runs.", ["pan left"]),
        ("A static shot of a car.", ["static"]),
        ("The camera remains completely still.", ["static"]),
        ("The camera tilts upward, then zooms in.", ["tilt up"]),
        ("The camera zooms in. The camera pans right.", ["zoom in", "pan right"]),
        ("A car turns left and a man looks up.", []),
        ("A man holds a camera and moves left.", []),
        ("A frying pan is left on the stove.", []),
        ("The camera never pans left.", []),
    ],
)
def test_claims_about_the_camera(text, claims):
    assert camera_claims(text) == claims


def test_a_caption_silent_about_the_camera_is_fine_and_so_is_one_that_was_not_measured():
    assert camera_problems("A dog runs.", {"camera_move": "pan left"}) == []
    assert camera_problems("The camera pans left.", None) == camera_problems("The camera pans left.", {}) == []
    assert camera_problems("The camera is still.", {"camera_move": "pan left", "camera": 0.007}) == []


def test_colours_that_no_pixel_has():
    frames = np.full((2, 40, 40, 3), 128, np.uint8)
    frames[1, 10:14, 10:14] = (230, 20, 20)
    assert colour_problems("A red dot on a gray wall.", frames) == []
    assert len(colour_problems("A red dot and a green dot.", frames)) == 1
    assert colour_problems("There is no green dot. A gray wall.", frames) == []
    assert colour_problems("A green dot.", None) == []


# --------------------------------------------------------------------------------------------- similarity, verdict


@pytest.fixture(scope="module")
def scorers(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("scorers")
    said = [text for index in range(20) for text in captions(sample_scene(0, index)).values()]
    ContrastiveCaptioner(
        vocab_size=400, context_length=24, width=16, num_layers=1, num_decoder_layers=1, num_heads=2, embed_dim=16,
        image_size=16, patch_size=8, num_frames=3, vision_width=16, vision_layers=1, vision_heads=2,
        caption_tokens=4, vocabulary=["a"], tokenizer=train_tokenizer(said, 400, 24),
    ).save_pretrained(folder / "captioner")  # fmt: skip
    name = "kinema-test-clip"
    small = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    open_clip.factory._MODEL_CONFIGS[name] = {"embed_dim": 16, "vision_cfg": small, "text_cfg": text}
    torch.save(open_clip.create_model(name).state_dict(), folder / "clip.pt")
    yield [
        open_scorer(CaptionSettings(checks=CheckSettings(scorer=f"captioner:{folder / 'captioner'}"))),
        open_scorer(CaptionSettings(checks=CheckSettings(scorer=f"open_clip:{name}:{folder / 'clip.pt'}"))),
    ]
    del open_clip.factory._MODEL_CONFIGS[name]


LONG = " ".join(captions(sample_scene(0, index))["dense"] for index in range(6))


def some_frames(count=6):
    frames = np.random.default_rng(0).integers(0, 255, (count, 24, 40, 3), dtype=np.uint8)
    return ClipFrames(frames, np.arange(count) / 4, list(range(count)), 4.0)


def test_similarity_is_a_matrix_of_cosines_and_its_scores_follow_from_it(scorers):
    for scorer, rows in zip(scorers, (1, 6)):
        frames, pieces = some_frames(), scorer.pieces(LONG)
        assert squeezed("".join(pieces)) == squeezed(LONG) and len(pieces) > 1
        found = scorer.similarity(frames, pieces)
        assert found.shape == (rows, len(pieces)) and np.abs(found).max() <= 1.001
        mean, worst = scorer.score(frames, LONG)
        assert mean == pytest.approx(found.max(0).mean(), abs=1e-5)
        assert worst == pytest.approx(found.max(0).min(), abs=1e-5) and worst <= mean
        assert np.isnan(scorer.score(frames, " ")).all()


def test_sentences_are_scored_alone_by_open_clip_and_together_by_ours(scorers):
    ours, clip = scorers
    text = "A red ball. A blue cube."
    assert ours.pieces(text) == [text] and clip.pieces(text) == ["A red ball.", "A blue cube."]
    assert all(clip._fits(piece) for piece in clip.pieces("very " * 300 + "long."))


@pytest.mark.parametrize(
    "name", ["clip", "open_clip:ViT-B-32", "open_clip:no-such-model:none", "captioner:/no/such"]
)
def test_a_scorer_that_is_not_there_is_named(name):
    with pytest.raises(CaptionError, match=r"captioner|scorer"):
        open_scorer(CaptionSettings(checks=CheckSettings(scorer=name)))


def test_a_verdict_has_scores_and_all_problems(scorers):
    facts = facts_of_diorama("red ball roll left, grass, day, camera static")
    strict = CheckSettings(min_similarity=2.0)
    told = {"facts": facts, "frames": some_frames(), "scorer": scorers[0], "scores": {"camera_move": "pan left"}}
    text = "The video shows a blue ball. The camera pans right."
    verdict = check_caption(text, level="dense", settings=strict, **told)
    assert verdict.status == "error" and verdict.clip_mean is not None and verdict.clip_mean >= verdict.clip_min
    for part in ("speaks of the video", "'blue'", "pan right", "similarity"):
        assert any(part in problem for problem in verdict.problems), (part, verdict.problems)
    assert check_caption(text, level="original", settings=strict, **told).passed
    assert check_caption("A red ball rolls left on grass in daylight.", level="dense", facts=facts).passed


def test_a_dense_caption_tells_no_less_than_a_short_one():
    said = {"short": "a red ball rolls to the left on the grass"}
    assert not check_caption("A red ball rolls left.", level="dense", previous=said).passed
    assert check_caption("A red ball rolls left.", level="medium", previous=said).passed


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["original", "short", "medium", "dense", "structured"]), st.booleans())
def test_any_text_has_a_verdict_and_the_same_one_again(text, level, finished):
    told = {"level": level, "facts": CARS, "scores": {"camera_move": "mixed"}, "finished": finished}
    verdict = check_caption(text, **told)
    assert verdict == check_caption(text, **told)
    assert (verdict.status == "success") == verdict.passed and 0 <= verdict.repetition <= 1

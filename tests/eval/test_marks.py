"""Statistics of the exam, on answers made here: a reading is a dictionary of words."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.eval.marks import MARKS, compare, marks, to_dict
from kinema.eval.questions import ExamPrompt
from kinema.eval.sitting import Sitting, deal_prompts, take_answers

WORDS = {
    "colour": ["red", "green", "blue", "white"],
    "size": ["small", "large"],
    "direction": ["left", "right", "towards", "away"],
}


def make_prompts(rng, count, tiers="AP") -> tuple[ExamPrompt, ...]:
    """Prompts that ask for some of the attributes; the object is always a ball."""
    prompts = []
    for number in range(count):
        asked = {name: str(rng.choice(words)) for name, words in WORDS.items() if rng.random() < 0.8}
        motion = {"motion": "roll"} if "direction" in asked else {}
        thing = {"kind": "ball"} | motion | asked
        tier = tiers[number % len(tiers)]
        prompts.append(ExamPrompt.model_validate({
            "id": f"{tier}{number:03}", "tier": tier, "text": f"prompt {number}", "objects": [thing],
        }))  # fmt: skip
    return tuple(prompts)


def answer(reading, prompt):
    return {name: reading.get(name) == word for name, word in prompt.asked.items()}


def read(rng, prompt, skill):
    """What a model's clip shows: each attribute as asked with probability `skill`, otherwise any word."""
    words = {"object": ["ball", "cube"], "motion": ["travel", "hop"]} | WORDS
    shown = {name: str(rng.choice(some)) for name, some in words.items()}
    return shown | {name: word for name, word in prompt.asked.items() if rng.random() < skill}


def sit(rng, prompts, skill, seeds=1, truth: float | None = 1.0, vae=None, deals=16, readings=None):
    dealt = deal_prompts(prompts, deals)

    def answers(skill, seeds, held):
        clips = [(n, seed, read(rng, prompt, skill)) for n, prompt in enumerate(prompts) for seed in range(seeds)]
        return take_answers(clips, prompts, answer, dealt if held else None)

    samples = answers(skill, seeds, True) if readings is None else take_answers(readings, prompts, answer, dealt)
    return Sitting(
        prompts,
        samples,
        truth=() if truth is None else answers(truth, 1, False),
        vae=() if vae is None else answers(vae, 1, False),
        deals=deals,
    )


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_with_all_pairs_chance_is_the_mean_over_all_derangements(seed, count):
    rng = np.random.default_rng(seed)
    prompts = make_prompts(rng, count, tiers="A")
    shown = [read(rng, prompt, 0.3) for prompt in prompts]
    got = marks(sit(rng, prompts, 0, deals=count, readings=[(n, 0, r) for n, r in enumerate(shown)]), draws=20)
    for name, mark in got["A"].attributes.items():
        asking = [n for n, prompt in enumerate(prompts) if name in prompt.asked]
        deals = [p for p in itertools.permutations(asking) if all(i != j for i, j in zip(asking, p))]
        scores = [[shown[i][name] == prompts[j].asked[name] for i, j in zip(asking, p)] for p in deals]
        assert mark.n_prompts == mark.n_clips == len(asking)
        if mark.chance is not None:
            assert mark.chance.value == pytest.approx(np.mean(scores))
        else:
            assert len(asking) < 3  # alone, or two that were never drawn together


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 30))
@settings(deadline=None)
def test_deals_are_derangements_within_tier_and_attribute(seed, count, most):
    prompts = make_prompts(np.random.default_rng(seed), count)
    deals = deal_prompts(prompts, most, seed)
    for number, (prompt, deal) in enumerate(zip(prompts, deals)):
        assert set(deal) == set(prompt.asked)
        for name, others in deal.items():
            asking = {n for n, p in enumerate(prompts) if p.tier == prompt.tier and name in p.asked}
            assert set(others) <= asking - {number}
            assert len(set(others)) == len(others) == min(most, len(asking) - 1)
    for name in WORDS:  # each turn deals each prompt once
        for tier, turn in itertools.product("AP", range(most)):
            dealt = [
                d[name][turn] for p, d in zip(prompts, deals) if p.tier == tier and len(d.get(name, ())) > turn
            ]
            assert len(set(dealt)) == len(dealt)


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.5, 1), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_marks_fit_each_other_and_lie_within_their_intervals(seed, skill, truth, seeds):
    rng = np.random.default_rng(seed)
    got = marks(sit(rng, make_prompts(rng, 24), skill, seeds, truth, vae=truth), draws=200)
    for tier in got.values():
        for mark in tier.attributes.values():
            assert mark.n_clips == seeds * mark.n_prompts
            for name in MARKS:
                estimate = getattr(mark, name)
                if estimate is not None and np.isfinite(estimate.value) and not name.startswith("share"):
                    assert 0 <= estimate.low <= estimate.value + 0.05 and estimate.value <= estimate.high + 0.05
                    assert estimate.high <= 1
            if mark.share and mark.chance and mark.ceiling_true:
                room = mark.ceiling_true.value - mark.chance.value
                assert mark.share.value == pytest.approx((mark.score.value - mark.chance.value) / room)


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_truth_itself_has_share_one_exactly_and_without_width(seed, seeds):
    rng = np.random.default_rng(seed)
    prompts = make_prompts(rng, 30)
    whole = sit(rng, prompts, 0.8, seeds)
    same = Sitting(prompts, whole.samples, truth=whole.samples, vae=whole.samples)
    for tier in marks(same, draws=200).values():
        for mark in (tier.mean, *tier.attributes.values()):
            for share in (mark and mark.share, mark and mark.share_vae):
                if share:
                    assert [share.value, share.low, share.high] == pytest.approx([1, 1, 1])


def test_shuffled_labels_give_share_nought_and_a_constant_model_too():
    rng = np.random.default_rng(3)
    prompts = make_prompts(rng, 300, tiers="A")
    shuffled = [(n, 0, dict(prompts[other].asked)) for n, other in enumerate(rng.permutation(len(prompts)))]
    constant = [
        (n, 0, {"object": "ball", "colour": "red", "size": "large", "direction": "left"})
        for n in range(len(prompts))
    ]
    for readings in (shuffled, constant):
        tier = marks(sit(rng, prompts, 0, readings=readings), draws=500)["A"]
        for name in WORDS:
            share = tier.attributes[name].share
            assert share is not None and abs(share.value) < 0.12 and share.low <= 0.02 and share.high >= -0.02
        assert tier.attributes["object"].share is None  # every prompt asks for a ball: nothing to tell
        assert tier.mean and tier.mean.share and abs(tier.mean.share.value) < 0.08


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    skill, worlds, covered, widths = 0.5, 80, 0, []
    for world in range(worlds):
        rng = np.random.default_rng(world)
        tier = marks(sit(rng, make_prompts(rng, 50, "A"), skill, deals=4), draws=200)["A"]
        share = tier.attributes["colour"].share
        assert share is not None
        covered += share.low <= skill <= share.high
        widths.append(share.high - share.low)
    assert 0.87 <= covered / worlds < 1
    assert np.mean(widths) < 0.45


def test_seeds_of_one_prompt_are_not_taken_for_new_prompts():
    rng = np.random.default_rng(0)
    prompts = make_prompts(rng, 60, "A")
    once = [(n, 0, read(rng, prompt, 0.5)) for n, prompt in enumerate(prompts)]
    copies = [(n, seed, shown) for n, _, shown in once for seed in range(5)]
    one, five = (marks(sit(rng, prompts, 0, readings=r))["A"].attributes["colour"].score for r in (once, copies))
    assert one == five
    fresh = marks(sit(rng, prompts, 0.5, seeds=5))["A"].attributes["colour"].score
    assert fresh.high - fresh.low < 0.7 * (one.high - one.low)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_order_of_clips_and_prompts_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    prompts = make_prompts(rng, 16)
    clips = [(n, s, read(rng, prompt, 0.5)) for n, prompt in enumerate(prompts) for s in range(2)]
    truth = take_answers([(n, 0, dict(prompt.asked)) for n, prompt in enumerate(prompts)], prompts, answer, None)
    dealt = deal_prompts(prompts)
    whole = marks(Sitting(prompts, take_answers(clips, prompts, answer, dealt), truth), draws=100)

    order = rng.permutation(len(prompts))
    turned = tuple(prompts[n] for n in order)
    place = {n: k for k, n in enumerate(order)}
    mixed = [(place[n], s, shown) for n, s, shown in (clips[k] for k in rng.permutation(len(clips)))]
    again = Sitting(
        turned,
        take_answers(mixed, turned, answer, deal_prompts(turned)),
        take_answers([(k, 0, dict(prompt.asked)) for k, prompt in enumerate(turned)], turned, answer, None),
    )
    flat, flat_again = json.dumps(to_dict(whole)), json.dumps(to_dict(marks(again, draws=100)))
    assert _numbers(flat) == pytest.approx(_numbers(flat_again))


def _numbers(text):
    found = []
    json.loads(text, parse_float=lambda n: found.append(float(n)), parse_int=lambda n: found.append(float(n)))
    return found


def correlated(rng, prompts, worse=0.0):
    """Two sittings that are right on the same prompts, but where the second loses some at random."""
    first = [(n, 0, read(rng, prompt, 0.6)) for n, prompt in enumerate(prompts)]
    second = [(n, 0, shown if rng.random() >= worse else read(rng, prompts[n], 0)) for n, _, shown in first]
    truth = take_answers([(n, 0, dict(p.asked)) for n, p in enumerate(prompts)], prompts, answer, None)
    dealt = deal_prompts(prompts)
    a, b = (Sitting(prompts, take_answers(r, prompts, answer, dealt), truth) for r in (first, second))
    return a, b


def test_paired_intervals_are_narrower_and_find_what_unpaired_ones_miss():
    rng = np.random.default_rng(1)
    a, b = correlated(rng, make_prompts(rng, 100, "A"), worse=0.15)
    first, second, difference = marks(a)["A"].mean, marks(b)["A"].mean, compare(a, b)["A"].mean
    assert first and second and difference and first.share and second.share and difference.share
    widths = [estimate.high - estimate.low for estimate in (first.share, second.share)]
    assert difference.share.high - difference.share.low < 0.75 * np.hypot(*widths)
    assert difference.share.value == pytest.approx(second.share.value - first.share.value)
    assert difference.verdict == "worse" and compare(b, a)["A"].mean.verdict == "better"


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_a_system_does_not_differ_from_itself(seed):
    rng = np.random.default_rng(seed)
    a, _ = correlated(rng, make_prompts(rng, 20))
    for tier in compare(a, a, draws=100).values():
        for difference in (tier.mean, *tier.attributes.values()):
            if difference:
                assert difference.verdict == "no difference" and difference.score.low == difference.score.high == 0


def test_false_alarms_are_rare():
    alarms = 0
    for world in range(60):
        rng = np.random.default_rng(world)
        prompts = make_prompts(rng, 40, "A")
        a, b = (sit(rng, prompts, 0.5, deals=4) for _ in range(2))
        alarms += compare(a, b, draws=200)["A"].attributes["colour"].verdict != "no difference"
    assert alarms <= 8


def test_compare_needs_the_same_prompts():
    rng = np.random.default_rng(0)
    one, other = (sit(rng, make_prompts(rng, 8), 0.5) for _ in range(2))
    with pytest.raises(ValueError, match="sit the same list"):
        compare(one, other)


def test_marks_that_do_not_exist_are_absent():
    rng = np.random.default_rng(0)
    prompts = make_prompts(rng, 40, "A")
    bare = marks(sit(rng, prompts, 0.5, truth=None), draws=50)["A"]
    assert bare.mean is None and all(m.share is m.ceiling_true is None for m in bare.attributes.values())
    blind = marks(sit(rng, prompts, 0.9, truth=0.0), draws=200)["A"]
    assert blind.attributes["size"].share is None  # the judge cannot tell true clips from chance
    few = marks(sit(rng, prompts[:3], 0.5), draws=50)["A"]
    assert all(mark.share is None for mark in few.attributes.values())
    alone = marks(sit(rng, prompts[:1], 1.0), draws=50)["A"].attributes["object"]
    assert alone.chance is None and alone.score.value == 1


def test_a_sitting_survives_json_and_refuses_what_does_not_fit():
    rng = np.random.default_rng(0)
    prompts = make_prompts(rng, 8)
    whole = sit(rng, prompts, 0.5, seeds=2, vae=0.9, deals=3)
    again = Sitting.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert again == whole and marks(again, draws=50) == marks(whole, draws=50)
    with pytest.raises(ValueError, match="1 of 8 prompts have no clip in samples: P007"):
        Sitting(prompts, tuple(clip for clip in whole.samples if clip.prompt != 7), deals=3)
    with pytest.raises(ValueError, match="do not fit its deal"):
        Sitting(prompts, whole.samples, deals=1)
    with pytest.raises(ValueError, match="it asks"):
        Sitting((prompts[2], prompts[1], prompts[0], *prompts[3:]), whole.samples, deals=3)

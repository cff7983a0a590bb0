"""Facts out of whatever a model answers: read if they can be, and never more than were stated."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.captioner.captions.facts import (
    FIELDS,
    Facts,
    FactsError,
    Subject,
    entities,
    facts_of_diorama,
    parse_facts,
    to_json,
    to_text,
)
from kinema.conditioner.corpus import fact_text
from kinema.data.diorama import sample_scene

WORD = st.text("abcdefghijklmnop", min_size=2, max_size=8).filter(lambda word: word not in ("na", "none"))
PHRASE = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
SUBJECT = st.builds(
    Subject, name=PHRASE, count=st.none() | st.integers(1, 99), attributes=st.lists(PHRASE, max_size=3)
)
FACTS = st.builds(
    Facts,
    subjects=st.lists(SUBJECT, min_size=1, max_size=3),
    **{name: st.lists(PHRASE, max_size=3) for name in ("actions", "relations", "on_screen_text")},
    **{name: st.just("") | PHRASE for name in ("setting", "camera", "lighting", "style")},
)
NO_JSON = st.text(max_size=40).filter(lambda text: not set(text) & set("{}<>"))
AROUND = st.tuples(NO_JSON, NO_JSON)


@settings(max_examples=40, deadline=None)
@given(
    FACTS,
    AROUND,
    st.sampled_from(["{}", "```json\n{}\n```", "<think>maybe {{'a': 1}} no</think>{}", '{{"facts": {}}}']),
)
def test_facts_are_read_as_they_were_written_whatever_stands_round_them(facts, around, form):
    raw = around[0] + form.replace("{}", to_json(facts)).replace("{{", "{").replace("}}", "}}") + around[1]
    if form.startswith('{{"facts'):
        raw = around[0] + '{"facts": ' + to_json(facts) + "}" + around[1]
    assert parse_facts(raw) == facts


@settings(max_examples=40, deadline=None)
@given(FACTS, st.data())
def test_a_cut_off_answer_is_never_taken_for_facts(facts, data):
    whole = to_json(facts)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(FactsError):
        parse_facts(cut)


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | PHRASE,
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "count", "attributes", "x"]), children, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(FIELDS),
)
def test_any_json_gives_facts_whose_words_were_all_in_it_or_a_clear_refusal(value, name):
    raw = json.dumps({name: value})
    try:
        facts = parse_facts(raw)
    except FactsError as error:
        assert str(error)
        return
    stated = " ".join(raw.lower().replace('"', " ").split())
    for word in " ".join([*facts.actions, facts.setting, *(each.name for each in facts.subjects)]).split():
        assert word.lower().strip(",") in stated


def test_half_right_types_are_put_right():
    facts = parse_facts(
        '{"subjects": [{"name": "cars", "count": "two", "attributes": "red"}, "a dog", {"name": ""}], '
        '"actions": "driving", "setting": ["snow", "road"], "camera": null, "on_screen_text": [42], "style": "-",}'
    )
    assert facts.subjects == [Subject(name="cars", count=2, attributes=["red"]), Subject(name="a dog")]
    assert (facts.actions, facts.setting, facts.camera, facts.style) == (["driving"], "snow, road", "", "")
    assert facts.on_screen_text == ["42"]


@pytest.mark.parametrize(
    "raw, said",
    [
        ("A red car drives.", "no JSON object"),
        ('{"subjects": [{"name": "dog"', "cut off"),
        ('{"text": "a dog"}', "none of the fields"),
        ('{"subjects": [], "camera": ""}', "states no fact"),
        ('{"camera": true}', "camera"),
        ('{"subjects": [7]}', "subjects"),
        ('{"subjects": [{"name": "dog", "count": {"a": 1}}]}', "count"),
    ],
)
def test_what_is_no_facts_is_refused_with_the_reason(raw, said):
    with pytest.raises(FactsError, match=said):
        parse_facts(raw)


@pytest.mark.parametrize("count", ["several", "many", 0, -3, 1.5, None])
def test_a_number_that_is_none_is_not_made_up(count):
    assert parse_facts({"subjects": [{"name": "dog", "count": count}]}).subjects[0].count is None


def test_entities_are_the_content_words():
    facts = facts_of_diorama("red car drive left, blue cube stand, blue cube stand, snow, night, camera pan left")
    assert entities(facts) == {
        "red", "car", "drive", "left", "blue", "cube", "stand", "snow", "night", "pan", "2", "two",
    }  # fmt: skip
    assert to_text(facts) == "red car, 2 blue cube; car drive left, cube stand; snow; night; camera pan left"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_facts_of_every_diorama_scene_are_read(index):
    scene = sample_scene(3, index, difficulty=(0, 3))
    text = fact_text(scene.to_json())
    facts = facts_of_diorama(text)
    names = {each.kind for each in scene.objects}
    assert {each.name for each in facts.subjects} == names
    assert sum(each.count or 0 for each in facts.subjects) == len(scene.objects)
    assert facts.setting == scene.floor and facts.camera == scene.camera.move
    assert parse_facts(to_json(facts)) == facts


@pytest.mark.parametrize("text", ["", "red red car", "snow, night", "red car drive left, camera", "a fox runs"])
def test_broken_facts_of_our_captioner_are_refused(text):
    with pytest.raises(FactsError):
        facts_of_diorama(text)

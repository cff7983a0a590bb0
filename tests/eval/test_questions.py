"""The lists: frozen, balanced, showable, and each prompt in its tier."""

import re
from collections import Counter

import pytest

from kinema.data.diorama import VOCABULARY, facts
from kinema.data.diorama.captions import captions
from kinema.data.diorama.rules import is_heldout
from kinema.data.diorama.sampler import sample_scene
from kinema.eval import simple
from kinema.eval.exam import REPEATS
from kinema.eval.questions import (
    ATTRIBUTES,
    LISTS,
    NAMES,
    ExamPrompt,
    digest,
    heldout_facts,
    load_prompts,
    motion_word,
    problems,
)
from kinema.eval.staging import stage

FROZEN = {
    "test": "af87104736619fd0",
    "dev": "b837a40ae2afedca",
    "probe": "3291785794c40d82",
    "quick": "203a1b8cf97858c4",
    "simple-test": "b74a5cf3fbfbb35b",
    "simple-dev": "d1d5b1a5e5e0b277",
}
SIMPLE = ("simple-dev", "simple-test")


@pytest.mark.parametrize("name", FROZEN)
def test_the_lists_never_change(name):
    assert digest(load_prompts(name)) == FROZEN[name], f"lists/{name}.jsonl is frozen: exams of it are compared"


def test_there_are_400_to_test_200_to_develop_with_and_none_in_both():
    lists = {name: load_prompts(name) for name in NAMES}
    assert {name: len(found) for name, found in lists.items()} == {
        "test": 400,
        "dev": 200,
        "probe": 210,
        "quick": 24,
        "simple-test": 160,
        "simple-dev": 160,
    }
    texts = Counter(prompt.text.lower() for found in lists.values() for prompt in found)
    assert max(texts.values()) == 1
    ids = Counter(prompt.id for found in lists.values() for prompt in found)
    assert max(ids.values()) == 1


@pytest.mark.parametrize("name", FROZEN)
def test_every_prompt_can_be_shown_and_stands_in_its_tier(name):
    for prompt in load_prompts(name):
        assert not problems(prompt), (prompt.id, problems(prompt))
        if prompt.tier == "A":
            words = set(re.findall(r"[a-z]+", prompt.text.lower()))
            assert words <= {*VOCABULARY, "its", "with"}, (prompt.id, words - set(VOCABULARY))
        assert (prompt.tier == "B") == bool(heldout_facts(prompt)) or prompt.tier == "P"


def test_each_attribute_is_asked_often_enough_for_200_clips_of_4_seeds():
    asked = Counter((prompt.tier, name) for prompt in load_prompts("test") for name in prompt.asked)
    assert all(count >= 50 for count in asked.values()), asked
    assert {name for _, name in asked} == set(ATTRIBUTES)
    probes = Counter(name for prompt in load_prompts("probe") for name in prompt.asked)
    assert all(probes[name] >= 50 for name in ("object", "colour", "motion", "direction", "camera", "count"))


def test_the_simple_lists_are_what_their_command_writes(tmp_path):
    for path in simple.write(tmp_path):
        assert path.read_text() == (LISTS / path.name).read_text()


@pytest.mark.parametrize("name", SIMPLE)
def test_the_simple_lists_ask_all_that_levels_0_and_1_have_often_enough(name):
    prompts = load_prompts(name)
    asked = Counter((prompt.tier, attribute) for prompt in prompts for attribute in prompt.asked)
    both = ("object", "colour", "motion", "direction", "floor", "background", "time", "size")
    assert set(asked) == {(tier, attribute) for tier in "AB" for attribute in both} | {("A", "speed")}
    assert all(count >= 50 for count in asked.values()) and REPEATS["simple-test"] * 50 >= 200
    assert all(prompt.level == 1 for prompt in prompts)


def test_the_simple_lists_share_nothing_with_each_other_or_with_training():
    lists = {name: load_prompts(name) for name in SIMPLE}
    cores = [(p.objects[0].kind, p.objects[0].colour, p.objects[0].motion, p.objects[0].direction)
             for found in lists.values() for p in found]  # fmt: skip
    assert len(set(cores)) == len(cores) == 320
    texts = {prompt.text.lower().rstrip(".") for found in lists.values() for prompt in found}
    scenes = [sample_scene(0, n, difficulty=(0, 1), split=s) for n in range(250) for s in ("train", "heldout")]
    taught = {text.lower().rstrip(".") for scene in scenes for text in captions(scene).values()}
    assert not texts & taught
    staged = [stage(prompt, 3) for found in lists.values() for prompt in found[::16]]
    assert all(is_heldout(s) == (s.split == "heldout") for s in staged)
    things = [s.objects[0].model_dump_json() for s in (*staged, *scenes)]
    assert len(set(things)) == len(things)


@pytest.mark.parametrize("name", SIMPLE)
def test_a_simple_prompt_is_staged_at_its_level(name):
    for prompt in load_prompts(name)[::5]:
        scene, asked = stage(prompt, 7), prompt.objects[0]
        thing = scene.objects[0]
        assert (scene.level, len(scene.objects), scene.camera.move) == (1, 1, "static")
        assert (thing.material, thing.pattern, scene.style) == ("matte", "plain", "realistic")
        assert thing.size in ("medium", "large") and scene.floor not in ("road", "water")
        told = {"kind": thing.kind, "colour": thing.colour, "size": thing.size, "motion": thing.motion.action,
                "direction": thing.motion.direction, "speed": thing.motion.speed}  # fmt: skip
        assert all(told[name] == word for name, word in asked.model_dump(exclude_none=True).items())
        seen = {"floor": scene.floor, "background": scene.background, "time": scene.time_of_day}
        assert all(getattr(prompt, name) in (None, word) for name, word in seen.items())
        assert stage(prompt, 7) == scene != stage(prompt, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"floor": "water"}, "no water"),
        ({"objects": [{"kind": "robot"}]}, "no robot"),
        ({"objects": [{"kind": "car", "size": "small"}]}, "no small"),
        ({"objects": [{"kind": "car", "motion": "swing"}]}, "no swing"),
        ({"objects": [{"kind": "car", "material": "shiny"}]}, "one plain object"),
        ({"level": None, "objects": [{"kind": "car", "size": "medium"}]}, "level of Diorama alone"),
        ({"level": 0, "background": "hills"}, "no hills"),
        ({"objects": [{"kind": "ring"}], "background": "city"}, None),
    ],
)
def test_what_a_level_does_not_show_is_told(change, said):
    values = {"id": "x", "tier": "A", "text": "x", "level": 1, "objects": [{"kind": "car"}]} | change
    found = " ".join(problems(ExamPrompt.model_validate(values)))
    assert said in found if said else not found


@pytest.mark.parametrize("number", range(0, 400, 23))
def test_a_true_scene_shows_what_its_prompt_asks(number):
    prompt = load_prompts("test")[number]
    scene = stage(prompt, 5)
    found, asked = facts(scene), prompt.objects[0]
    thing = scene.objects[0]
    assert thing.kind == asked.kind and thing.colour == (asked.colour or thing.colour)
    assert thing.size == (asked.size or thing.size) and thing.material == (asked.material or "matte")
    assert thing.pattern == (asked.pattern or "plain") and scene.floor == (prompt.floor or scene.floor)
    assert scene.time_of_day == (prompt.time or scene.time_of_day) and scene.style == (prompt.style or "realistic")
    assert scene.camera.move == (prompt.camera or "static")
    if asked.motion and not prompt.event:
        assert motion_word(thing.motion.action) == motion_word(asked.motion)
        assert thing.motion.direction == (asked.direction or thing.motion.direction)
    assert found["count"] == (asked.count or len(prompt.objects))
    assert stage(prompt, 5) == scene and stage(prompt, 6) != scene


def test_what_is_no_prompt_is_named_with_its_line(tmp_path):
    bad = tmp_path / "list.jsonl"
    bad.write_text(load_prompts("quick")[0].model_dump_json(exclude_none=True) + '\n{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"line 2 is no prompt: tier"):
        load_prompts(bad)
    with pytest.raises(FileNotFoundError, match="neither a list"):
        load_prompts(tmp_path / "none")


def test_lists_that_cannot_be_sat_are_refused(tmp_path):
    own, line = tmp_path / "list.jsonl", load_prompts("quick")[0].model_dump_json(exclude_none=True)
    own.write_text(f"{line}\n\n{line}\n")
    with pytest.raises(ValueError, match="line 3 is a second q01"):
        load_prompts(own)
    own.write_text(line.replace('"focus":[]', '"focus":["relation"]'))
    with pytest.raises(ValueError, match=r"states none of its focus, \['relation'\]"):
        load_prompts(own)
    own.write_text("\n")
    with pytest.raises(ValueError, match="holds no prompt"):
        load_prompts(own)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"motion": "roll"}, "cannot roll"),
        ({"motion": "drive", "direction": "towards", "count": 2}, None),
        ({"motion": "spin", "direction": "left"}, "no direction"),
        ({"motion": "stand", "speed": "fast"}, "no speed"),
        ({"material": "shiny", "pattern": "striped"}, "at once"),
        ({"colour": "white"}, "held-out"),
    ],
)
def test_what_cannot_be_shown_is_told(change, said):
    asked = {"kind": "car", "colour": "red"} | change
    prompt = ExamPrompt.model_validate({"id": "x", "tier": "C", "text": "x", "objects": [asked]})
    found = " ".join(problems(prompt))
    assert said in found if said else not found

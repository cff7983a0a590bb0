import re
from collections import Counter

import pytest

from kinema.data.diorama import VOCABULARY, captions, is_heldout
from kinema.data.diorama.captions import COLOUR_WORDS, FLOOR_WORDS, KIND_WORDS, TIME_WORDS
from kinema.data.diorama.scene import COLOURS, Scene
from kinema.eval.prompts import ExamPrompt, load_prompts, true_scenes

PROMPTS = load_prompts()


def test_there_are_32_different_prompts_covering_colours_and_directions():
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS) == 32
    assert set(Counter(prompt.colour for prompt in PROMPTS)) == set(COLOURS)
    directions = Counter(prompt.direction for prompt in PROMPTS)
    assert all(directions[word] >= 4 for word in ("left", "right", "up", "down", "none"))
    first = PROMPTS[:8]
    assert {prompt.direction for prompt in first} >= {"left", "right", "up", "down", "none"}
    assert len({prompt.colour for prompt in first}) == 8


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.text)
def test_prompts_use_the_words_of_the_captions_and_say_what_is_asked(prompt: ExamPrompt):
    assert set(re.findall(r"[a-z]+", prompt.text.lower())) <= set(VOCABULARY)
    assert any(word in prompt.text for word in COLOUR_WORDS[prompt.colour])
    assert any(word in prompt.text for word in KIND_WORDS[prompt.object])
    for word, table in ((prompt.floor, FLOOR_WORDS), (prompt.time, TIME_WORDS)):
        said = [name for name, phrases in table.items() if any(phrase in prompt.text for phrase in phrases)]
        assert said == ([word] if word else [])
    assert not prompt.direction or prompt.direction in (*("left", "right", "up", "down", "none"),), (
        "a direction that the measure does not know"
    )


def test_true_scenes_do_what_the_prompts_say_and_are_never_held_out():
    scenes = true_scenes(PROMPTS)
    assert scenes == true_scenes(PROMPTS)
    assert len({scene.index for scene in scenes}) == len(PROMPTS)
    for prompt, scene in zip(PROMPTS, scenes):
        thing = scene.objects[0]
        assert Scene.model_validate(scene.model_dump()) == scene
        assert not is_heldout(scene), prompt.text
        assert (thing.kind, thing.colour, thing.motion.action) == (prompt.object, prompt.colour, prompt.motion)
        assert scene.floor == (prompt.floor or scene.floor) and scene.time_of_day == (
            prompt.time or scene.time_of_day
        )
        if prompt.direction in ("left", "right"):
            assert thing.motion.direction == prompt.direction
        assert prompt.colour in captions(scene)["dense"].replace("grey", "gray")


def test_wrong_lists_are_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# head\na red ball | ball | red\n")
    with pytest.raises(ValueError, match="line 2 has 3 columns"):
        load_prompts(path)
    with pytest.raises(ValueError, match="has 32"):
        load_prompts(count=33)
    with pytest.raises(ValueError, match="no simple Diorama scene"):
        true_scenes([ExamPrompt("a cube sings", "cube", "red", "sing", "")])

"""Reviews of captions: two people at once, undone, taken over by training; and the screen in a real browser."""

import argparse
import base64
import gc
import os
import shutil
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.captioner.engine.commits import CaptionError
from kinema.captioner.review import screen
from kinema.captioner.review.reviews import Filter, Reviews, describe
from kinema.captioner.review.screen import Previews, build_review, captions_html, launch_options
from kinema.captioner.tables import CAPTIONS
from kinema.data.captioned import captioned_rows, review_files
from kinema.data.video_io import probe

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import CHROMIUM, Browser
from published import add_review, build, review

pytestmark = [
    # Gradio leaves sockets and event loops to the garbage collector,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # and its queue uses what pandas 3 deprecates.
    pytest.mark.filterwarnings("ignore:.future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return build(tmp_path_factory.mktemp("published"))


@pytest.fixture
def made(published, tmp_path):
    """A dataset of one's own: (folder, shots by name, captions by name)."""
    dataset, shots, captions = published
    shutil.copytree(dataset, tmp_path / "dataset")
    return tmp_path / "dataset", shots, captions


def trained_on(dataset, clip):
    return next(row["captions_by_level"] for row in captioned_rows(dataset) if row["id"] == clip["clip_id"])


def test_the_queue_goes_clip_by_clip_and_filters_hold_together(made):
    dataset, _, captions = made
    reviews = Reviews(dataset, "ann")
    queue = reviews.queue()
    assert len(queue) == len(set(queue)) == 14  # four kept clips of three levels, and two original captions
    clips = [reviews.captions[name]["clip_id"] for name in queue]
    assert sum(a != b for a, b in pairwise(clips)) == 3
    for clip in set(clips):
        levels = [reviews.captions[name]["level"] for name in queue if reviews.captions[name]["clip_id"] == clip]
        assert levels in (["original", "short", "medium", "dense"], ["short", "medium", "dense"])
    assert len(reviews.queue(Filter(kept=False))) == 17
    assert {reviews.captions[name]["level"] for name in reviews.queue(Filter(level="dense"))} == {"dense"}
    assert reviews.queue(Filter(status="error")) == [captions["c0", "dense"]["caption_id"]]
    assert len(reviews.queue(Filter(backend="original"))) == 2
    assert len(reviews.queue(Filter(contains="DENSE of a"))) == 2
    assert reviews.queue(Filter(level="dense", contains="short")) == []
    assert reviews.queue(Filter(below=0.5)) == []  # nothing is scored
    assert reviews.choices("level") == ["dense", "medium", "original", "short"]


def test_scores_below_a_number(made):
    reviews = Reviews(made[0], "ann")
    first, second, *_ = reviews.queue()
    reviews.captions[first]["clip_mean"], reviews.captions[second]["clip_mean"] = 0.2, 0.5
    assert reviews.queue(Filter(below=0.5)) == [first] and set(reviews.queue(Filter(below=0.6))) == {first, second}


def test_verdicts_win_at_training_time_and_undo_takes_them_back(made):
    dataset, shots, captions = made
    reviews, a0 = Reviews(dataset, "ann"), shots["a0"]
    before = trained_on(dataset, a0)
    name = captions["a0", "dense"]["caption_id"]
    edit = reviews.say([name], "edited", "  a person's own words ")
    assert trained_on(dataset, a0)["dense"] == "a person's own words"
    refusal = reviews.say([name], "rejected")
    assert "dense" not in trained_on(dataset, a0) and reviews.now(name).verdict == "rejected"
    _, left = reviews.undo(refusal)
    assert left == 0 and trained_on(dataset, a0)["dense"] == "a person's own words"
    assert reviews.now(name).verdict == "edited"
    assert reviews.undo(edit)[1] == 1 and reviews.now(name).verdict == "edited"  # something was said since
    reviews.undo(reviews.say([name], "accepted"))
    again = Reviews(dataset, "ben")
    assert again.now(name) == reviews.now(name) and again.now(name).text == "a person's own words"
    assert len(review_files(dataset)) == 5 and before["dense"] == "dense of a0"


def test_what_was_taken_back_is_as_if_it_had_never_been_said(made):
    dataset, shots, captions = made
    reviews, failed = Reviews(dataset, "ann"), captions["c0", "dense"]["caption_id"]
    before = captioned_rows(dataset)
    action = reviews.say([failed], "accepted")
    assert trained_on(dataset, shots["c0"])["dense"] == "dense of c0"
    done, left = reviews.undo(action)
    assert done is not None and left == 0 and captioned_rows(dataset) == before
    assert reviews.now(failed).verdict is None and failed in reviews.queue(Filter(unreviewed=True))
    assert reviews.say([failed], "accepted") and trained_on(dataset, shots["c0"])["dense"] == "dense of c0"


def test_rows_are_the_captions_tables_own_and_no_file_is_ever_changed(made):
    dataset, _, captions = made
    reviews, name = Reviews(dataset, "ann"), captions["a0", "short"]["caption_id"]
    first = reviews.say([name], "accepted").file
    bytes_then = first.read_bytes()
    reviews.say([name], "edited", "other words")
    files = review_files(dataset)
    assert len(files) == 2 and first.read_bytes() == bytes_then
    rows = [row for path in files for row in pq.read_table(path, schema=CAPTIONS).to_pylist()]
    assert [row["review_status"] for row in rows] == ["accepted", "edited"]
    assert rows[0]["parent_id"] == name and rows[1]["parent_id"] == rows[0]["caption_id"]
    assert all((row["backend"], row["model"]) == ("human", "ann") for row in rows)
    assert rows[0]["created_at"] < rows[1]["created_at"] and len({row["caption_id"] for row in rows}) == 2


def test_two_people_lose_nothing_and_see_each_other(made):
    dataset, _, _ = made
    people = [Reviews(dataset, name) for name in ("ann", "ben", "eve")]
    queue = people[0].queue()

    def work(who, names):
        for name in names:
            people[who].say([name], "accepted")

    threads = [threading.Thread(target=work, args=(who, queue[who::3])) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(review_files(dataset)) == len(queue)
    for person in people:
        person.refresh()
        assert person.counts()["accepted"] == len(queue) and person.queue(Filter(unreviewed=True)) == []
    assert {people[0].now(name).reviewer for name in queue} == {"ann", "ben", "eve"}


def test_the_later_word_counts_even_if_a_clock_is_wrong(made):
    dataset, _, captions = made
    caption = captions["a0", "medium"]
    add_review(dataset, review(caption, "rejected", minutes=10**7, by="from the future"))
    reviews = Reviews(dataset, "ann")
    name = caption["caption_id"]
    assert reviews.now(name).verdict == "rejected"
    action = reviews.say([name], "accepted")
    assert Reviews(dataset, "ben").now(name).verdict == "accepted"
    reviews.undo(action)
    assert Reviews(dataset, "ben").now(name).verdict == "rejected"


def test_undo_leaves_alone_what_another_said_since(made):
    dataset, _, _ = made
    ann, ben = Reviews(dataset, "ann"), Reviews(dataset, "ben")
    names = ann.queue()[:3]
    action = ann.say(names, "rejected")
    ben.say([names[1]], "edited", "ben knows better")
    done, left = ann.undo(action)
    assert left == 1 and len(done.before) == 2
    assert ann.now(names[1]).text == "ben knows better" and ann.now(names[0]).verdict is None


def test_many_at_once_are_one_file_and_one_undo(made):
    dataset, _, _ = made
    reviews = Reviews(dataset, "ann")
    names = reviews.queue(Filter(level="short"))
    action = reviews.say(names, "rejected")
    assert len(review_files(dataset)) == 1 and reviews.counts()["rejected"] == len(names) == 4
    assert not any("short" in row["captions_by_level"] for row in captioned_rows(dataset))
    reviews.undo(action)
    assert reviews.counts() == {"": 17, "accepted": 0, "rejected": 0, "edited": 0}


ACTIONS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["accepted", "rejected", "edited", "undo"]), st.integers(0, 2)),
    max_size=12,
)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS)
def test_any_order_of_actions_gives_everyone_and_training_the_same_state(made, actions):
    dataset, shots, captions = made
    shutil.rmtree(dataset / "reviews", ignore_errors=True)
    people, done = [Reviews(dataset, "ann"), Reviews(dataset, "ben")], ([], [])
    names = [captions["a0", level]["caption_id"] for level in ("short", "medium", "dense")]
    expected = {name: (None, people[0].now(name).text) for name in names}
    for step, (who, what, which) in enumerate(actions):
        if what == "undo":
            if done[who]:
                people[who].undo(done[who].pop())
                people[who].refresh()
                expected = {n: (people[who].now(n).verdict, people[who].now(n).text) for n in names}
            continue
        name = names[which]
        done[who].append(people[who].say([name], what, f"text {step}"))
        expected[name] = (what, f"text {step}" if what == "edited" else expected[name][1])
    for person in (*people, Reviews(dataset, "eve")):
        person.refresh()
        assert {n: (person.now(n).verdict, person.now(n).text) for n in names} == expected
    used = trained_on(dataset, shots["a0"])
    for level, name in zip(("short", "medium", "dense"), names):
        verdict, text = expected[name]
        assert used.get(level) == (None if verdict == "rejected" else text)


def test_impossible_reviews_are_refused(made, tmp_path):
    dataset, _, _ = made
    reviews = Reviews(dataset, "ann")
    first, second, *_ = reviews.queue()
    for names, text in (([first], " "), ([first, second], "words"), ([first], None)):
        with pytest.raises(ValueError, match="an edit is of one caption"):
            reviews.say(names, "edited", text)
    with pytest.raises(ValueError, match="no caption"):
        reviews.say([], "accepted")
    assert review_files(dataset) == []
    with pytest.raises(CaptionError, match="kinema caption dataset"):
        Reviews(tmp_path / "nothing", "ann")
    with pytest.raises(CaptionError, match="--reviewer"):
        Reviews(dataset, "  ")


# ---------------------------------------------------------------------------------------------------------- screen


@pytest.mark.parametrize("media", ["cut", "reference", "webdataset"])
def test_clips_of_every_kind_of_dataset_play(media, tmp_path):
    dataset, shots, _ = build(tmp_path, media=media)
    reviews = Reviews(dataset, "ann")
    previews = Previews(dataset, tmp_path / "previews")
    for name in ("a0", "c0"):
        path = previews.file(reviews.clips[shots[name]["clip_id"]])
        info = probe(path)
        assert (info.width, info.height, info.frames) == (64, 32, 12) and path.suffix == ".mp4"
        assert previews.file(reviews.clips[shots[name]["clip_id"]]) == path
    with pytest.raises(OSError, match="keeps no video"):
        previews.file(reviews.clips[shots["b1"]["clip_id"]])


def test_what_is_shown_is_escaped(made):
    dataset, shots, captions = made
    reviews = Reviews(dataset, "<b>ann</b>")
    name = captions["a0", "dense"]["caption_id"]
    reviews.say([name], "edited", "<script>alert(1)</script> & more")
    shown = captions_html(reviews, name)
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<b>ann" not in shown
    assert "was: dense of a0" in shown and shown.count("aria-current") == 1
    told = dict(describe(reviews.clips[shots["a0"]["clip_id"]]))
    assert told["picture"].startswith("64 × 32") and told["colours"] == "red"


@pytest.fixture
def page(made, tmp_path):
    dataset, _, _ = made
    reviews, folder = Reviews(dataset, "ann"), tmp_path / "previews"
    folder.mkdir()
    app = build_review(reviews, Previews(dataset, folder))
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options(dataset, folder))
    yield url, reviews
    app.close(verbose=False)
    gc.collect()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
def test_a_person_reviews_with_the_keyboard_alone(page, tmp_path):
    url, reviews = page
    queue = reviews.queue()
    browser = Browser(tmp_path / "profile")

    def press(key, *, code=0, modifiers=0):
        told = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": code}
        text = {} if modifiers or len(key) > 1 else {"text": key}
        browser.ask("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        browser.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def says(text, part="document.body.innerText"):
        browser.wait(f"({part} ?? '').includes({text!r})", seconds=40)

    browser.ask("Page.navigate", url=url)
    says("1 of 14")
    browser.wait("document.querySelector('#clip video')?.readyState >= 2")
    assert browser.run("document.querySelector('#clip video').videoWidth") == 64
    assert browser.run("document.querySelector('#text textarea').value") == reviews.now(queue[0]).text
    press("j")
    says("2 of 14")
    press("k")
    says("1 of 14")
    press("a")
    says("Accepted:")
    says("2 of 14")
    assert reviews.now(queue[0]).verdict == "accepted"
    press("r")
    says("3 of 14")
    assert reviews.now(queue[1]).verdict == "rejected"
    press("u")
    says("Took back 1")
    says("2 of 14")
    assert reviews.now(queue[1]).verdict is None
    press("e")
    browser.wait("document.activeElement === document.querySelector('#text textarea')")
    browser.ask("Input.insertText", text=" jar")  # letters are text now, not commands
    press("Enter", code=13, modifiers=2)
    says("Edited:")
    assert reviews.now(queue[1]).text == f"{reviews.captions[queue[1]]['text']} jar"
    assert browser.run("document.activeElement === document.querySelector('#text textarea')") is False

    # Another person's word appears without a key being pressed.
    other = Reviews(reviews.dataset, "ben")
    other.say([queue[2]], "rejected")
    says("rejected by ben", "document.querySelector('#captions').innerText")

    # Many by a filter: the count stands on the button, and one undo takes all back.
    browser.run("document.querySelector('#unreviewed input').click()")
    says("Accept all 11")
    browser.run("document.querySelector('#accept-all').click()")
    says("Accepted 11 captions")
    assert reviews.counts() == {"": 3, "accepted": 12, "rejected": 1, "edited": 1}
    press("u")
    says("Took back 11")
    assert reviews.counts()["accepted"] == 1
    if folder := os.environ.get("KINEMA_SCREENSHOTS"):
        picture = browser.ask("Page.captureScreenshot")["data"]
        (Path(folder) / "review.png").write_bytes(base64.b64decode(picture))
    elsewhere = [asked for asked in browser.requests if not asked.startswith((url, "data:", "blob:"))]
    assert elsewhere == []
    browser.close()


def test_the_command_says_where_the_screen_is(made, capsys, monkeypatch):
    import gradio

    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda self: None)
    screen.command(argparse.Namespace(dataset=made[0], reviewer="ann", port=None))
    printed = capsys.readouterr().out
    assert "17 captions, 17 unreviewed" in printed and "http://127.0.0.1:" in printed
    gc.collect()

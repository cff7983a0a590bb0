"""What people give: whose it is, and what is too much."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import httpx
import pytest
from PIL import Image

from kinema.studio.given import mark_of
from kinema.studio.jobs.job import JobError
from kinema.studio.models.model import Model
from kinema.studio.rest.access import Access
from kinema.studio.service import Limits, Studio
from kinema.studio.ui.one_video import is_there

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
MODEL = Model("m", height=32, width=32, num_frames=9, fps=8.0, steps=2)


def picture(color="red", side=32):
    file = io.BytesIO()
    Image.new("RGB", (side, side), color).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def whole(studio):
    whole = Studio(*studio, MODEL)
    yield whole
    whole.given.close()


def test_what_one_key_gave_is_nothing_to_another_that_knows_its_id(tmp_path, tiny_model):
    access = Access(["one", "two"])
    with served(tmp_path / "s", tiny_model, access=access) as (url, studio):
        one, two = (
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) for key in ("one", "two")
        )
        with one, two:
            asked = one.post("/v1/videos", data={"prompt": "a"}, files={"input_reference": ("a", picture())})
            name = studio.store.get(asked.json()["id"]).request["image"]
            never = f"/v1/uploads/{mark_of(access.name_of('one') or '')}{24 * '0'}"
            missing = two.get(never).json()["error"]["message"].replace(never.rpartition("/")[2], name)
            assert one.get(f"/v1/uploads/{name}").status_code == 200
            cards = [{"at": 0, "text": "a", "image": name}]
            for refused in (
                two.get(f"/v1/uploads/{name}"),
                two.post("/v1/videos", json={"prompt": "a", "input_reference": {"id": name}}),
                two.post("/v1/videos", json={"storyboard": cards}),
                two.post("/v1/videos/edits", json={"prompt": "a", "video": {"id": name}}),
            ):
                error = refused.json()["error"]
                assert (refused.status_code, error["code"]) == (404, "not_found") and error["message"].endswith(
                    missing
                )
            again = one.post("/v1/videos", json={"prompt": "a", "input_reference": {"id": name}})
            assert again.status_code == 200
            shared = SimpleNamespace(studio=studio)
            for key, there in (("one", True), ("two", False)):  # of what restores the settings of a file
                assert is_there(shared, access.owner({"authorization": f"Bearer {key}"}, {}), name) is there
            assert is_there(shared, Access().owner({}, {}), name)  # without keys everybody sees all


def test_only_who_gave_a_file_has_something_made_from_it(whole):
    name = whole.upload(io.BytesIO(picture()), "one")
    owners = [Access(["k"]).owner({"authorization": "Bearer k"}, {}), Access().owner({}, {})]
    for ask in (whole.submit, whole.foresee):
        with pytest.raises(JobError, match=f"no upload '{name}'") as refused:
            ask({"prompt": "a", "image": name}, owner=owners[0].name, sees=owners[0].sees)
        assert refused.value.code == "not_found"
        ask({"prompt": "a", "image": name}, owner=owners[1].name, sees=owners[1].sees)


def video(frames, side=32):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = side
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame(side, side, "yuv420p")))
        container.mux(stream.encode())
    return file.getvalue()


def test_what_lasts_too_long_or_has_too_many_pixels_is_refused_in_words_that_fit(tmp_path, tiny_model):
    limits = Limits(upload_seconds=2, upload_pixels=64 * 64)
    with served(tmp_path / "s", tiny_model, limits=limits) as (url, studio):

        def give(content):
            return httpx.post(f"{url}/v1/videos/edits", data={"prompt": "a"}, files={"video": ("a", content)})

        for content, said in (
            (video(24), "the file lasts 3 s, and at most 2 s are taken here"),
            (video(8, 80), "the file has 80 x 80 pixels, more than are taken here"),
            (picture(side=80), "80 x 80 pixels are more than are taken here"),
        ):
            answer = give(content)
            assert answer.status_code == 400 and answer.json()["error"]["code"] == "input_not_usable"
            assert said in answer.json()["error"]["message"] and "ingest" not in answer.text
            assert not list((studio.shelf.folder / "uploads").iterdir())
        for content in (video(16, 64), picture(side=64)):
            assert give(content).status_code == 200


def test_why_a_request_is_refused_is_told_even_if_tidying_up_fails(tmp_path, tiny_model, monkeypatch, caplog):
    with served(tmp_path / "s", tiny_model) as (url, studio):
        monkeypatch.setattr(studio.given, "undo", lambda fresh: 1 / 0)
        files = [("storyboard[0][image]", ("a", picture())), ("storyboard[1][image]", ("a", b"no picture"))]
        cards = json.dumps([{"at": 0, "text": "a"}, {"at": 1, "text": "a"}])
        answer = httpx.post(f"{url}/v1/videos", data={"storyboard": cards}, files=files)
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "input_not_usable"
        assert "ZeroDivisionError" in caplog.text

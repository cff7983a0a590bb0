"""What people give: whose it is, and what is too much."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from PIL import Image

from kinema.studio.given import mark_of
from kinema.studio.jobs.job import JobError
from kinema.studio.models.model import Model
from kinema.studio.rest.access import Access
from kinema.studio.service import Studio
from kinema.studio.ui.one_video import is_there

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
MODEL = Model("m", height=32, width=32, num_frames=9, fps=8.0, steps=2)


def picture(color="red"):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(file, format="PNG")
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

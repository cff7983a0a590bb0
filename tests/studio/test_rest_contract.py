"""The OpenAPI file, and whether the API keeps to it."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from kinema.studio.jobs.claims import claim, complete, fail, report
from kinema.studio.jobs.job import ERRORS
from kinema.studio.jobs.wish import HEEDED, read_wish
from kinema.studio.rest.contract import text
from kinema.studio.rest.errors import OTHERS, STATUS
from kinema.studio.rest.objects import EXTENSIONS, KNOWN, fields_of
from kinema.studio.rest.schema import CreateVideo, EditVideo, Error, ModelList, Video, VideoList

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
RESULT = {"width": 32, "height": 32, "num_frames": 9, "fps": 8.0, "seconds": 1.125, "seed": 7,
          "num_inference_steps": 2, "guidance_scale": 4.0, "warnings": ["short"],
          "applied": {"provenance": True, "mark": None, "c2pa": None, "problems": []}}  # fmt: skip
REMAKE = "python -m kinema.studio.rest.contract > docs/openapi.json"


def test_the_file_is_the_contract():
    kept = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert json.loads(kept) == json.loads(text()), f"write it anew: {REMAKE}"


def test_the_contract_holds_together():
    told = json.loads(text())
    parts = told["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text()))
    assert named <= set(parts) and set(parts) - named == set()
    for methods in told["paths"].values():
        for operation in methods.values():
            assert operation["description"] and "422" not in operation["responses"]
            answers = operation["responses"]["200"]["content"]
            assert all(content.get("schema") for content in answers.values())
    assert set(CreateVideo.model_fields) == set(KNOWN)
    some = {name for names in HEEDED.values() for name in names}
    for task in EXTENSIONS:
        assert some.intersection(fields_of(task, "video" if task != "generate" else None)) <= set(HEEDED[task])
    assert "binary" in json.dumps(parts["CreateVideoForm"]) and "binary" not in json.dumps(parts["CreateVideo"])
    assert set(parts["ErrorDetail"]["properties"]["code"]["enum"]) == {*STATUS, *OTHERS} >= set(ERRORS) - {
        "out_of_memory", "worker_lost"
    }  # fmt: skip


@pytest.mark.parametrize("values", [{"prompt": "a", "seed": -1}, {"prompt": "a", "fps": 0}, {"width": 5000}])
def test_the_limits_told_are_those_kept(values):
    for model in (CreateVideo, EditVideo):
        with pytest.raises(ValidationError):
            model.model_validate({"video": "video_" + 32 * "0"} | values)
    with pytest.raises(Exception, match=next(reversed(values))):
        read_wish(values)


def test_answers_are_as_told(tmp_path, tiny_model):
    with served(tmp_path / "s", tiny_model) as (url, studio):

        def seen(job):
            answer = httpx.get(f"{url}/v1/videos/{job.id}").json()
            assert set(answer) <= set(Video.model_fields)
            return Video.model_validate(answer, strict=True)

        def begun():
            studio.store.add("generate", {"prompt": "a red car"}, request_id="req_1")
            return claim(studio.store, "w")

        waiting = studio.store.add("generate", {"prompt": "a red car", "seconds": 2})
        assert seen(waiting).seconds == "2" and seen(waiting).request_id is None
        studio.store.stop(waiting.id)
        assert seen(waiting).status == "cancelled"
        job = begun()
        report(studio.store, job, "denoising", 0.5, seconds_left=1.5, preview=2)
        studio.shelf.growing(job.id).touch()
        making = seen(job)
        assert (making.progress, making.stage, making.seconds_left) == (50, "denoising", 1.5)
        assert making.preview.endswith("=2") and making.stream.endswith("/stream")
        complete(studio.store, job, RESULT)
        made = seen(job)
        assert made.applied is not None and made.applied.provenance and made.warnings == ["short"]
        assert (made.seconds, made.size, made.stream, made.request_id) == ("1.125", "32x32", "", "req_1")
        broken = fail(studio.store, begun(), "out_of_memory", "no room")
        error = seen(broken).error
        assert error is not None and error.code == "out_of_memory"
        old = studio.store.add("remix", {"prompt": "of an older Kinema", "what it had then": 1})
        assert seen(old).prompt == "of an older Kinema"
        page = httpx.get(f"{url}/v1/videos", params={"limit": 2}).json()
        assert VideoList.model_validate(page, strict=True).has_more and set(page) == set(VideoList.model_fields)
        models = httpx.get(f"{url}/v1/models").json()
        (model,) = ModelList.model_validate(models, strict=True).data
        assert httpx.get(f"{url}/v1/models/{model.id}").json() == models["data"][0]
        for path in ("/v1/models/sora-2", "/v1/videos/x", "/v1/x", "/v1/videos?limit=0"):
            Error.model_validate(httpx.get(url + path).json(), strict=True)
        assert httpx.get(f"{url}/openapi.json").json() == json.loads(text())
        docs = httpx.get(f"{url}/docs").text
        for shown in ("POST /v1/videos", "guidance_scale", "openai-poll-after-ms", "text/event-stream"):
            assert shown in docs
        assert not Outside(docs).found


class Outside(HTMLParser):
    """What a page would load or lead to elsewhere, and links to nothing."""

    def __init__(self, page):
        super().__init__()
        self.found, self.ids, self.links = [], set(), set()
        self.feed(page)
        self.found += sorted(self.links - self.ids)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if tag == "script" or (name in ("src", "href", "action") and "://" in value):
                self.found.append(value)
            if name == "href" and value.startswith("#"):
                self.links.add(value[1:])
            if name == "id":
                self.ids.add(value)

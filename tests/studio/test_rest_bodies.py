"""Whatever is sent, the API answers in its own way."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kinema.studio.models.model import Model
from kinema.studio.rest.access import Access
from kinema.studio.rest.api import build_api
from kinema.studio.rest.bodies import unbracketed
from kinema.studio.rest.objects import KNOWN
from kinema.studio.rest.schema import Error, Video
from kinema.studio.service import Studio

openai = pytest.importorskip("openai", reason="pip install 'kinema[test]' brings it")

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
WORDS = st.text("abcdefgh_", min_size=1, max_size=5)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
WRITER = openai.OpenAI(api_key="none").qs
ROUTES = ("", "/edits", "/extensions", f"/video_{32 * '0'}/remix", "/x/cancel")


@pytest.fixture
def client(studio):
    studio[0].db.execute("PRAGMA synchronous = OFF")
    app = build_api(Studio(*studio, Model("m", height=32, width=32, num_frames=9, fps=8.0, steps=2)), Access())
    with TestClient(app) as client:
        yield client


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(ROUTES), body=st.dictionaries(st.sampled_from([*KNOWN, "video"]) | WORDS, VALUES))
def test_any_json_makes_a_video_or_is_refused_in_shape(client, route, body):
    sent = json.dumps({"prompt": "a red car"} | body)
    answer = client.post(f"/v1/videos{route}", content=sent, headers={"Content-Type": "application/json"})
    if answer.status_code == 200:
        Video.model_validate(answer.json(), strict=True)
    else:
        assert 400 <= answer.status_code < 500
        Error.model_validate(answer.json(), strict=True)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.dictionaries(st.text("ab[]01", max_size=8) | st.sampled_from(KNOWN), TEXTS, max_size=6))
def test_any_form_makes_a_video_or_is_refused_in_shape(client, fields):
    answer = client.post(
        "/v1/videos", data={"prompt": "a red car"} | fields, files={"x": b""} if not fields else {}
    )
    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    (Video if answer.status_code == 200 else Error).model_validate(answer.json(), strict=True)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        WORDS,
        TEXTS
        | st.lists(TEXTS, min_size=1)
        | st.dictionaries(WORDS, TEXTS, min_size=1)
        | st.lists(WORDS, min_size=1, unique=True).flatmap(
            lambda names: st.lists(st.fixed_dictionaries({name: TEXTS for name in names}), min_size=1, max_size=4)
        ),
    )
)
def test_what_the_client_writes_is_read_as_it_was_meant(body):
    assert unbracketed(WRITER.stringify_items(body, array_format="brackets")) == body


@pytest.mark.parametrize("number", ["²", "٣", "9" * 5000])
def test_what_is_no_index_is_a_name(client, number):
    assert unbracketed([(f"storyboard[{number}][text]", "a")]) == {"storyboard": {number: {"text": "a"}}}
    assert client.post("/v1/videos", data={f"storyboard[{number}][text]": "a"}).status_code == 400

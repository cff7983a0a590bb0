"""Keys, the sessions they are exchanged for, and how often each may ask."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kinema.studio.jobs.job import Job, JobError
from kinema.studio.models.model import Model
from kinema.studio.rest import access as module
from kinema.studio.rest.access import COOKIE, WINDOW, Access, TooOftenError
from kinema.studio.rest.api import build_api
from kinema.studio.rest.guard import add_guard
from kinema.studio.rest.login import login
from kinema.studio.service import Studio

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
KEYS = ("first key", "second key")


def asked(access, key=None, cookie=None):
    headers = httpx.Headers({} if key is None else {"Authorization": f"Bearer {key}"})
    return access.owner(headers, {} if cookie is None else {COOKIE: cookie})


def test_owners_see_their_own_and_without_keys_everybody_sees_all():
    access = Access(KEYS)
    first, second = (asked(access, key) for key in KEYS)
    mine = Job("video_1", "generate", {}, "queued", 0.0, 0.0, owner=first.name)
    assert first.sees(mine) and not second.sees(mine)
    assert first.listed == first.name and all(key not in first.name for key in KEYS)
    anybody = asked(Access())
    assert anybody.sees(mine) and anybody.listed is None and anybody.name == ""


@given(st.text(max_size=30))
def test_only_the_very_keys_open(text):
    access = Access(KEYS)
    assert (access.name_of(text) is not None) == (text in KEYS)
    with pytest.raises(JobError, match="key"):
        access.owner({"authorization": f"Bearer x{text}"}, {})
    with pytest.raises(JobError, match="needed"):
        access.owner({}, {COOKIE: text})


def test_a_session_is_its_keys_as_long_as_the_key_is_taken_and_not_for_ever(monkeypatch):
    access = Access(KEYS, secret="s")
    name = asked(access, KEYS[0]).name
    cookie = access.session(name)
    assert asked(access, cookie=cookie).name == name and KEYS[0] not in cookie
    assert asked(Access(KEYS, secret="s"), cookie=cookie).name == name  # after a restart
    for other in (Access(KEYS, secret="t"), Access(KEYS[1:], secret="s")):
        with pytest.raises(JobError, match="needed"):
            asked(other, cookie=cookie)
    for forged in (cookie[:-1], cookie + "x", f'"{name}"', access.session("somebody")):
        with pytest.raises(JobError, match="needed"):
            asked(access, cookie=forged)
    with pytest.raises(JobError, match="wrong"):
        asked(access, "wrong", cookie)  # a wrong key is not made good by a session
    monkeypatch.setattr(module, "SESSION_SECONDS", -1)
    with pytest.raises(JobError, match="needed"):
        asked(access, cookie=cookie)


def test_each_key_may_ask_so_often_and_again_later(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    access = Access(KEYS, per_minute=2)
    first, second = (asked(access, key) for key in KEYS)
    for at in (0.0, 10.0):
        now[0] = at
        first.may_ask()
    with pytest.raises(TooOftenError) as often:
        first.may_ask()
    assert often.value.seconds == WINDOW - 10.0
    second.may_ask()
    now[0] = WINDOW
    first.may_ask()
    with pytest.raises(TooOftenError):
        first.may_ask()


def test_the_door_takes_a_key_and_gives_a_cookie_that_scripts_and_other_pages_do_not_have(studio):
    parts = Studio(*studio, Model("m", height=32, width=32, num_frames=9, fps=8.0, steps=2))
    app = build_api(parts, Access(KEYS), lambda: "no such file: /secret/model")
    app.include_router(login)
    add_guard(app)
    with TestClient(app, base_url="http://localhost:7860", follow_redirects=False) as browser:
        assert browser.get("/v1/videos").status_code == 401
        assert "secret" not in browser.get("/readyz").text
        assert browser.post("/login", data={"key": "wrong"}).status_code == 401
        from_elsewhere = {"Origin": "https://evil.example"}
        assert browser.post("/login", data={"key": KEYS[0]}, headers=from_elsewhere).status_code == 403
        assert not browser.cookies
        answer = browser.post("/login", data={"key": KEYS[0]}, headers={"Origin": "http://localhost:7860"})
        assert answer.status_code == 303
        told = answer.headers["set-cookie"].lower()
        assert "httponly" in told and "samesite=strict" in told and KEYS[0] not in told
        assert browser.get("/v1/models/x").status_code != 401
        assert "secret" in browser.get("/readyz").text  # now it is told in full
        browser.post("/logout")
        assert browser.get("/v1/videos").status_code == 401


@pytest.mark.parametrize("said", ["Bearer first key", "bearer first key", "BEARER  first key "])
def test_the_scheme_may_have_any_case(said):
    assert Access(KEYS).owner({"authorization": said}, {}).name


@pytest.mark.parametrize("said", ["Basic first key", "first key", "Bearer", ""])
def test_only_a_bearer_has_a_key(said):
    with pytest.raises(JobError, match="an API key is needed"):
        Access(["first key", "key"]).owner({"authorization": said}, {})


def test_other_credentials_leave_a_session_alone():
    access = Access(KEYS)
    name = access.name_of(KEYS[0])
    assert access.owner({"authorization": "Basic eDp5"}, {COOKIE: access.session(name)}).name == name

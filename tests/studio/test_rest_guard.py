"""What other people's pages can do to a server: nothing, unless their origin was allowed."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from kinema.studio.rest.guard import add_guard, name_of

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
FRIEND = "https://friend.example"


def guarded(hosts=(), origins=()):
    app = FastAPI()
    changed = []

    @app.get("/look")
    def look():
        return PlainTextResponse("seen", headers={"Access-Control-Allow-Origin": "*"})

    @app.post("/change")
    def change():
        changed.append(1)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket):
        await websocket.accept()
        await websocket.close()

    add_guard(app, hosts, origins)
    return TestClient(app, base_url="http://127.0.0.1:7860"), changed


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost", True), ("LOCALHOST:7860", True), ("app.localhost:80", True), ("127.0.0.1:7860", True),
        ("[::1]:7860", True), ("[::1]", True), ("192.168.1.5:7860", True), ("films.example.org", True),
        ("a.wide.example:7860", True), ("wide.example", False), ("evil.example:7860", False), ("", False),
        ("127.0.0.1.evil.example", False), ("localhost.evil.example", False), ("evil.example#localhost", False),
        ("evilwide.example", False), ("127.0.0.1@evil.example", False),
    ],
)  # fmt: skip
def test_only_our_names_are_answered(host, answered):
    client, _ = guarded(["films.example.org", "*.wide.example"])
    answer = client.get("/look", headers={"Host": host})
    assert (answer.status_code == 200) == answered
    if not answered:
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "host_not_allowed"
    assert guarded(["*"])[0].get("/look", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        (None, "127.0.0.1:7860", True), ("http://127.0.0.1:7860", "127.0.0.1:7860", True),
        ("https://films.example.org", "films.example.org", True), (FRIEND, "127.0.0.1:7860", True),
        ("https://films.example.org", "films.example.org:443", True), ("http://[::1]:7860", "[::1]:7860", True),
        ("http://[::1]", "[::1]", True), ("null", "127.0.0.1:7860", False), ("", "127.0.0.1:7860", False),
        ("http://127.0.0.1:8000", "127.0.0.1:7860", False), ("http://localhost:7860", "127.0.0.1:7860", False),
        ("https://evil.example", "127.0.0.1:7860", False), ("file://", "127.0.0.1:7860", False),
        ("http://friend.example", "127.0.0.1:7860", False),
        ("https://friend.example.evil.example", "[::1]", False),
    ],
)  # fmt: skip
def test_only_our_own_pages_and_friends_change_anything(origin, host, may):
    client, changed = guarded(["films.example.org"], [FRIEND])
    headers = {"Host": host} | ({} if origin is None else {"Origin": origin})
    assert client.post("/change", headers=headers).status_code == (200 if may else 403)
    assert bool(changed) == may
    try:
        with client.websocket_connect("/socket", headers=headers):
            connected = True
    except WebSocketDisconnect:
        connected = False
    assert connected == may
    if host.startswith("127") and origin:
        assert client.get("/look", headers=headers).status_code == 200  # but the page does not see it:


def test_answers_are_for_friends_only():
    client, _ = guarded(origins=[FRIEND])
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin in ("https://evil.example", "null"):
        seen = client.get("/look", headers={"Origin": origin})
        before = client.options("/change", headers={"Origin": origin} | asks)
        for answer in (seen, before):
            assert not [name for name in answer.headers if name.startswith("access-control")]
    seen = client.get("/look", headers={"Origin": FRIEND})
    assert seen.headers["access-control-allow-origin"] == FRIEND and "Origin" in seen.headers["vary"]
    before = client.options("/change", headers={"Origin": FRIEND} | asks)
    assert before.headers["access-control-allow-origin"] == FRIEND
    assert before.headers["access-control-allow-headers"] == "authorization" and not before.content
    assert "access-control-allow-credentials" not in before.headers


def test_pages_are_not_framed_nor_guessed_at():
    client, _ = guarded()
    headers: httpx.Headers = client.get("/look").headers
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
    assert headers["content-security-policy"].endswith("frame-ancestors 'self'")
    friends = guarded(origins=[FRIEND])[0].get("/look").headers["content-security-policy"]
    assert friends.endswith(f"frame-ancestors 'self' {FRIEND}")


def test_names_are_found_in_hosts():
    for host, name in (("a:1", "a"), ("a", "a"), ("[::1]:1", "::1"), ("::1", "::1"), ("", "")):
        assert name_of(host) == name

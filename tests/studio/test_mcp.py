"""Language models at /mcp, with the real client over HTTP: they make, wait, find and cancel, each with its key."""

import asyncio
import contextlib
import json
import logging
import socket
import sys
import threading
import time
import typing
from types import SimpleNamespace

import pytest
import uvicorn

pytest.importorskip("mcp", reason="pip install 'kinema[mcp]' brings it")
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from kinema.pipeline.command import load
from kinema.studio import mcp_server
from kinema.studio.making.worker import work
from kinema.studio.models.model import read_model
from kinema.studio.rest.access import Access
from kinema.studio.rest.api import build_api
from kinema.studio.service import Limits, Studio
from kinema.studio.serving import Served, ServeError, Serving

KEYS = ("one", "two")
pytestmark = [
    # The client leaves its streams to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return load(str(tiny_model), device="cpu", quiet=True)


@pytest.fixture
def url(studio, pipe, tiny_model):
    """A server with keys, and a worker in a thread."""
    store, shelf = studio
    whole = Studio(store, shelf, read_model(str(tiny_model)), Limits(waiting=5))
    access, nothing = Access(KEYS), typing.cast(typing.Any, SimpleNamespace())
    app = build_api(whole, access)
    before = logging.getLogger().handlers[:], logging.getLogger().level
    mcp_server.add_mcp(app, Served(Serving(shelf.folder, keys=KEYS), whole, nothing, nothing, access))
    assert before == (logging.getLogger().handlers, logging.getLogger().level)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server, stopped = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error")), threading.Event()
    threads = [
        threading.Thread(target=server.run),
        threading.Thread(target=work, args=(store, shelf, pipe, "w", stopped)),
    ]
    for thread in threads:
        thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    stopped.set()
    for thread in threads:
        thread.join()
    whole.close()


@contextlib.asynccontextmanager
async def client_of(url, key="one"):
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(f"{url}mcp", http_client=http)) as client,
    ):
        yield client


async def call(client, tool, **arguments):
    """The answer, and the links in it."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content, [each for each in result.content if each.type == "resource_link"]


async def refused(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text


async def a_day(url):
    async with client_of(url) as client:
        assert "make_video" in client.instructions and "32 x 32" in client.instructions
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"make_video", "video_status", "list_videos", "cancel_video"}
        assert "ctx" not in str(tools["make_video"].input_schema)
        made, links = await call(client, "make_video", prompt="a red ball", seed=3)
        assert made["status"] in ("queued", "in_progress", "completed")
        done, links = await call(client, "video_status", video_id=made["id"], wait=50)
        assert (done["status"], done["seed"]) == ("completed", 3)
        async with httpx2.AsyncClient() as http:
            assert (await http.get(str(links[0].uri))).status_code == 401
            file = await http.get(str(links[0].uri), headers={"Authorization": "Bearer one"})
        assert links[0].mime_type == file.headers["content-type"] == "video/mp4"
        assert "same API key" in links[0].description and file.content[4:8] == b"ftyp"
        longer, _ = await call(
            client, "make_video", prompt="it rolls on", task="extend", from_video=made["id"], seconds=1
        )
        assert longer["remixed_from_video_id"] == made["id"]
        found, _ = await call(client, "list_videos", contains="red")
        assert [video["id"] for video in found["videos"]] == [made["id"]]
        last, _ = await call(client, "make_video", prompt="a cone", seconds=60)
        stopped, _ = await call(client, "cancel_video", video_id=last["id"])
        stopped, _ = await call(client, "video_status", video_id=last["id"], wait=50)
        assert stopped["status"] == "cancelled"
        assert "describe a video first" in await refused(client, "make_video", prompt=" ")
        assert "are made here" in await refused(client, "make_video", prompt="a ball", seconds=3000)
        return made["id"]


async def a_stranger(url, video_id):
    async with client_of(url, "two") as client:
        assert (await call(client, "list_videos"))[0] == {"videos": []}
        for tool in ("video_status", "cancel_video"):
            assert "there is no video" in await refused(client, tool, video_id=video_id)
        wish = {"prompt": "mine", "task": "remix", "from_video": video_id}
        assert "there is no video" in await refused(client, "make_video", **wish)
    async with httpx2.AsyncClient() as http:
        for headers in ({}, {"Authorization": "Bearer three"}):
            answer = await http.post(f"{url}mcp", json={}, headers=headers)
            assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"


def test_models_make_videos_with_the_real_client(url):
    video_id = asyncio.run(a_day(url))
    asyncio.run(a_stranger(url, video_id))


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    nothing: typing.Any = None
    with pytest.raises(ServeError, match=r"pip install 'kinema\[mcp\]'"):
        mcp_server.add_mcp(nothing, nothing)

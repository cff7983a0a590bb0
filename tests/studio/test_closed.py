"""Gradio asks no address that a client names."""

import asyncio

import pytest
from fastapi import HTTPException

from kinema.studio.ui.closed import REFUSED, close_downloads

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Gradio leaves sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ADDRESS = "http://example.com/a.png"
NAMES = ("async_ssrf_protected_get", "async_ssrf_protected_download", "ssrf_protected_download",
         "save_url_to_cache", "unsafe_download")  # fmt: skip


@pytest.fixture
def gradio(monkeypatch):
    import gradio
    from gradio import processing_utils, routes

    async def asked(*_, **__):
        raise AssertionError("an address was asked")

    for name in NAMES:
        monkeypatch.setattr(processing_utils, name, getattr(processing_utils, name))  # as before, afterwards
    monkeypatch.setattr(routes, "secure_url_stream_response", routes.secure_url_stream_response)
    monkeypatch.setattr(processing_utils.sh, "get", asked)
    monkeypatch.setattr("safehttpx.async_validate_url", asked)
    close_downloads()
    return gradio


def test_a_file_is_never_an_address(gradio):
    from gradio import processing_utils

    block, file = gradio.Image(render=False), {"path": ADDRESS, "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(gradio.Error, match=REFUSED):
        asyncio.run(processing_utils.async_move_files_to_cache([file], block, check_in_upload_folder=True))
    with pytest.raises(gradio.Error, match=REFUSED):
        processing_utils.move_files_to_cache([file], block, check_in_upload_folder=True)


def test_no_address_is_passed_on(gradio):
    with pytest.raises(HTTPException, match=REFUSED) as refused:
        asyncio.run(gradio.routes.secure_url_stream_response(ADDRESS, None))
    assert refused.value.status_code == 403

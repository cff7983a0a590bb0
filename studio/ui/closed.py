"""Gradio downloads any address that a client names as a file, or passes it on; here it does neither."""

from typing import Any, NoReturn

REFUSED = "a file is given by uploading it, not by an address"


def close_downloads() -> None:
    """Let Gradio refuse addresses in place of files, in this whole process."""
    from fastapi import HTTPException
    from gradio import processing_utils, routes
    from gradio.exceptions import Error

    def refuse(*_: object, **__: object) -> NoReturn:
        raise Error(REFUSED, print_exception=False)

    async def refuse_async(*_: object, **__: object) -> NoReturn:
        refuse()

    async def refuse_route(*_: object, **__: object) -> NoReturn:
        raise HTTPException(403, REFUSED)

    # Gradio looks these names up whenever it calls them; "save_url_to_cache" is another name of the third.
    closed = {
        "async_ssrf_protected_get": refuse_async, "async_ssrf_protected_download": refuse_async,
        "ssrf_protected_download": refuse, "save_url_to_cache": refuse, "unsafe_download": refuse,
    }  # fmt: skip
    places: list[tuple[Any, str, Any]] = [(processing_utils, name, instead) for name, instead in closed.items()]
    places.append((routes, "secure_url_stream_response", refuse_route))  # of GET /gradio_api/file=http://...
    for module, name, instead in places:
        getattr(module, name)  # of a Gradio that calls it otherwise nothing would be closed
        setattr(module, name, instead)

"""The door of the pages: an API key is exchanged for a cookie, so that players and pictures need no header."""

import html
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..jobs.job import JobError, is_id
from .access import COOKIE, SESSION_SECONDS, Access

login = APIRouter(include_in_schema=False)

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Kinema: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{font: 1rem/1.5 system-ui, sans-serif; max-width: 24rem; margin: 15vh auto; padding: 0 1rem; color: #292524;
background: #fafaf9}}
input, button {{font: inherit; width: 100%; box-sizing: border-box; padding: .6rem; margin: .4rem 0 1rem}}
button {{background: #b45309; color: #fff; border: 0; border-radius: .4rem; cursor: pointer}}
[role=alert] {{border-left: .25rem solid #b91c1c; padding-left: .6rem}}
@media (prefers-color-scheme: dark) {{body {{background: #1c1917; color: #f5f5f4}}}}
</style></head><body><main><h1>Kinema</h1>{said}<form method="post" action="login">{video}
<label>API key<input name="key" type="password" autocomplete="current-password" required autofocus></label>
<button>Log in</button></form></main></body></html>"""


@login.get("/login")
def ask(video: str = "") -> HTMLResponse:
    """The form; it leads on to the video that somebody's link names."""
    return HTMLResponse(_page("", video))


@login.post("/login")
def take(
    request: Request, key: Annotated[str, Form(max_length=1000)], video: Annotated[str, Form()] = ""
) -> Response:
    """A session for a key."""
    access: Access = request.app.state.access
    name = access.name_of(key.strip())
    if name is None:
        said = "This key is not taken here. Ask whoever runs this server."
        return HTMLResponse(_page(f"<p role=alert>{html.escape(said)}</p>", video), 401)
    on = f"/?video={video}" if is_id(video) else "/"
    answer = RedirectResponse(request.scope.get("root_path", "") + on, 303)
    answer.set_cookie(
        COOKIE, access.session(name), max_age=SESSION_SECONDS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@login.post("/logout")
def leave() -> Response:
    """End a session."""
    answer = RedirectResponse("login", 303)
    answer.delete_cookie(COOKIE)
    return answer


def _page(said: str, video: str) -> str:
    hidden = f'<input type="hidden" name="video" value="{video}">' if is_id(video) else ""
    return PAGE.format(said=said, video=hidden)


class Door:
    """Middleware that leads people without a session from the pages to the login.

    Args:
        app: what is behind it.
        access: knows who may.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the pages, or let them."""
        app = self.app
        if scope["type"] == "http" and scope["path"] == "/":
            request = Request(scope)
            if user_of(self.access, request) is None:
                query = f"?{request.url.query}" if request.url.query else ""
                app = RedirectResponse(f"login{query}", 303)
        await app(scope, receive, send)


def user_of(access: Access, request: Request) -> str | None:
    """Who looks at the page, for Gradio; None: nobody who may."""
    try:
        return access.owner(request.headers, request.cookies).name or "anyone"
    except JobError:
        return None

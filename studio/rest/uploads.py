"""What somebody uploaded, for the players of the pages. Its id is known to nobody else and cannot be guessed."""

from fastapi import APIRouter
from fastapi.responses import FileResponse

from .access import Asker
from .routes import Served

uploads = APIRouter(include_in_schema=False)
TYPES = {".png": "image/png", ".gif": "image/gif"}  # all others are played as videos, whatever they are


@uploads.get("/v1/uploads/{upload_id}")
def upload(upload_id: str, studio: Served, asker: Asker) -> FileResponse:
    """The file, with Range and ETag."""
    path = studio.shelf.upload(upload_id)
    return FileResponse(
        path, media_type=TYPES.get(path.suffix, "video/mp4"),
        headers={"X-Content-Type-Options": "nosniff", "Content-Disposition": "inline"},
    )  # fmt: skip

"""What somebody uploaded, for the players of their pages."""

from fastapi import APIRouter
from fastapi.responses import FileResponse

from ..jobs.job import NoUploadError
from .access import Asker
from .routes import Served

uploads = APIRouter(include_in_schema=False)
TYPES = {".png": "image/png", ".gif": "image/gif"}  # all others are played as videos, whatever they are


@uploads.get("/v1/uploads/{upload_id}")
def upload(upload_id: str, studio: Served, asker: Asker) -> FileResponse:
    """The file, with Range and ETag."""
    if not asker.sees(upload_id):
        raise NoUploadError(upload_id)
    path = studio.shelf.upload(upload_id)
    return FileResponse(
        path, media_type=TYPES.get(path.suffix, "video/mp4"),
        headers={"X-Content-Type-Options": "nosniff", "Content-Disposition": "inline"},
    )  # fmt: skip

"""What the routes have in common."""

from typing import Annotated

from fastapi import Depends, Header, Request

from ..jobs.job import Job, NoJobError
from ..service import Studio
from .access import Owner

PREFIX = "/v1/videos"
KEY_ABOUT = "A second call with the same key and content is answered with the first one's video."
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255, description=KEY_ABOUT)]


def _studio(request: Request) -> Studio:
    return request.app.state.studio


Served = Annotated[Studio, Depends(_studio)]


def mine(studio: Studio, video_id: str, asker: Owner) -> Job:
    """A job that its asker may see.

    Raises:
        NoJobError: there is none.
    """
    job = studio.store.get(video_id)
    if not asker.sees(job):
        raise NoJobError(video_id)
    return job

"""What all screens share: the studio, who looks, and how one screen hands something to another."""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..jobs.job import Job, JobError, NoJobError
from ..rest.access import Owner
from ..service import Studio
from ..serving import Served

if TYPE_CHECKING:
    import gradio as gr

CREATE, EDIT, STORYBOARD, LIBRARY, CAPTIONS = "create", "edit", "storyboard", "library", "captions"  # ids of tabs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shared:
    """Parts of one page that every screen may use.

    To hand something on, a handler writes one of the states and chooses the tab: `gr.Tabs(selected=EDIT)`. The
    screen that wants it listens to the state's change.

    Attributes:
        served: the studio, its workers and its access.
        tabs: the screens.
        followed: id of the job that is watched, kept by the browser, so that a closed tab loses nothing.
        source: id of the video that Edit works on, and a number that makes each hand-over new: (id, number).
        settings: values of a `Wish` that Create takes over, and such a number: (values, number).
    """

    served: Served
    tabs: "gr.Tabs"
    followed: "gr.BrowserState"
    source: "gr.State"
    settings: "gr.State"

    @property
    def studio(self) -> Studio:
        """The studio."""
        return self.served.studio

    def owner(self, request: "gr.Request") -> Owner:
        """Who looks at the page.

        Raises:
            gr.Error: their session has ended.
        """
        with said():
            return self.served.access.owner(dict(request.headers), dict(request.cookies))

    def job(self, job_id: str | None, request: "gr.Request") -> Job | None:
        """A job that is shown to whoever looks; None: there is none, or it is somebody else's."""
        if not job_id:
            return None
        with contextlib.suppress(NoJobError):
            job = self.studio.store.get(job_id)
            return job if self.owner(request).sees(job) else None
        return None

    def submit(self, values: Mapping[str, Any], request: "gr.Request", parent: str | None = None) -> Job:
        """Queue a wish for whoever looks.

        Raises:
            gr.Error: it cannot be made; the page says why.
        """
        with said():
            owner = self.owner(request)
            owner.may_ask()
            return self.studio.submit(
                values, owner=owner.name, sees=owner.sees, parent=parent, request_id=f"req_{uuid.uuid4().hex}"
            )


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Let the page say what is wrong, in words; what nobody expected goes to the log under an id."""
    import gradio as gr

    try:
        yield
    except gr.Error:
        raise
    except JobError as error:
        text = str(error)
        raise gr.Error(text[:1].upper() + text[1:], duration=20, print_exception=False) from error
    except Exception as error:
        request_id = f"req_{uuid.uuid4().hex}"
        logger.exception("%s: a page failed", request_id)
        raise gr.Error(
            f"Something nobody expected went wrong; the server's log has it under {request_id}.", duration=30,
            print_exception=False,
        ) from error  # fmt: skip


def media_url(job: Job, variant: str = "video") -> str:
    """Where the page finds a file of a completed job, wherever the app is mounted."""
    return f"v1/videos/{job.id}/content?variant={variant}"


def preview_url(job: Job) -> str:
    """Where the page finds the newest preview of a job that is being made."""
    return f"v1/videos/{job.id}/preview?number={job.preview}"


Handler = Callable[..., Any]

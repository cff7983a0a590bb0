"""What the Library's buttons do, each as the parts of the page that it changes."""

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ...pipeline.provenance import Provenance, read_provenance
from ..jobs.job import Job, JobError, is_id
from ..restoring import Restored, of_job, of_provenance, read_file
from ..serving import Serving, is_loopback
from ..snippets import Place, as_cli, as_curl, as_python
from .cards import deleted_job
from .compare import compare_html
from .live import seen_job
from .one_video import is_there
from .shared import CREATE, EDIT, LIBRARY, Shared

OUTPUTS = ("video", "grid", "pair", "copy", "python", "cli", "curl", "notes", "told", "source", "settings", "tabs",
           "followed")  # fmt: skip
Changes = dict[str, Any]  # by `OUTPUTS`: new values of parts of the page


def told_html(text: str, notes: Iterable[str] = ()) -> str:
    """What the page says of what was done."""
    rows = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<div class="note">{html.escape(text)}{f"<ul>{rows}</ul>" if rows else ""}</div>' if text else ""


class Visit:
    """One press of a button.

    Args:
        shared, request: of the page, and of whoever presses.
        asked: what the grid shows.
        source, settings: as of `Shared`.
    """

    def __init__(
        self, shared: Shared, request: gr.Request, asked: Mapping[str, Any] | None, source: tuple[str, int],
        settings: tuple[dict, int],
    ) -> None:  # fmt: skip
        self.shared, self.request, self.asked = shared, request, dict(asked or {})
        self.source, self.settings = source, settings
        self.owner = shared.owner(request)

    def press(self, act: str, name: str) -> Changes:
        """Do what a button says.

        Args:
            act: its `data-act`.
            name: a job's id, or "".

        Raises:
            JobError: it cannot be done.
        """
        store = self.shared.studio.store
        match act:
            case "more":
                return {"grid": self._grid(pages=int(self.asked.get("pages") or 1) + 1)}
            case "close":
                return self._choose(None)
            case "undelete":
                if deleted_job(self.shared, self.owner, name) is None:
                    raise JobError("this video cannot be brought back any more; its hour is over", "not_found")
                return self._choose(store.undelete(name)) | {"told": told_html("It is back.")}
        job = seen_job(self.shared, self.owner, name)
        if job is None:
            raise JobError("this video was deleted, or is somebody else's", "not_found")
        match act:
            case "open":
                return self._choose(job)
            case "star" | "unstar":
                store.star(job.id, act == "star")
                return self._again()
            case "beside":
                return self._beside(job)
            case "edit":
                return {"source": (job.id, self.source[1] + 1), "tabs": gr.Tabs(selected=EDIT)}
            case "restore":
                return self._restore(of_job(job, self._is_there))
            case "again":
                return self._make_again(job)
            case "delete":
                store.delete(job.id)
                nothing = self._choose(None) if self.asked.get("chosen") == job.id else {}
                return nothing | {"grid": self._grid(chosen="", beside="", deleted=job.id), "told": ""}
        return {}

    def arrive(self, name: str) -> Changes:
        """Open the page on a video that a link names."""
        found = {"tabs": gr.Tabs(selected=LIBRARY)}
        job = seen_job(self.shared, self.owner, name) if is_id(name) else None
        if job is None:
            return found | {"video": {"id": name if is_id(name) else "this", "turn": 1}}
        return found | self._choose(job)

    def restore_file(self, path: str | Path) -> Changes:
        """Let Create take over the settings of a file.

        Raises:
            JobError: it does not say how it was made.
        """
        return self._restore(of_provenance(read_file(path), self.shared.studio.model, self._is_there))

    def _restore(self, restored: Restored) -> Changes:
        if restored.notes:
            gr.Warning(" ".join(map(html.escape, restored.notes)), duration=20, title="Settings restored, but:")
        told = told_html("Create has its settings now." if restored.notes else "", restored.notes)
        settings = restored.values, self.settings[1] + 1
        return {"settings": settings, "tabs": gr.Tabs(selected=CREATE), "told": told}

    def _make_again(self, job: Job) -> Changes:
        if job.status in ("failed", "cancelled"):
            self.owner.may_ask()
            queued = self.shared.studio.retry(job.id, self.owner.sees)
        else:
            seed = {"seed": job.result["seed"]} if job.result.get("seed") is not None else {}
            queued = self.shared.submit(dict(job.request) | seed, self.request, parent=job.parent)
        told = "It waits in the queue, below; it comes back here when it is made."
        return {"followed": queued.id, "told": told_html(told)} | self._again()

    def _choose(self, job: Job | None) -> Changes:
        """Show a video; None: none."""
        name = job.id if job is not None else ""
        changes: Changes = {
            "video": {"id": name, "turn": self._turn}, "grid": self._grid(chosen=name, beside=""), "pair": "",
            "copy": gr.Accordion(visible=job is not None),
        }  # fmt: skip
        return changes | (self._programs(job) if job is not None else {})

    def _beside(self, job: Job) -> Changes:
        chosen = seen_job(self.shared, self.owner, str(self.asked.get("chosen") or ""))
        if chosen is None or chosen.id == job.id or self.asked.get("beside") == job.id:
            return {"grid": self._grid(beside=""), "pair": ""}
        for each in (chosen, job):
            if each.status != "completed" or each.cleaned or each.result.get("num_frames", 0) < 2:
                raise JobError(
                    "only finished videos can be compared; one of the two has no frames to step through"
                )
        return {"grid": self._grid(beside=job.id), "pair": compare_html((chosen, job))}

    def _programs(self, job: Job) -> Changes:
        place, notes = self._place(job), []
        changes: Changes = {}
        for name, write in (("python", as_python), ("cli", as_cli), ("curl", as_curl)):
            snippet = write(job, place)
            changes[name] = gr.Textbox(snippet.text, visible=bool(snippet.text))
            notes += snippet.notes
        rows = "".join(f"<li>{html.escape(note)}</li>" for note in dict.fromkeys(notes))
        return changes | {"notes": f"<ul>{rows}</ul>" if rows else ""}

    def _place(self, job: Job) -> Place:
        serving, studio = self.shared.served.serving, self.shared.studio
        name, told = model_name(serving, studio.model.name)
        headers = self.request.headers
        url = getattr(self.request.request, "url", None)
        scheme = headers.get("x-forwarded-proto") or (url.scheme if url is not None else "http")
        return Place(
            studio.model, name, told, f"{scheme}://{headers.get('host', 'localhost')}/", bool(serving.keys),
            self._suffix, self._how(job),
        )  # fmt: skip

    def _suffix(self, name: str) -> str:
        shelf = self.shared.studio.shelf
        try:
            return (shelf.upload(name) if name.startswith("upload_") else shelf.content(name)).suffix
        except JobError:
            return ".png" if name.startswith("upload_") else ".mp4"

    def _how(self, job: Job) -> Provenance | None:
        """How a result's own file says that it was made; a worker of ours wrote it."""
        try:
            return read_provenance(self.shared.studio.shelf.content(job.id)) if job.result else None
        except (JobError, ValueError, OSError):
            return None

    def _is_there(self, name: str) -> bool:
        return is_there(self.shared, self.owner, name)

    @property
    def _turn(self) -> int:
        return int(self.asked.get("turn") or 0) + 1

    def _grid(self, **changes: Any) -> dict[str, Any]:
        return self.asked | {"turn": self._turn} | changes

    def _again(self) -> Changes:
        """Look again, in both parts."""
        return {"grid": self._grid(), "video": {"id": self.asked.get("chosen") or "", "turn": self._turn}}


def model_name(serving: Serving, name: str) -> tuple[str | None, bool]:
    """(how a program names the model, whether that is all it needs); a folder is told on its own machine only."""
    if serving.model is None:
        return None, True
    folder = Path(serving.model).expanduser()
    if not folder.is_dir():
        return serving.model, True  # of the hub
    alone = is_loopback(serving.host) and not serving.keys
    return (str(folder.absolute()), True) if alone else (name, False)

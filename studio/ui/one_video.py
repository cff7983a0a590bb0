"""One video of the Library as HTML: player, what can be done with it, and all that is known of it."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

from ..jobs.job import ERRORS, Job, NoJobError
from ..rest.access import Owner
from ..rest.objects import prompt_of
from .cards import STATUS, star_button, when
from .live import LATER, button, seen_job
from .shared import Shared, media_url

MOST = 50  # videos made from one that are shown
TASKS = {
    "extend": "Extended from", "loop": "Looped from", "connect": "Connects", "remix": "Remixed from",
    "blend": "Blends", "inpaint": "A part made anew of", "outpaint": "Made larger from", "generate": "Made from",
}  # fmt: skip
CSS = """
h3 {overflow-wrap: anywhere; margin: 0 0 .5rem} h4 {margin: .8rem 0 .2rem}
h3:focus {outline: none} h3:focus-visible {outline: 3px solid var(--primary-600)}
video, .still {width: 100%; max-height: 60vh; object-fit: contain; display: block; border-radius: var(--radius-lg);
  background: var(--neutral-900)}
dl {display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: var(--text-sm);
  margin: .5rem 0}
dt {color: var(--body-text-color-subdued)} dd {margin: 0; overflow-wrap: anywhere}
ul.links {list-style: none; margin: .2rem 0; padding: 0; display: grid; gap: .3rem}
ul.links button {text-align: left; overflow-wrap: anywhere; width: 100%}
"""


def draw_video(shared: Shared, owner: Owner, asked: Mapping[str, Any]) -> dict[str, Any]:
    """One video, or why it cannot be shown.

    Args:
        shared, owner: the studio, and who looks.
        asked: its "id"; "": none is chosen.
    """
    name = str(asked.get("id") or "")
    if not name:
        return {"html": '<p class="quiet">Choose a video to see it here.</p>', "said": "", "again": LATER}
    job = seen_job(shared, owner, name)
    if job is None:
        told = "This video was deleted, or is somebody else's."
        text = f'<h3 tabindex="-1" data-heading="{html.escape(name)}">Not here</h3><p class="note">{told}</p>'
        return {"html": text, "said": told, "again": LATER}
    words = html.escape(prompt_of(job)) or f"({job.task})"
    parts = [f'<h3 tabindex="-1" data-heading="{job.id}" data-key="{job.id}">{words}</h3>', _screen(job)]
    parts += [_actions(job), _state(shared, owner, job), _facts(shared, job), _family(shared, owner, job)]
    return {"html": "".join(parts), "said": "", "again": LATER}


def _screen(job: Job) -> str:
    if job.status != "completed" or job.cleaned:
        return ""
    name, url = html.escape((prompt_of(job) or job.task)[:100]), media_url(job)
    if job.result.get("num_frames") == 1:
        return f'<img class="still" data-key="{job.id} still" src="{url}" alt="{name}">'
    return (
        f'<video data-key="{job.id} done" src="{url}" poster="{media_url(job, "thumbnail")}" controls loop '
        f'playsinline preload="metadata" id="library-player" aria-label="{name}"></video>'
    )


def _actions(job: Job) -> str:
    acts = [star_button(job, "library-", prompt_of(job) or job.task)]
    if job.status == "completed" and not job.cleaned:
        suffix = ".png" if job.result.get("num_frames") == 1 else ".mp4"
        acts.append(button("edit", "Edit this", job.id, "library-"))
        acts.append(f'<a class="button" data-key="file" id="library-file" href="{media_url(job)}" '
                    f'download="kinema-{job.id[6:14]}{suffix}">Download</a>')  # fmt: skip
        acts.append(f'<button type="button" id="library-link" data-key="link" data-copy="?video={job.id}">'
                    "Copy link</button>")  # fmt: skip
    acts.append(button("restore", "Use its settings", job.id, "library-"))
    if job.cleaned or job.status != "completed":
        acts.append(button("again", "Make it again" if job.cleaned else "Try it again", job.id, "library-"))
    acts += [button("delete", "Delete", job.id, "library-"), button("close", "Close", job.id, "library-")]
    return f'<div class="row" data-key="acts">{"".join(acts)}</div>'


def _state(shared: Shared, owner: Owner, job: Job) -> str:
    """What is not as usual."""
    parts = []
    again = job.cleaned or job.status in ("failed", "cancelled")  # could be wanted
    lost = shared.studio.lost(job, owner.sees) if again else []
    if job.cleaned:
        same = "" if lost else " Made again with its seed, it is the same video."
        parts.append(f"⚠ Its files were deleted to make room.{same}")
    if job.status == "failed":
        why = ERRORS.get(job.error_code or "", "")
        code = html.escape(f"{job.error_code}, {job.request_id}".strip(", "))
        parts.append(f"✕ <strong>It failed:</strong> {html.escape(job.error or why)} <small>({code})</small>")
    if job.status == "cancelled":
        parts.append("■ <strong>It was cancelled.</strong> Nothing was kept.")
    if lost:
        gone = f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} not here any more"
        parts.append(f"⚠ It cannot be made again as it was: {gone}. “Use its settings” takes over the rest.")
    parts += [f"⚠ {html.escape(str(warning))}" for warning in job.result.get("warnings") or ()]
    return "".join(f'<p class="note">{part}</p>' for part in parts)


def _facts(shared: Shared, job: Job) -> str:
    told = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts(shared, job))
    return f"<details open data-key='facts'><summary>Settings that were used</summary><dl>{told}</dl></details>"


def facts(shared: Shared, job: Job) -> Iterator[tuple[str, str]]:
    """What is known of a video, as names and HTML."""
    made, asked = job.result, job.request
    yield "Status", STATUS.get(job.status, job.status) + (", stopped early" if made.get("interrupted") else "")
    yield "Task", html.escape(job.task)
    for number, card in enumerate(asked.get("storyboard") or (), 1):
        yield f"Card {number}, at {card['at']:g} s", html.escape(card["text"])
    if asked.get("negative_prompt"):
        yield "Keep out", html.escape(asked["negative_prompt"])
    if made:
        yield "Size", f"{made['width']} × {made['height']} pixels"
        yield "Length", f"{made['seconds']:g} s: {made['num_frames']} frames, {made['fps']:g} a second"
        yield "Seed", str(made["seed"])
        yield "Steps", str(made["num_inference_steps"])
        yield "Guidance", f"{made['guidance_scale']:g}"
    for name, words in (("strength", "Strength"), ("direction", "Direction"), ("aspect", "Aspect"),
                        ("fit", "Fit"), ("schedule", "Schedule")):  # fmt: skip
        if asked.get(name) is not None:
            yield words, html.escape(f"{asked[name]}")
    given = [words for name, words in (("image", "first frame"), ("keyframes", "keyframes"), ("mask", "mask"),
                                       ("boxes", "boxes")) if asked.get(name)]  # fmt: skip
    if given:
        yield "Given", ", ".join(given)
    if made:
        yield "Model", f"{html.escape(shared.studio.model.name)}, weights {html.escape(str(made['fingerprint']))}"
        yield "Took", f"{made['making_seconds']:.1f} s"
        yield "Files", f"{made['bytes'] / 1e6:.2f} MB"
    applied = made.get("applied")
    if applied is not None:
        yield "In the file", "; ".join(_applied(applied))
    yield "Asked for", when(job.created_at)


def _applied(applied: Mapping[str, Any]) -> Iterator[str]:
    """What the file itself carries, as it was read back."""
    yield "✓ how it was made" if applied.get("provenance") else "✕ not how it was made"
    yield f"✓ the mark “{html.escape(applied['mark'])}”" if applied.get("mark") else "no visible mark"
    yield f"✓ C2PA, {html.escape(applied['c2pa'])}" if applied.get("c2pa") else "not signed (C2PA)"
    for problem in applied.get("problems") or ():
        yield f"⚠ {html.escape(problem)}"


def _family(shared: Shared, owner: Owner, job: Job) -> str:
    """Links to what it was made from, and to what was made from it."""
    store = shared.studio.store
    names = [name for name in (job.parent, *_media(job)) if name and name.startswith("video_")]
    before = [seen for name in dict.fromkeys(names) if (seen := seen_job(shared, owner, name))]
    after = [each for each in store.page(limit=MOST, contains=job.id, owner=owner.listed) if each.id != job.id]
    told = _links(TASKS.get(job.task, "Made from"), before) + _links("Made from it", after)
    return f'<div data-key="family">{told}</div>' if told else ""


def _media(job: Job) -> Iterator[str]:
    asked = job.request
    yield from (asked[name] for name in ("video", "other", "image", "mask") if asked.get(name))
    yield from (asked.get("keyframes") or {}).values()
    yield from (card["image"] for card in asked.get("storyboard") or () if card.get("image"))


def _links(title: str, jobs: list[Job]) -> str:
    if not jobs:
        return ""
    rows = "".join(
        f'<li data-key="{job.id}">'
        + button("open", f"{html.escape((prompt_of(job) or '(no words)')[:100])} · {job.task}", job.id,
                 f"library-to-{job.id[6:14]}-")
        + "</li>"
        for job in jobs
    )  # fmt: skip
    return f'<h4>{title}</h4><ul class="links">{rows}</ul>'


def is_there(shared: Shared, owner: Owner, name: str) -> bool:
    """Whether an upload or a finished video is here for whoever asks."""
    if name.startswith("upload_"):
        return owner.sees(name) and shared.studio.shelf.has_upload(name)
    try:
        job = shared.studio.store.get(name)
    except NoJobError:
        return False
    return owner.sees(job) and job.status == "completed" and not job.cleaned

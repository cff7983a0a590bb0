"""A part of the page that looks at the server again and again, and changes only what has changed.

Gradio redraws what it is given, which starts players anew and takes the focus away. So the server draws HTML here,
and a short script, the same for all such parts, puts it in place: what is alike stays, by its `data-key` or by
its place, so that a video plays on, and a button that is being pressed is the same one when it is let go. It is
plain polling: a browser has six connections to a server, and event streams would hold them.

In that HTML `data-act` on a button names what the handler of the part's `act` event is to do, with its `data-id`;
`data-event` names another event; `data-copy` is copied; `data-play` plays unless less motion is wanted; and the
`<img data-picture>` is exchanged for the newest picture without a flicker.
"""

import hashlib
import html
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from ..jobs.job import Job, NoJobError
from ..rest.access import Owner
from .shared import Shared

SOON, LATER = 1000, 3000  # milliseconds between looks: while something moves, and while nothing does

SCRIPT = """
const EVENTS = ['act', 'lock'];
const part = element.querySelector('[data-live]'), told = element.querySelector('[data-told]');
const lost = element.querySelector('[data-lost]');
const still = matchMedia('(prefers-reduced-motion: reduce)');
let timer = 0, number = 0, mark = '', said = '';

function alike(old, now) {
  return old.nodeName === now.nodeName && (old.dataset?.key || '') === (now.dataset?.key || '');
}
function patch(old, now) {  // make the children of `old` those of `now`, keeping all that are alike
  for (const fresh of [...now.childNodes]) {
    const next = fresh.previousSibling ? fresh.previousSibling.here.nextSibling : old.firstChild;
    let here = next;
    while (here && !alike(here, fresh)) here = here.nextSibling;
    if (!here) here = old.insertBefore(fresh.cloneNode(true), next);
    else {
      if (here !== next) old.insertBefore(here, next);
      if (here.nodeType === Node.TEXT_NODE) { if (here.data !== fresh.data) here.data = fresh.data; }
      else if (here.nodeType === Node.ELEMENT_NODE) {
        for (const {name} of [...here.attributes])
          if (!fresh.hasAttribute(name) && name !== 'open') here.removeAttribute(name);
        for (const {name, value} of fresh.attributes)
          if (here.getAttribute(name) !== value && name !== 'open') here.setAttribute(name, value);
        if (!here.hasAttribute('data-picture')) patch(here, fresh);
      }
    }
    fresh.here = here;
  }
  const last = now.lastChild ? now.lastChild.here : null;
  while (last ? last.nextSibling : old.firstChild) (last ? last.nextSibling : old.firstChild).remove();
}
function picture(holder, url) {  // an <img>, or of an animated one its first frame where things are to hold still
  const fresh = new Image();
  fresh.alt = holder.dataset.alt;
  fresh.src = url;
  fresh.decode().then(() => {
    let shown = fresh;
    if (still.matches || holder.closest('[data-still]')?.dataset.still === 'yes') {
      shown = document.createElement('canvas');
      shown.width = fresh.naturalWidth, shown.height = fresh.naturalHeight;
      shown.setAttribute('role', 'img'), shown.setAttribute('aria-label', fresh.alt);
      shown.getContext('2d').drawImage(fresh, 0, 0);
    }
    holder.replaceChildren(shown);
  }).catch(() => {});  // it was exchanged meanwhile; the next one comes soon
}
function draw(text) {
  const held = document.activeElement, place = element.contains(held) && held.id;
  const playing = part.querySelector('video'), time = playing ? playing.currentTime : 0;
  const source = playing?.dataset.key;
  const fresh = document.createElement('template');
  fresh.innerHTML = text;
  patch(part, fresh.content);
  if (place && document.activeElement !== held) document.getElementById(place)?.focus();
  for (const folded of part.querySelectorAll('[data-wide]'))
    if (!folded.known) { folded.known = true; folded.open = innerWidth >= 700; }
  const player = part.querySelector('video');
  if (still.matches && player?.dataset.key.endsWith('stream')) player.removeAttribute('poster');  // it moves
  if (player && player !== playing) {
    player.muted = true;
    if (source && source.split(' ')[0] === player.dataset.key.split(' ')[0]) player.currentTime = time;
    if (player.hasAttribute('data-play') && !still.matches) player.play().catch(() => {});
  }
  for (const holder of part.querySelectorAll('[data-picture]'))
    if (holder.shown !== holder.dataset.picture) picture(holder, holder.shown = holder.dataset.picture);
}
async function look() {
  clearTimeout(timer);
  if (!element.isConnected) return;
  let wait = 1000;
  const mine = ++number;
  if (element.offsetParent !== null && !document.hidden) {
    try {
      const seen = await server.look({...props.value, mark});
      if (mine !== number) return;
      lost.hidden = true;
      if (seen.html !== undefined) { draw(seen.html); mark = seen.mark; }
      if (seen.said !== undefined && seen.said !== said) told.textContent = said = seen.said;
      wait = seen.again;
    } catch (error) {
      if (mine !== number) return;
      lost.hidden = false;
      wait = 2000;
    }
  }
  timer = setTimeout(look, wait);
}
element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  const {act, copy, id, hold} = button.dataset;
  if (copy) {
    const link = new URL(copy, document.baseURI).href;
    const copied = navigator.clipboard?.writeText(link) ?? Promise.reject();
    copied.then(() => { told.textContent = said = 'The link is copied.'; }, () => prompt('The link:', link));
  }
  if (hold) {  // the moving preview: hold it still, or let it move
    const held = button.closest('[data-still]');
    held.dataset.still = held.dataset.still === 'yes' ? 'no' : 'yes';
    button.textContent = held.dataset.still === 'yes' ? 'Let the preview move' : 'Hold the preview still';
  }
  const name = button.dataset.event || 'act';
  if (act && EVENTS.includes(name)) {
    trigger(name, {act, id, value: button.dataset.value});
    setTimeout(look, 300);
  }
});
document.addEventListener('visibilitychange', look);
watch('value', look);
look();
"""

TEMPLATE = """
<div data-live><p>Looking …</p></div>
<p data-lost class="lost" role="alert" hidden>⚠ The server does not answer; trying again. Nothing is lost: what you
asked for is kept there.</p>
<p data-told class="sr-only" role="status" aria-live="polite"></p>
"""

CSS = """
.html-container:has(> &) {padding: 0}
button, a.button {font: inherit; font-size: var(--text-sm); cursor: pointer; display: inline-block;
  text-decoration: none; padding: .35rem .7rem; min-height: 2rem; border-radius: var(--radius-md);
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color)}
button:hover, a.button:hover {background: var(--button-secondary-background-fill-hover)}
button:focus-visible, a:focus-visible, summary:focus-visible, video:focus-visible {
  outline: 3px solid var(--primary-600); outline-offset: 2px}
button:disabled {opacity: .5; cursor: default}
.row {display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin: .5rem 0}
.quiet {color: color-mix(in srgb, var(--body-text-color) 78%, transparent); margin: .25rem 0;
  font-size: var(--text-sm)}
.bar {height: .6rem; border-radius: 1rem; overflow: hidden; background: var(--neutral-200);
  border: 1px solid var(--neutral-500)}
.bar > div {height: 100%; background: var(--primary-600); transition: width .5s}
.lost, .problem {border-left: .25rem solid #b91c1c; padding: .3rem .6rem; margin: .5rem 0}
.note {border-left: .25rem solid var(--primary-600); padding: .3rem .6rem; margin: .5rem 0}
"""

Look = Callable[[Shared, Owner, Mapping[str, Any]], Mapping[str, Any]]


def live(
    shared: Shared, draw: Look, *, elem_id: str, css: str = "", value: Mapping[str, Any] | None = None
) -> gr.HTML:
    """A part of the page that `draw` draws, for whoever looks.

    Args:
        shared: of the page.
        draw: called with the studio, who looks and the part's value; gives "html", "said" (what is announced when
            it changes) and "again" (milliseconds until the next look).
        elem_id: of the part.
        css: more rules for it.
        value: what `draw` is called with, until a handler changes it.
    """

    def look(asked: Any, request: gr.Request) -> dict[str, Any]:
        asked = asked if isinstance(asked, dict) else {}  # anybody can send anything
        try:
            owner = shared.owner(request)
        except gr.Error:
            seen: Mapping[str, Any] = {
                "html": '<p class="problem">Your session has ended. <a href="login">Log in again.</a></p>',
                "said": "Your session has ended.", "again": LATER,
            }  # fmt: skip
        else:
            seen = draw(shared, owner, asked)
        mark = hashlib.blake2b(seen["html"].encode(), digest_size=8).hexdigest()
        if asked.get("mark") == mark:
            return {name: each for name, each in seen.items() if name != "html"}
        return {**seen, "mark": mark}

    return gr.HTML(
        dict(value or {}), html_template=TEMPLATE, css_template=CSS + css, js_on_load=SCRIPT, elem_id=elem_id,
        server_functions=[look], apply_default_css=False,
    )  # fmt: skip


def seen_job(shared: Shared, owner: Owner, job_id: str) -> Job | None:
    """A job that is shown to them; None: there is none, or it is somebody else's."""
    try:
        job = shared.studio.store.get(job_id)
    except NoJobError:
        return None
    return job if owner.sees(job) else None


def button(act: str, words: str, job_id: str = "", prefix: str = "", **data: str) -> str:
    """A button whose press is an `act` event.

    Args:
        act: what is to be done.
        words: on it.
        job_id: with what.
        prefix: of its id on the page.
        data: further attributes, `_` for `-`.
    """
    given = {"data-act": act, "data-id": job_id, "id": f"{prefix}{act}", "data-key": f"{act} {job_id}"}
    given |= {name.replace("_", "-"): each for name, each in data.items()}
    told = "".join(f' {name}="{html.escape(each)}"' for name, each in given.items())
    return f'<button type="button"{told}>{words}</button>'


def bar(progress: float, words: str, label: str = "Progress") -> str:
    """How far something is, to be seen and heard."""
    percent = round(100 * progress)
    return (
        f'<div class="bar" role="progressbar" aria-label="{html.escape(label)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}" aria-valuetext="{percent} %, {html.escape(words)}">'
        f'<div style="width: {percent}%"></div></div>'
    )


def about(seconds: float | None) -> str:
    """ "about 12 s", "about 3 min"; "" where it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def waiting_for(shared: Shared) -> str:
    """Why nothing is being made, as HTML; "": something can be."""
    workers = shared.served.workers
    if workers.problem:
        return (
            '<p class="problem">✕ <strong>The model cannot be loaded:</strong> '
            f"{html.escape(workers.problem)}. What waits is kept; start the server again with another model.</p>"
        )
    if not workers.ready:
        return '<p class="note">… The model is being loaded. What you ask for is made as soon as it is there.</p>'
    return ""

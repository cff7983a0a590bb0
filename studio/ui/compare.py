"""Two videos side by side, in step: one clock for both, whatever their lengths and rates.

The browser's own players would drift apart, so the clock is ours: each video shows its frame of that moment, the
shorter one waits on its last. A step is one frame of the video with more frames a second.
"""

import html

import gradio as gr

from ..jobs.job import Job
from ..rest.objects import prompt_of
from .live import CSS as LIVE_CSS
from .shared import media_url

CSS = """
section {border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: .75rem;
  margin: .5rem 0}
h3 {margin: 0 0 .5rem}
.pair {display: grid; gap: .75rem; grid-template-columns: repeat(2, minmax(0, 1fr))}
figure {margin: 0; min-width: 0}
figure video {width: 100%; max-height: 50vh; object-fit: contain; display: block; background: var(--neutral-900);
  border-radius: var(--radius-md)}
figcaption {overflow-wrap: anywhere; font-size: var(--text-sm); margin-top: .3rem}
label {display: flex; gap: .5rem; align-items: center; flex: 1 1 12rem}
input[type=range] {flex: 1; min-width: 6rem; accent-color: var(--primary-700); min-height: 1.5rem}
input[type=range]:focus-visible, select:focus-visible {outline: 3px solid var(--primary-600); outline-offset: 2px}
select {font: inherit; font-size: var(--text-sm); padding: .2rem .4rem; min-height: 2rem;
  background: var(--background-fill-primary); color: var(--body-text-color);
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-md)}
"""

SCRIPT = """
function setUp() {
  const box = element.querySelector('section');
  if (!box || box.ready) return;
  box.ready = true;
  const videos = [...box.querySelectorAll('video')], find = name => box.querySelector(`[data-${name}]`);
  const play = find('play'), seek = find('seek'), place = find('place'), speed = find('speed');
  const rate = video => +video.dataset.fps, count = video => +video.dataset.frames;
  const long = video => count(video) / rate(video);
  const whole = Math.max(...videos.map(long)), step = 1 / Math.max(...videos.map(rate));
  const frame = video => Math.min(count(video) - 1, Math.floor(time * rate(video) + 1e-6));
  let time = 0, playing = false, last = 0;
  seek.max = whole - step;
  seek.step = step;

  function tell() {
    const frames = videos.map(video => `${frame(video) + 1} of ${count(video)}`);
    seek.value = time;
    seek.setAttribute('aria-valuetext', `${time.toFixed(2)} seconds, frames ${frames.join(' and ')}`);
    place.textContent = `${time.toFixed(2)} s · frame ${frames.join(' and ')}`;
    play.textContent = playing ? '❚❚ Pause' : '▶ Play';
  }
  function settle() {  // the middle of a frame is in it, whatever the rounding
    for (const video of videos) {
      video.pause();
      video.currentTime = (frame(video) + .5) / rate(video);
    }
    tell();
  }
  function go(to) {
    time = Math.min(Math.max(to, 0), whole - step);
    settle();
  }
  function stop() {
    playing = false;
    go(Math.round(time / step) * step);
  }
  function tick(now) {
    if (!playing || !box.isConnected) return;
    if (videos.some(video => video.readyState < 2)) last = now;  // it is being fetched: the clock waits
    time += (now - last) / 1000 * speed.value;
    last = now;
    if (time >= whole) {
      time = 0;
      for (const video of videos) video.currentTime = 0;
    }
    for (const video of videos) {
      const end = (count(video) - .5) / rate(video);
      if (time >= end) {
        if (!video.paused) video.pause();
        if (Math.abs(video.currentTime - end) > .5 / rate(video)) video.currentTime = end;
        continue;
      }
      if (Math.abs(video.currentTime - time) > Math.max(.06, .75 / rate(video))) video.currentTime = time;
      if (video.paused) video.play().catch(() => {});
    }
    tell();
    requestAnimationFrame(tick);
  }
  function toggle() {
    if (playing) return stop();
    playing = true;
    if (time >= whole - step) time = 0;
    for (const video of videos) video.playbackRate = speed.value;
    requestAnimationFrame(now => { last = now; tick(now); });
  }
  const pace = by => { playing = false; go((Math.round(time / step) + by) * step); };
  play.onclick = toggle;
  find('back').onclick = () => pace(-1);
  find('forward').onclick = () => pace(1);
  seek.oninput = () => { playing = false; go(Math.round(seek.value / step) * step); };
  speed.onchange = () => { for (const video of videos) video.playbackRate = speed.value; };
  box.onkeydown = event => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest('select')) return;
    const key = event.key, slider = event.target === seek;
    if (key === ' ' && !event.target.closest('button')) toggle();
    else if (key === 'ArrowLeft' && !slider) pace(-1);
    else if (key === 'ArrowRight' && !slider) pace(1);
    else if (key === 'Home' && !slider) pace(-1e9);
    else if (key === 'End' && !slider) pace(1e9);
    else return;
    event.preventDefault();
  };
  go(0);
  box.querySelector('h3').focus();
  box.scrollIntoView({block: 'nearest'});
}
element.addEventListener('click', event => {
  if (!event.target.closest('[data-close]')) return;
  document.querySelector('#library-grid [data-act=beside][aria-pressed=true]')?.focus();  // back to where it began
  trigger('away', {});
});
watch('value', setUp);
setUp();
"""


def build_compare() -> gr.HTML:
    """The part; its value is `compare_html`, and its event `away` asks to close it."""
    return gr.HTML(
        "", css_template=LIVE_CSS + CSS, js_on_load=SCRIPT, elem_id="library-compare", apply_default_css=False
    )


def compare_html(jobs: tuple[Job, Job]) -> str:
    """Two players and what moves both.

    Args:
        jobs: completed, with more than one frame each.
    """
    return (
        '<section aria-label="Two videos side by side"><h3 tabindex="-1">Side by side</h3>'
        f'<div class="pair">{"".join(map(_figure, jobs))}</div><div class="row">'
        '<button type="button" data-play id="compare-play">▶ Play</button>'
        '<button type="button" data-back id="compare-back" aria-label="One frame back">◀ Frame</button>'
        '<button type="button" data-forward id="compare-forward" aria-label="One frame forward">Frame ▶</button>'
        '<label>Time<input type="range" data-seek id="compare-seek" min="0" value="0"></label>'
        '<label>Speed<select data-speed id="compare-speed"><option value="1">as it is</option>'
        '<option value="0.5">half</option><option value="0.25">a quarter</option></select></label>'
        '<button type="button" data-close id="compare-close">Close</button></div>'
        '<p class="quiet" data-place id="compare-place"></p>'
        '<p class="quiet">Space plays and pauses; ← and → go a frame back and forward; Home and End go to the '
        "ends.</p></section>"
    )


def _figure(job: Job) -> str:
    made, words = job.result, html.escape((prompt_of(job) or job.task)[:300])
    return (
        f'<figure><video src="{media_url(job)}" muted playsinline preload="auto" data-fps="{made["fps"]:g}" '
        f'data-frames="{made["num_frames"]}" aria-label="{words}"></video><figcaption>{words}<br>'
        f'<span class="quiet">{made["seconds"]:g} s, {made["fps"]:g} frames a second, seed {made["seed"]}</span>'
        "</figcaption></figure>"
    )

"""A mask, painted over a frame: what is painted is made anew. Whoever does not paint gives a box in numbers."""

import base64
import binascii
import io
from typing import Any

import gradio as gr

from ..jobs.job import JobError

HEAD = "data:image/png;base64,"
LARGEST = 4_000_000  # characters of a painted mask; more is no mask of ours

TEMPLATE = """
<div class="canvas"><img alt="A frame of the video" hidden><canvas role="img" width="64" height="64" hidden
aria-label="Paint over what is to be made anew. Without a pointer, give a box in numbers instead."></canvas></div>
<div class="row"><label>Brush size <input type="range" min="2" max="40" value="12"></label>
<button type="button" id="mask-undo" data-do="undo">Undo</button>
<button type="button" id="mask-clear" data-do="clear">Clear</button></div>
<p role="status" class="quiet"></p>
"""

CSS = """
.canvas {position: relative; max-width: 32rem; background: var(--neutral-200); min-height: 3rem}
.canvas img {width: 100%; display: block; image-rendering: auto}
.canvas img[hidden], canvas[hidden] {display: none}
canvas {position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none; cursor: crosshair}
.row {display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: .5rem 0}
.row label {display: flex; gap: .4rem; align-items: center}
button {font: inherit; font-size: var(--text-sm); padding: .35rem .7rem; min-height: 2rem; cursor: pointer;
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color)}
button:focus-visible, input:focus-visible {outline: 3px solid var(--primary-600); outline-offset: 2px}
.quiet {color: var(--body-text-color-subdued); font-size: var(--text-sm); margin: 0}
"""

SCRIPT = """
const image = element.querySelector('img'), canvas = element.querySelector('canvas');
const brush = element.querySelector('input'), told = element.querySelector('[role=status]');
let strokes = [], drawing = null, shown = '';

function line(target, stroke, colour) {
  const pen = target.getContext('2d'), width = stroke.brush * Math.max(target.width, target.height);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineCap = pen.lineJoin = 'round';
  pen.lineWidth = width;
  pen.beginPath();
  stroke.points.forEach(([x, y], n) => pen[n ? 'lineTo' : 'moveTo'](x * target.width, y * target.height));
  if (stroke.points.length > 1) return pen.stroke();
  const [[x, y]] = stroke.points;
  pen.arc(x * target.width, y * target.height, width / 2, 0, 7);
  pen.fill();
}
function redraw() {  // all strokes as one: where they cross it is no darker
  const pen = canvas.getContext('2d');
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const box = (props.value || {}).box;
  if (box) {
    pen.fillStyle = '#f59e0b';
    pen.fillRect(box[0] * canvas.width, box[1] * canvas.height, (box[2] - box[0]) * canvas.width,
                 (box[3] - box[1]) * canvas.height);
  } else for (const stroke of strokes) line(canvas, stroke, '#f59e0b');
  canvas.style.opacity = .65;
}
function say() {
  const box = (props.value || {}).box, count = strokes.length;
  const painted = count ? `Painted: ${count} stroke${count > 1 ? 's' : ''}.` : 'Nothing is painted yet.';
  told.textContent = box ? 'The box is shown on the frame.' : painted;
}
function done() {
  let mask = '';
  if (strokes.length) {
    const out = document.createElement('canvas');
    out.width = canvas.width, out.height = canvas.height;
    const pen = out.getContext('2d');
    pen.fillRect(0, 0, out.width, out.height);
    for (const stroke of strokes) line(out, stroke, '#fff');
    mask = out.toDataURL('image/png');
  }
  say();
  trigger('painted', {mask});
}
function place(event) {
  const {left, top, width, height} = canvas.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height];
}
canvas.addEventListener('pointerdown', event => {
  if (event.button || (props.value || {}).box) return;
  canvas.setPointerCapture(event.pointerId);
  strokes.push(drawing = {brush: brush.value / 100, points: [place(event)]});
  redraw();
});
canvas.addEventListener('pointermove', event => {
  if (!drawing) return;
  drawing.points.push(place(event));
  redraw();
});
for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => {
  if (drawing) { drawing = null; done(); }
});
element.addEventListener('click', event => {
  const what = event.target.dataset?.do;
  if (!what) return;
  strokes = what === 'undo' ? strokes.slice(0, -1) : [];
  redraw(), done();
});
function look() {
  const {picture, width, height, box} = props.value || {};
  if (picture && picture !== shown) {
    shown = image.src = picture, strokes = [];
    const scale = Math.max(1, Math.floor(512 / Math.max(width, height)));
    canvas.width = width * scale, canvas.height = height * scale;
  }
  image.hidden = canvas.hidden = !picture;
  element.querySelector('.row').style.display = box ? 'none' : '';
  redraw(), say();
}
watch('value', look);
look();
"""


def build_painter(elem_id: str) -> tuple[gr.HTML, gr.State]:
    """A frame to paint on, and the state that holds the mask: an address of a PNG, "" while nothing is painted.

    The part's value is {"picture": address of the frame, "width", "height": pixels of the video, "box": a box that
    is shown instead, as shares (left, top, right, bottom), or None}. Another picture forgets what was painted.
    """
    painter = gr.HTML(
        {}, html_template=TEMPLATE, css_template=CSS, js_on_load=SCRIPT, elem_id=elem_id, apply_default_css=False
    )
    mask = gr.State("")

    def take(event: gr.EventData) -> str:
        return str(event.mask)

    painter.painted(take, None, mask, show_progress="hidden", queue=False, api_visibility="private")
    return painter, mask


def mask_file(address: str) -> io.BytesIO:
    """The PNG of a painted mask, not yet looked into.

    Raises:
        JobError: nothing is painted, or this is no mask.
    """
    if not address:
        raise JobError("paint over what is to be made anew, or give a box in numbers")
    try:
        if not address.startswith(HEAD) or len(address) > LARGEST:
            raise ValueError
        return io.BytesIO(base64.b64decode(address.removeprefix(HEAD), validate=True))
    except (binascii.Error, ValueError):
        raise JobError("the painted mask cannot be read; clear it and paint again") from None


def box_of(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    """A box as shares of the picture.

    Args:
        left, top, right, bottom: percent from the left and from the top.

    Raises:
        JobError: nothing is in it.
    """
    if not (0 <= left < right <= 100 and 0 <= top < bottom <= 100):
        raise JobError(
            f"the box goes from {left:g} to {right:g} % across and from {top:g} to {bottom:g} % down; each needs "
            "to begin before it ends, within 0 to 100"
        )
    return left / 100, top / 100, right / 100, bottom / 100


def painting(picture: str, width: int, height: int, box: Any = None) -> dict[str, Any]:
    """The painter's value."""
    return {"picture": picture, "width": width, "height": height, "box": box}

"""The review screen's look and its keys, wherever it stands: on a page of its own, or in a tab of another."""

# Of the parts alone: other things may be on the page.
CAPTIONS_CSS = """
table {width: 100%; border-collapse: collapse}
td, th {padding: .3rem .5rem; vertical-align: top; text-align: left; overflow-wrap: anywhere}
tr.here {background: var(--background-fill-secondary); outline: 2px solid var(--color-accent)}
.accepted, .edited {color: #15803d} .rejected {color: #b91c1c}
.dark & .accepted, .dark & .edited {color: #4ade80} .dark & .rejected {color: #f87171}
"""
ABOUT_CSS = """
table {width: 100%; border-collapse: collapse} summary {cursor: pointer}
td {padding: .3rem .5rem; vertical-align: top; overflow-wrap: anywhere}
td:first-child {white-space: nowrap; font-weight: 600}
"""
# Keys press the buttons, so that there is one way only; not while someone types, not with Ctrl, Alt or Meta, and
# not while the screen is out of sight. Clips do not play by themselves where less motion is wanted.
_KEYS = """() => {
  const part = (name) => document.querySelector(`#PREFIX${name}`);
  if (window['kinemaKeys PREFIX']) return;
  window['kinemaKeys PREFIX'] = true;
  const press = (name) => { const b = part(name); const t = b?.matches('button') ? b
    : b?.querySelector('button'); if (t && !t.disabled) t.click(); };
  const area = () => document.querySelector('#PREFIXtext textarea');
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  const inClip = (event) => event.target.closest?.('#PREFIXclip');
  let asked = false;  // somebody wants to see it move
  document.addEventListener('loadstart', (event) => { if (inClip(event)) asked = false; }, true);
  for (const kind of ['pointerdown', 'keydown'])
    document.addEventListener(kind, (event) => { asked ||= Boolean(inClip(event)); }, true);
  document.addEventListener('play', (event) => {
    if (still.matches && !asked && inClip(event)) event.target.pause();
  }, true);
  document.addEventListener('keydown', (event) => {
    const at = event.target;
    if (!area()?.offsetParent) return;
    if (at === area()) {
      if (event.key === 'Escape') { at.blur(); event.preventDefault(); }
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault(); at.dispatchEvent(new Event('input', {bubbles: true})); at.blur();
        setTimeout(() => press('keep'), 50);
      }
      return;
    }
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const typed = 'input:not([type=checkbox]), textarea, select, [contenteditable], [role=listbox]';
    if (at.closest?.(typed) || at.closest?.('[role=tablist]')) return;
    const key = event.key.toLowerCase();
    if (key === 'e') { const a = area(); a?.focus(); a?.setSelectionRange(a.value.length, a.value.length);
      event.preventDefault(); return; }
    if (key === ' ' && !at.closest?.('button, a, video, summary, input')) {
      const v = document.querySelector('#PREFIXclip video'); asked = true;
      if (v) v.paused ? v.play() : v.pause();
      event.preventDefault(); return; }
    const name = {a: 'accept', r: 'reject', j: 'next', k: 'previous', u: 'undo', arrowright: 'next',
      arrowleft: 'previous'}[key];
    if (name && !at.closest?.('video')) { press(name); event.preventDefault(); }
  });
}"""


def keys(prefix: str = "") -> str:
    """The script that lets keys press the buttons.

    Args:
        prefix: of the parts' ids.
    """
    return _KEYS.replace("PREFIX", prefix)

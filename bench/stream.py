"""Measures streaming: time to the first chunk, chunks a second, and memory at 10 and at 120 seconds of video.

    OMP_NUM_THREADS=1 python bench/stream.py --out bench/results/stream.json  # 2 to 3 minutes of one free core
    python bench/stream.py --seconds 2 6 --steps 2 --out stream.json          # try

Every length runs in a process of its own, which throws each chunk away as soon as it has come. Memory is the
process's resident set: its peak (`ru_maxrss`, what the kernel counted), and what it holds when half and when all
chunks have come. It is constant if the peak is the same at both lengths but for the allocator's noise.

On a CPU with one thread the clock is the process's own time, which other programs on the machine do not lengthen.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MEBI = 2**20


def stream(args: argparse.Namespace) -> dict[str, Any]:
    """One stream in this process."""
    import psutil
    import torch

    from kinema import KinemaPipeline

    pipe = KinemaPipeline.from_pretrained(args.model).to(args.device)
    own_time = args.device == "cpu" and torch.get_num_threads() == 1
    process, clock = psutil.Process(), time.process_time if own_time else time.perf_counter
    loaded = process.memory_info().rss
    start, held, times, frames = clock(), [], [], 0
    running = pipe.stream(args.prompt, seconds=args.one, num_inference_steps=args.steps, generator=0)
    for chunk in running:
        times.append(clock() - start)
        frames += len(chunk)
        held.append(process.memory_info().rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    report = {
        "seconds": args.one,
        "frames": frames,
        "chunks": len(times),
        "first_chunk_s": round(times[0], 3),
        "chunks_per_s": round((len(times) - 1) / (times[-1] - times[0]), 3),
        "seconds_of_video_per_s": round((frames - 1) / running.frame_rate / (times[-1] - times[0]), 3),
        "loaded_mib": round(loaded / MEBI, 1),
        "halfway_mib": round(held[len(held) // 2] / MEBI, 1),
        "end_mib": round(held[-1] / MEBI, 1),
        "peak_mib": round(peak / MEBI, 1),
        "settings": running.provenance.settings,
        "steps": running.provenance.num_inference_steps,
        "threads": torch.get_num_threads(),
        "clock": "process time" if own_time else "wall time",
    }
    if args.device.startswith("cuda"):
        report["peak_device_mib"] = round(torch.cuda.max_memory_allocated() / MEBI, 1)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure streaming: first chunk, speed and memory.")
    parser.add_argument("--model", default=None, help="a checkpoint's folder; default: the packaged one")
    parser.add_argument("--prompt", default="a red ball rolls to the left")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 120.0], help="of video")
    parser.add_argument("--steps", type=int, default=None, help="denoising steps; default: the checkpoint's own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("bench/results/stream.json"))
    parser.add_argument("--one", type=float, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(stream(args)))
        return
    runs = []
    for seconds in args.seconds:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print({name: value for name, value in runs[-1].items() if name != "settings"}, flush=True)
    growth = runs[-1]["peak_mib"] - runs[0]["peak_mib"]
    print(f"peak at {args.seconds[-1]:g} s is {growth:+.1f} MiB beside {args.seconds[0]:g} s")
    machine = {"device": args.device, "processor": platform.processor() or platform.machine()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"machine": machine, "runs": runs}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

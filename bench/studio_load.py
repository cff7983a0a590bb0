"""Fifty clients of the REST API at once: is a video lost or made twice, and how long does a status call take?

    python bench/studio_load.py --out bench/results/studio_load.json --table docs/studio-load.md
    python bench/studio_load.py --clients 5 --seconds 10 --out studio_load.json                            # try

A real `kinema serve` with a model of random weights that makes a clip in some hundredths of a second, so that the
queue and the server are what is measured. Every client submits a video with an idempotency key (every fifth time
twice, as after a lost answer), polls it when the server says to, fetches the file and its thumbnail, and begins
again, until the time is over; then what was begun is finished. Afterwards every video that was accepted must be
listed once, completed, fetched, and lie in the folder, and nothing else may.

How to read the table. "status" is a GET of one video, from sending to the whole answer, as the clients saw it;
clients, server and worker share the machine.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from kinema import __version__
from kinema.configs import load_config

STARTED = 120.0  # seconds that the server may take to start
PATIENCE = 60.0  # seconds of one call
TWICE = 5  # every so many submissions are sent twice


@dataclass
class Seen:
    """What all clients saw."""

    videos: dict[str, str] = field(default_factory=dict)  # by id: the prompt
    fetched: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by kind of call
    waited: list[float] = field(default_factory=list)  # from submitting to completed
    refused: int = 0  # 429
    wrong: list[str] = field(default_factory=list)


def save_model(folder: Path) -> None:
    """A model that is fast and good for nothing."""
    from kinema.data.diorama import VOCABULARY
    from kinema.pipeline.build import build_pipeline

    pipe = build_pipeline(load_config("tiny"))
    pipe.text_encoder.register_to_config(vocabulary=VOCABULARY)
    pipe.save_pretrained(folder)


async def call(client: httpx.AsyncClient, seen: Seen, kind: str, method: str, url: str, **more: Any) -> Any:
    """One call, timed."""
    begin = time.perf_counter()
    answer = await client.request(method, url, **more)
    seen.seconds[kind].append(time.perf_counter() - begin)
    return answer


async def submit(client: httpx.AsyncClient, seen: Seen, prompt: str, *, twice: bool) -> str:
    """The id of a new video; waits while the queue is full."""
    key, fields = str(uuid.uuid4()), {"prompt": prompt, "num_inference_steps": "1", "num_frames": "5"}
    ids = set()
    for _ in range(2 if twice else 1):
        while True:
            answer = await call(client, seen, "create", "POST", "v1/videos", data=fields,
                                headers={"Idempotency-Key": key})  # fmt: skip
            if answer.status_code != 429:
                break
            seen.refused += 1
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        answer.raise_for_status()
        ids.add(answer.json()["id"])
    if len(ids) != 1:
        seen.wrong.append(f"one key gave {len(ids)} videos")
    return ids.pop()


async def work(base: str, number: int, end: float, seen: Seen) -> None:
    """One client, until the time is over and what it began is done."""
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE) as client:
        turn = 0
        while time.monotonic() < end:
            turn += 1
            prompt = f"a red ball rolls to the left, {number} {turn}"
            begin = time.monotonic()
            video = await submit(client, seen, prompt, twice=turn % TWICE == 0)
            if video in seen.videos:
                seen.wrong.append(f"{video} was given to two requests")
            seen.videos[video] = prompt
            while True:
                answer = await call(client, seen, "status", "GET", f"v1/videos/{video}")
                answer.raise_for_status()
                told = answer.json()
                if told["status"] in ("completed", "failed", "cancelled"):
                    break
                await asyncio.sleep(int(answer.headers["openai-poll-after-ms"]) / 1000)
            seen.waited.append(time.monotonic() - begin)
            if told["status"] != "completed" or told["prompt"] != prompt:
                seen.wrong.append(f"{video}: {told}")
                continue
            for variant, starts in (("video", b"ftyp"), ("thumbnail", b"WEBP")):
                answer = await call(client, seen, "content", "GET", f"v1/videos/{video}/content",
                                    params={"variant": variant})  # fmt: skip
                if answer.status_code != 200 or starts not in answer.content[:16]:
                    seen.wrong.append(f"{video}: {variant} is {answer.status_code}, {len(answer.content)} bytes")
            seen.fetched[video] += 1


def check(base: str, folder: Path, seen: Seen) -> None:
    """Compare what the clients saw with what the server lists and what lies on the disk."""
    listed, after = [], None
    with httpx.Client(base_url=base, timeout=PATIENCE) as client:
        while True:
            page = client.get("v1/videos", params={"limit": 100} | ({"after": after} if after else {})).json()
            listed += page["data"]
            if not page["has_more"]:
                break
            after = page["last_id"]
    ids = Counter(video["id"] for video in listed)
    results = {path.name for path in (folder / "results").iterdir()}
    for what, there in (("listed", set(ids)), ("fetched", set(seen.fetched)), ("on the disk", results)):
        if lost := set(seen.videos) - there:
            seen.wrong.append(f"{len(lost)} accepted videos are not {what}")
        if more := there - set(seen.videos):
            seen.wrong.append(f"{len(more)} videos are {what} that nobody asked for")
    seen.wrong += [f"{video} is listed {count} times" for video, count in ids.items() if count > 1]
    seen.wrong += [f"{video['id']} is {video['status']}" for video in listed if video["status"] != "completed"]


def figures(seen: Seen, clients: int, seconds: float) -> dict[str, Any]:
    """What is reported."""

    def spread(values: list[float]) -> dict[str, float]:
        cuts = statistics.quantiles(values, n=100)
        marks = {"median": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values)}
        return {"calls": len(values)} | {name: round(1000 * value, 1) for name, value in marks.items()}

    return {
        "clients": clients, "seconds": round(seconds, 1), "videos": len(seen.videos), "queue_full": seen.refused,
        "videos_a_second": round(len(seen.videos) / seconds, 2), "milliseconds": {
            kind: spread(values) for kind, values in seen.seconds.items()
        },
        "seconds_to_completed": {"median": round(statistics.median(seen.waited), 2),
                                 "max": round(max(seen.waited), 2)},
        "lost_or_doubled": len(seen.wrong), "wrong": seen.wrong[:20], "kinema": __version__,
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()},
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """The figures as a page."""
    rows = "\n".join(
        f"| {kind} | {each['calls']} | {each['median']} | {each['p95']} | {each['p99']} | {each['max']} |"
        for kind, each in found["milliseconds"].items()
    )
    return f"""# The studio under load

Made by `python bench/studio_load.py --out bench/results/studio_load.json --table docs/studio-load.md`: {found["clients"]} clients of one
`kinema serve` submit, poll and fetch for {found["seconds"]:g} seconds (with what was begun at the end), on {found["machine"]["cpus"]} CPU cores
that they share with the server and its worker. The model is one of random weights that takes next to no time.

{found["videos"]} videos, {found["videos_a_second"]} a second; lost, doubled or wrong: {found["lost_or_doubled"]}; "queue full" was answered {found["queue_full"]} times.
From submitting to completed: {found["seconds_to_completed"]["median"]} s in the median, {found["seconds_to_completed"]["max"]} s at most.

| call | calls | median, ms | p95, ms | p99, ms | most, ms |
|---|---|---|---|---|---|
{rows}
"""  # noqa: E501


def main() -> None:
    """Serve, load, check, report."""
    parser = argparse.ArgumentParser(description="Load the REST API.")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model, folder = Path(place) / "tiny", Path(place) / "studio"
        save_model(model)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        base = f"http://127.0.0.1:{port}/"
        server = subprocess.Popen(
            [sys.executable, "-m", "kinema.cli", "serve", "--model", str(model), "--folder", str(folder), "--port",
             str(port), "--workers", str(args.workers)],
            stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            wait(base)
            seen, begin = Seen(), time.monotonic()

            async def all_clients() -> None:
                end = begin + args.seconds
                await asyncio.gather(*(work(base, number, end, seen) for number in range(args.clients)))

            asyncio.run(all_clients())
            seconds = time.monotonic() - begin
            check(base, folder, seen)
        finally:
            server.terminate()
            server.wait()
    found = figures(seen, args.clients, seconds)
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.table:
        args.table.write_text(table(found), encoding="utf-8")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    sys.exit(1 if seen.wrong else 0)


def wait(base: str) -> None:
    """Until the server's worker has its model."""
    end = time.monotonic() + STARTED
    while time.monotonic() < end:
        try:
            if httpx.get(base + "readyz", timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the server was not ready after {STARTED:g} seconds")


if __name__ == "__main__":
    main()

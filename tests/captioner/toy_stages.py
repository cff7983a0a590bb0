"""Stages small enough to kill a hundred times: numbers, squares, the sum. Worker processes import this file.

DATASET/.toy.json says how many there are and which misbehave; each row given to a worker is noted in a log.
"""

import json
import os
import signal
import time

import pyarrow as pa

from kinema.captioner.engine.commits import CaptionError, StageTable
from kinema.captioner.stage import Stage, WholeStage

NUMBERS = pa.schema(
    {"id": pa.string(), "number": pa.int64(), "status": pa.string(), "reason": pa.string(), "raylet": pa.string()}
)
ONLY_THIS_RUN = ("raylet", "pid")
SQUARES = pa.schema({"square_id": pa.string(), "square": pa.int64(), "pid": pa.int64()})
TOTAL = pa.schema({"total": pa.int64()})


def prepare(dataset, count, **wishes):
    dataset.mkdir(parents=True, exist_ok=True)
    (dataset / ".toy.json").write_text(json.dumps({"count": count, **wishes}))


def wishes_of(dataset):
    return json.loads((dataset / ".toy.json").read_text())


def calls(dataset, stage):
    """Every row a worker was ever given, in the order they were begun."""
    path = dataset / f".{stage}.log"
    return path.read_text().split() if path.is_file() else []


def _note(dataset, stage, names):
    handle = os.open(dataset / f".{stage}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, "".join(f"{name}\n" for name in names).encode())
    os.close(handle)


def list_numbers(dataset, settings):
    return ({"id": f"n{n:05d}", "number": n, "unused": [n]} for n in range(wishes_of(dataset)["count"]))


def number_worker(dataset, settings):
    wishes = wishes_of(dataset)
    if wishes.get("dies_loading"):
        os._exit(3)

    def work(rows):
        _note(dataset, "numbers", [row["id"] for row in rows])
        time.sleep(wishes.get("seconds", 0.0))
        for row in rows:
            if row["number"] in wishes.get("crash", ()):
                os.kill(os.getpid(), signal.SIGSEGV)
            if row["number"] in wishes.get("hang", ()):
                time.sleep(600)
            if row["number"] in wishes.get("raise", ()):
                raise CaptionError(f"{row['id']} was asked to raise")
            if row["number"] in wishes.get("odd", ()):
                raise Unsendable(row["id"], 1)
        raylet = os.environ.get("RAY_RAYLET_PID", "")  # one a node
        return [
            {"id": row["id"], "number": n, "status": "ok" if n % 5 else "quarantined", "raylet": raylet}
            for row in rows
            for n in [row["number"]]
        ]

    return work


class Unsendable(Exception):
    def __init__(self, name, time):
        super().__init__(f"{name} cannot be pickled")


def list_squares(dataset, settings):
    return (row for row in StageTable(dataset, "numbers", NUMBERS).rows() if row["status"] == "ok")


def square_worker(dataset, settings):
    wishes = wishes_of(dataset)

    def work(rows):
        _note(dataset, "squares", [row["id"] for row in rows])
        time.sleep(wishes.get("seconds", 0.0))
        if any(row["number"] in wishes.get("dear", ()) for row in rows):
            raise CaptionError("the budget is spent")
        numbers = [row["number"] for row in rows]
        return [
            {"square_id": f"{n}-{k}", "square": n * n, "pid": os.getpid()} for n in numbers for k in range(n % 3)
        ]

    return work


def list_numbers_twice(dataset, settings):
    for row in list_numbers(dataset, settings):
        yield row
        yield row


def tell_rejects(rows, settings):
    return {"rejects": sum(row["status"] != "ok" for row in rows)}


def tell_cost(rows, settings):
    return {"cost": 0.25 * len(rows)}


def sum_up(dataset, settings):
    _note(dataset, "total", ["run"])
    return [{"total": sum(row["square"] for row in StageTable(dataset, "squares", SQUARES).rows())}]


def refuse(row, reason):
    return [{"square_id": row["id"], "square": -1}]


NUMBERS_STAGE = Stage("numbers", NUMBERS, "id", list_numbers, number_worker, "processes", tell=tell_rejects)
SQUARES_STAGE = Stage("squares", SQUARES, "id", list_squares, square_worker, "threads", tell=tell_cost)
TOTAL_STAGE = WholeStage("total", TOTAL, sum_up)

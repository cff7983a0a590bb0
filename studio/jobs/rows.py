"""Rows of the jobs' table as jobs, inside a transaction of `JobStore`."""

import json
import sqlite3
from typing import Any

from .job import Job, NoJobError


def read_row(row: sqlite3.Row) -> Job:
    """A row of the table."""
    values: dict[str, Any] = dict(row)
    values |= {name: json.loads(values[name]) for name in ("request", "result")}
    values |= {name: bool(values[name]) for name in ("starred", "cleaned")}
    return Job(**values)


def one(db: sqlite3.Connection, job_id: str) -> Job:
    """
    Raises:
        NoJobError: there is none.
    """
    row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise NoJobError(job_id)
    return read_row(row)


def put(db: sqlite3.Connection, job_id: str, **values: Any) -> Job:
    """Change some columns of a job, in a transaction."""
    values["changed"] = next_change(db)
    names = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), job_id))
    return one(db, job_id)


def next_change(db: sqlite3.Connection) -> int:
    """The number of a change, in its transaction."""
    (number,) = db.execute("UPDATE counter SET changed = changed + 1 RETURNING changed").fetchone()
    return number

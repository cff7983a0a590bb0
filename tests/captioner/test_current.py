"""Clips of files that were changed, moved or removed since are of the past: no stage reads another's pictures."""

from kinema.captioner import filters
from kinema.captioner.commits import StageTable
from kinema.captioner.current import clip_ids, clips, range_key
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.tables import SHOTS, SIGNALS, SOURCES


def found(dataset, name, content, start=None):
    """Ingest and cut a file, or a part of it; returns the key of its row."""
    row = {"source_key": f"{name}/{content}/{start}", "source_uri": name, "path": f"/v/{name}", "status": "ok"}
    row |= {"source_sha256": content, "start_s": start, "end_s": None}
    StageTable(dataset, "ingest", SOURCES).commit([row["source_key"]], [row])
    clip = {"clip_id": f"{content}-{start or 0}", "source_sha256": content, "path": row["path"], "status": "ok"}
    shots = StageTable(dataset, "shots", SHOTS)
    if range_key(row) not in shots.done():
        shots.commit([range_key(row)], [clip])
        scores = {"duration": 2.0, "aspect": 1.5, "short_side": 90.0}
        signal = {"clip_id": clip["clip_id"], "scores": scores, "phash": "0" * 32, "status": "ok"}
        StageTable(dataset, "signals", SIGNALS).commit([clip["clip_id"]], [signal])
    return row["source_key"]


def listed(dataset, keys):
    (dataset / "stages" / "ingest" / "listed.txt").write_text("".join(f"{key}\n" for key in keys))


def now(dataset):
    return {row["clip_id"]: row["path"] for row in clips(dataset)}


def kept(dataset):
    settings = CaptionSettings.model_validate({"filters": {"duplicate_bits": None, "duplicate_similarity": None}})
    return {row["clip_id"] for row in filters.select(dataset, settings)}


def test_clips_of_changed_and_removed_files_are_no_more_and_those_of_moved_ones_are_elsewhere(tmp_path):
    keys = [found(tmp_path, name, name.upper()) for name in "abc"]
    keys.append(found(tmp_path, "c", "C", start=1.0))
    assert now(tmp_path) == {"A-0": "/v/a", "B-0": "/v/b", "C-0": "/v/c", "C-1.0": "/v/c"}  # never listed: all
    assert clip_ids(tmp_path) is None and len(kept(tmp_path)) == 4
    listed(tmp_path, keys)
    assert clip_ids(tmp_path) == kept(tmp_path) == {"A-0", "B-0", "C-0", "C-1.0"}
    changed, moved = found(tmp_path, "a", "A2"), found(tmp_path, "z", "B")
    listed(tmp_path, [changed, moved, keys[3]])  # of c the one part is still asked for
    assert now(tmp_path) == {"A2-0": "/v/a", "B-0": "/v/z", "C-1.0": "/v/c"}
    assert kept(tmp_path) == clip_ids(tmp_path) == {"A2-0", "B-0", "C-1.0"}


def test_of_two_files_with_one_content_the_first_is_read_in_whatever_order_they_were_found(tmp_path):
    keys = [found(tmp_path, name, "A") for name in ("b", "a", "c")]
    listed(tmp_path, keys)
    assert now(tmp_path) == {"A-0": "/v/a"}
    listed(tmp_path, keys[::2])
    assert now(tmp_path) == {"A-0": "/v/b"}

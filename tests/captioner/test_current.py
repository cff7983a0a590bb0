"""Clips of files that were changed, moved or removed since are of the past: no stage reads another's pictures."""

import json

import numpy as np
import pyarrow.parquet as pq

from kinema import write_video
from kinema.captioner.backends.base import Answer
from kinema.captioner.captions import stage as writing
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.filters import stage as filters
from kinema.captioner.ingest import stage as ingest
from kinema.captioner.ingest.current import clip_ids, clips, range_key
from kinema.captioner.publish import stage as publish
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.shots import stage as shots
from kinema.captioner.tables import CAPTIONS, FILTERED, SHOTS, SIGNALS, SOURCES, digest


class Silent:
    """A backend that has nothing to say."""

    name, model, revision = "silent", "s", "1"
    sees, one_call_for_all_levels, num_frames, temperature = True, True, None, None

    def prompt_sha(self, levels):
        return ""

    def write(self, requests):
        return [Answer(status="skipped", error="cannot", can_retry=False) for _ in requests]


def found(dataset, name, content, start=None, **more):
    """Ingest and cut a file, or a part of it; returns the key of its row."""
    row = {
        "source_key": digest(name, content, start, more),
        "source_uri": name,
        "path": f"/v/{name}",
        "status": "ok",
    }
    row |= {"source_sha256": content, "start_s": start, "end_s": None} | more
    StageTable(dataset, "ingest", SOURCES).commit([row["source_key"]], [row])
    clip = {
        "clip_id": f"{content}-{start or 0}",
        "source_sha256": content,
        "path": row["path"],
        "status": "ok",
    } | more
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


def test_licenses_and_captions_are_those_of_now_and_nothing_is_cut_again_for_them(tmp_path):
    old = found(tmp_path, "b", "B", captions=["old"], license="CC0")
    listed(tmp_path, [old])
    new = found(tmp_path, "b", "B", captions=["new"], license="CC-BY", mtime_ns=7)
    listed(tmp_path, [new])
    (row,) = clips(tmp_path)
    assert (row["captions"], row["license"], row["mtime_ns"]) == (["new"], "CC-BY", 7)
    copies = [found(tmp_path, name, "B", captions=said) for name, said in (("a", []), ("c", ["of c"]))]
    listed(tmp_path, [new, *copies])
    (row,) = clips(tmp_path)
    assert (row["source_uri"], row["captions"], row["license"]) == ("a", ["new"], None)
    listed(tmp_path, copies[:1])
    assert [row["captions"] for row in clips(tmp_path)] == [[]]
    assert len(StageTable(tmp_path, "shots", SHOTS).parts()) == 1


def write_video_of(folder, name):
    frames = np.random.default_rng(3).integers(0, 255, (8, 24, 32, 3), dtype=np.uint8)
    (folder / "videos").mkdir(exist_ok=True)
    return write_video(folder / "videos" / name, frames, 8)


def test_an_edited_text_beside_a_video_is_its_one_original_after_the_next_run(tmp_path):
    source, dataset, asked = tmp_path / "videos", tmp_path / "out", CaptionSettings()
    write_video_of(tmp_path, "cat.mp4")
    dataset.mkdir()
    (dataset / "config.yaml").touch()
    (dataset / "source.json").write_text(json.dumps({"source": str(source)}))

    def done(stage):
        table = StageTable(dataset, stage.name, stage.schema)
        rows = [row for row in stage.inputs(dataset, asked) if row[stage.key] not in table.done()]
        if rows:
            table.commit([row[stage.key] for row in rows], stage.worker(dataset, asked)(rows))
        return len(rows)

    def run():
        made = [done(ingest.STAGE), done(shots.STAGE)]
        for row in clips(dataset):
            kept = {"clip_id": row["clip_id"], "reject_reasons": [], "status": "kept"}
            StageTable(dataset, "filters", FILTERED).replace(["x"], [kept])
        captions = StageTable(dataset, "captions", CAPTIONS)
        todo = [row for row in writing.inputs(dataset, asked) if row["clip_id"] not in captions.done()]
        for row in todo:
            settings = CaptionSettings.model_validate({"captions": {"backend": "captioner"}})
            writer = writing.Writer(settings, Silent(), None, None)
            captions.commit([row["clip_id"]], writer.write([row], run_id="run"))
        publish.run(dataset, asked)
        found = pq.read_table(dataset / "captions.parquet").to_pylist()
        (clip,) = pq.read_table(dataset / "clips.parquet").to_pylist()
        return [*made, len(todo)], [row for row in found if row["level"] == "original"], clip["license"]

    (source / "cat.txt").write_text("a dog")
    made, (dog,), license = run()
    assert made == [1, 1, 1] and (dog["text"], dog["run_id"], license) == ("a dog", "run", "")
    (source / "cat.txt").write_text("a cat")
    made, (cat,), license = run()
    assert made == [1, 0, 0] and (cat["text"], cat["status"], cat["backend"]) == ("a cat", "success", "original")
    before = (dataset / "captions.parquet").read_bytes()
    assert run() == ([0, 0, 0], [cat], "") and (dataset / "captions.parquet").read_bytes() == before
    (clip,) = clips(dataset)
    writer = writing.Writer(asked, Silent(), None, None)
    assert [row["caption_id"] for row in writer.write([clip]) if row["level"] == "original"] == [cat["caption_id"]]
    (source / "cat.txt").unlink()
    (source / "cat.json").write_text(json.dumps({"captions": ["a dog", "two"], "license": "CC0"}))
    made, both, license = run()
    assert made == [1, 0, 0] and license == "CC0"
    assert {row["text"]: row["run_id"] for row in both} == {"a dog": "run", "two": None}  # the first was scored
    (source / "cat.json").unlink()
    assert run() == ([1, 0, 0], [], "")

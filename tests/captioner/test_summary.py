"""The lines that end a run: they count what SOURCE holds now, and say what can be trained on."""

import sys
from pathlib import Path

from kinema.captioner.engine.claim import claim, load_settings, settings_of
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.ingest.listing import UNREAD
from kinema.captioner.ingest.stage import NOT_REACHED
from kinema.captioner.report.captions import read_captions
from kinema.captioner.summary import lines, summarise
from kinema.captioner.tables import CAPTIONS, FILTERED, MEDIA, SOURCES

sys.path.insert(0, str(Path(__file__).parent))
from test_current import found, kept, listed


def test_what_is_gone_from_source_is_counted_nowhere_and_its_files_are_named(tmp_path):
    keys = [found(tmp_path, name, name.upper(), captions=["x"] if name == "a" else []) for name in "abc"]
    listed(tmp_path, keys)
    for clip_id in sorted(kept(tmp_path)):
        status = "success" if clip_id == "B-0" else "error"
        rows = [{"caption_id": f"{clip_id}-{level}", "clip_id": clip_id, "level": level, "status": status}
                for level in ("structured", "short")]  # fmt: skip
        StageTable(tmp_path, "captions", CAPTIONS).commit([clip_id], rows)
        media = {"clip_id": clip_id, "path": f"media/{clip_id}.mp4", "status": "ok"}
        StageTable(tmp_path, "media", MEDIA).commit([clip_id], [media])
        (tmp_path / "media").mkdir(exist_ok=True)
        (tmp_path / media["path"]).touch()

    def filtered():
        rows = [{"clip_id": name, "reject_reasons": [], "status": "kept"} for name in sorted(kept(tmp_path))]
        StageTable(tmp_path, "filters", FILTERED).replace(["x"], rows)
        return summarise(tmp_path)

    told = filtered()
    assert (told.clips, told.captions.total(), told.captioned, told.trainable, told.stale) == (3, 6, 3, 2, 0)
    assert "2 of 3 clips can be trained on" in lines(told, tmp_path)
    listed(tmp_path, keys[1:])
    told = filtered()
    assert (told.clips, told.captions.total(), told.captioned, told.trainable, told.stale) == (2, 4, 2, 1, 1)
    assert any("1 file in media/ of clips that are gone" in line and "--redo media" in line
               for line in lines(told, tmp_path))  # fmt: skip
    assert read_captions(tmp_path, {"B-0"}).clips == 1 and read_captions(tmp_path).clips == 3


def test_a_caption_file_is_no_video_and_all_reasons_of_a_clip_are_told(tmp_path):
    table = StageTable(tmp_path, "ingest", SOURCES)
    for name, status, reason in (("a", "ok", None), ("a.txt", "quarantined", f"{UNREAD} (no text)"),
                                 ("b", "quarantined", "no such file"),
                                 ("c", "unreached", f"{NOT_REACHED}timeout")):  # fmt: skip
        table.commit([name], [{"source_key": name, "source_uri": name, "status": status, "reason": reason}])
    found(tmp_path, "d", "D")
    rows = [{"clip_id": "D-0", "reject_reasons": ["min_duration", "max_black: 1"], "status": "rejected"}]
    StageTable(tmp_path, "filters", FILTERED).replace(["x"], rows)
    told = lines(summarise(tmp_path), tmp_path)
    assert told[0] == "4 files found, 1 set aside (no such file)"
    assert told[1] == "1 file not reached, the next run tries again (timeout)"
    assert told[2].startswith("1 file of captions cannot be read")
    assert told[3] == "1 clip: 0 kept, 1 rejected (max_black; min_duration)"


def test_a_dataset_of_which_nothing_was_made_takes_other_settings(tmp_path):
    claim(tmp_path / "d", "s3://videos", load_settings())
    claim(tmp_path / "d", "s3://videos", load_settings(None, ["shots.max_seconds=7"]))
    assert settings_of(tmp_path / "d").shots.max_seconds == 7

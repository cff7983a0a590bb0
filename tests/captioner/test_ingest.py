"""From listed files to usable ones: what is counted, what is refused and why, and what a hang or crash costs."""

import dataclasses
import functools
import hashlib
import http.server
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import psutil
import pyarrow as pa
import pytest

from kinema import write_video
from kinema.captioner import addresses
from kinema.captioner.engine.claim import claim, load_settings
from kinema.captioner.engine.commits import CaptionError, StageTable
from kinema.captioner.engine.local import run_stage
from kinema.captioner.ingest import probing
from kinema.captioner.ingest import stage as ingest
from kinema.captioner.ingest.current import range_key
from kinema.captioner.ingest.listing import list_sources
from kinema.captioner.ingest.measuring import measure
from kinema.captioner.ingest.probing import Prober
from kinema.captioner.ingest.walking import printable
from kinema.captioner.settings import CaptionSettings, RunSettings
from kinema.captioner.tables import SOURCES
from kinema.data.video_io import VideoWarning, iter_video, read_video

sys.path.insert(0, str(Path(__file__).parent))
from hostile import remux, salt

SETTINGS = CaptionSettings()
SERVED = """
import ctypes, os, signal
from kinema.captioner.ingest import probing
measured = probing.measure
def measure(path, max_hours):
    if "hang" in path.name:
        ctypes.PyDLL(None).sleep(1000)  # with the interpreter's lock held: no Python code can end it
    if "crash" in path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "once" in path.name and not path.with_suffix(".seen").exists():
        path.with_suffix(".seen").touch()
        os._exit(1)
    return measured(path, max_hours)
probing.measure = measure
probing.serve()
"""


def ingested(source, dataset):
    """Rows of a source, as a table would hold them, by the ends of their addresses."""
    rows = ingest.worker(dataset, SETTINGS)(list(list_sources(str(source), SETTINGS.ingest, dataset)))
    return {Path(row["source_uri"]).name: row for row in pa.Table.from_pylist(rows, SOURCES).to_pylist()}


def small(path, frames=6, fps=8, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = np.random.default_rng(len(path.name)).integers(0, 255, (frames, 1, 1, 3), dtype=np.uint8)
    write_video(path, np.broadcast_to(shade, (frames, *size, 3)).copy(), fps)
    return path


@pytest.fixture(scope="module")
def salted(tmp_path_factory, real_videos):
    return salt(tmp_path_factory.mktemp("salted") / "videos", real_videos["carphone_pristine"])


def test_every_file_of_a_hostile_corpus_is_used_or_set_aside_with_the_right_reason(salted, tmp_path, real_videos):
    rows = ingest.worker(tmp_path, SETTINGS)(list(list_sources(str(salted.folder), SETTINGS.ingest)))
    pa.Table.from_pylist(rows, SOURCES)
    by_name = {row["source_uri"].removeprefix(f"{salted.folder}/"): row for row in rows}
    assert set(by_name) == {*salted.good, *map(printable, salted.bad)}
    for name, pattern in salted.bad.items():
        row = by_name[printable(name)]
        assert row["status"] == "quarantined" and re.search(pattern, row["reason"]), (name, row["reason"])
    whole = hashlib.sha256(real_videos["carphone_pristine"].read_bytes()).hexdigest()
    for name in salted.good:
        row = by_name[name]
        assert (row["status"], row["reason"]) == ("ok", None), (name, row["reason"])
        assert (row["width"], row["height"], row["num_frames"], row["codec"]) == (193, 144, 120, "h264")
        assert row["duration_s"] == pytest.approx(4.004, abs=0.04) and row["fps"] == pytest.approx(29.97, rel=1e-3)
        assert row["has_audio"] == (name == "with_sound.mp4")
    assert by_name["plain.mp4"]["source_sha256"] == by_name["link.mp4"]["source_sha256"] == whole
    assert by_name["plain.mp4"]["captions"] == ["a man in a car talks"] and by_name["link.mp4"]["captions"] == []
    assert ingest.tell(rows, SETTINGS) == {"rejects": len(salted.bad)}


def test_what_is_counted_is_what_the_reader_finds(real_videos, tmp_path):
    files = [*real_videos.values(), small(tmp_path / "one.mp4", frames=1), small(tmp_path / "some.mov", frames=9)]
    for path in files:
        found = measure(path, 24)
        if found["num_frames"] > 150 or found["width"] > 640:
            continue  # for the time it takes
        times = [at for at, _ in iter_video(path, size=(8, 8))]
        assert found["num_frames"] == len(times), path
        assert 0 < found["duration_s"] - times[-1] < 2.5 / found["fps"]
        video = read_video(path, num_frames=1)
        assert (found["height"], found["width"]) == video.frames.shape[1:3]
        assert found["fps"] == pytest.approx(video.fps, rel=0.02) and found["has_audio"] == video.has_audio


def test_a_file_that_is_cut_anywhere_is_refused_and_the_time_reached_is_right(real_videos, tmp_path):
    whole = remux(real_videos["bikes"], tmp_path / "whole.mp4", options={"movflags": "faststart"})
    data, part = whole.read_bytes(), tmp_path / "part.mp4"
    reached = []
    for share in (0.2, 0.5, 0.97):
        part.write_bytes(data[: int(len(data) * share)])
        told = re.search(r"^cut off.* ends at ([\d.]+) s", measure(part, 24)["reason"])
        assert told is not None
        reached.append(float(told[1]))
        with pytest.warns(VideoWarning):
            readable = read_video(part, size=(8, 8), on_error="readable")
        assert readable.times[-1] <= reached[-1] <= readable.times[-1] + 1.0  # what the decoder held back is lost
    assert reached == sorted(reached) and reached[0] > 0.5 and reached[-1] < 10
    assert measure(whole, 24)["num_frames"] == 250


@pytest.fixture
def treacherous(monkeypatch):
    monkeypatch.setattr(probing, "CHILD", [sys.executable, "-P", "-c", SERVED])


def test_hangs_and_crashes_of_the_decoder_cost_one_file_each(tmp_path, treacherous):
    for name in ("a fine", "b hang", "c fine", "d crash", "e once", "f fine"):
        small(tmp_path / "videos" / f"{name}.mp4")
    prober = Prober(seconds=1.5, max_hours=24)
    begin = time.monotonic()
    found = {path.stem[2:]: prober.probe(path) for path in sorted((tmp_path / "videos").glob("*.mp4"))}
    assert re.search(r"took longer than 1.5 s.*ingest\.probe_seconds=6 ", found["hang"]["unreached"])
    assert "crashed on it (signal 11, SIGSEGV)" in found["crash"]["reason"]
    assert found["fine"]["num_frames"] == found["once"]["num_frames"] == 6
    assert time.monotonic() - begin < 60
    prober.close()


def test_a_hung_prober_is_gone_when_its_file_is_set_aside_and_idle_ones_end_with_their_parent(
    tmp_path, treacherous
):
    path = small(tmp_path / "hang.mp4")
    prober = Prober(seconds=1.0, max_hours=24)
    prober.ask(path)
    hung = psutil.Process(prober._child.pid)
    assert "took longer" in prober.answer()["unreached"] and not hung.is_running()
    prober.probe(small(tmp_path / "fine.mp4"))
    idle = psutil.Process(prober._child.pid)
    os.kill(idle.pid, signal.SIGKILL)  # as the system does when memory runs out
    psutil.wait_procs([idle], timeout=10)
    assert prober.probe(tmp_path / "fine.mp4")["num_frames"] == 6
    idle = psutil.Process(prober._child.pid)
    prober._child.stdin.close()  # all that a child sees of its parent's end
    psutil.wait_procs([idle], timeout=10)
    assert not idle.is_running() or idle.status() == psutil.STATUS_ZOMBIE
    prober._child.stdin = None
    prober.close()


def test_an_orphan_that_hangs_ends_by_itself(tmp_path):
    path = small(tmp_path / "hang.mp4")
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", SERVED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps([str(path), 24, 0.1]).encode() + b"\n")
    child.stdin.close()
    assert child.wait(timeout=60) == -signal.SIGALRM
    child.stdout.close()


def test_a_child_is_replaced_before_it_grows_large(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "FILES_PER_CHILD", 2)
    path, prober, children = small(tmp_path / "a.mp4"), Prober(20, 24), []
    for _ in range(4):
        prober.probe(path)
        children.append(prober._child.pid)
    assert children[0] == children[1] != children[2] == children[3]
    prober.close()


def test_a_prober_that_cannot_start_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "CHILD", [sys.executable, "-c", "raise SystemExit('no FFmpeg here')"])
    with pytest.raises(CaptionError, match=r"does not start: no FFmpeg here"):
        Prober(5, 24).probe(small(tmp_path / "a.mp4"))


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    side = b"\xff\xff\xff\xff"  # 65535 x 65535 pixels, 17 GB
    frame = b"\x2c\0\0\0\0" + side + b"\0\x02\x02\x44\x01\0"
    (tmp_path / "bomb.gif").write_bytes(b"GIF89a" + side + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * 2 + b"\x3b")
    prober = Prober(20, 24)
    assert re.search("memory|decoded", prober.probe(tmp_path / "bomb.gif")["reason"])
    assert psutil.Process(prober._child.pid).memory_info().rss < 1 << 30
    prober.close()


def test_parts_of_a_file_are_looked_into_once(tmp_path, monkeypatch):
    small(tmp_path / "a.mp4", frames=16)
    (tmp_path / "t.csv").write_text("path,start,end\na.mp4,0,1\na.mp4,1,2\na.mp4,3,4\n")
    asked = []
    ask = Prober.ask
    monkeypatch.setattr(Prober, "ask", lambda prober, path: asked.append(path) or ask(prober, path))
    rows = ingest.worker(tmp_path, SETTINGS)(list(list_sources(str(tmp_path / "t.csv"), SETTINGS.ingest)))
    assert [row["status"] for row in rows] == ["ok", "ok", "quarantined"] and len(asked) == 1
    assert "begins at 3.00 s, and the video lasts 2.00 s" in rows[2]["reason"]


def test_a_file_that_grows_while_it_is_read_is_set_aside(tmp_path, monkeypatch):
    path = small(tmp_path / "a.mp4")
    answer = Prober.answer

    def growing(prober):
        with path.open("ab") as file:
            file.write(b"more")
        return answer(prober)

    monkeypatch.setattr(Prober, "answer", growing)
    assert "still being written" in ingested(path, tmp_path / "out")["a.mp4"]["reason"]


def test_an_answer_that_comes_while_the_file_is_still_hashed_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(Prober, "answered", lambda self: self._receive(60.0))  # the prober is always first
    row = ingested(small(tmp_path / "v" / "a.mp4"), tmp_path / "out")["a.mp4"]
    assert (row["status"], row["reason"]) == ("ok", None)


def claimed(dataset, source):
    dataset.mkdir()
    (dataset / "config.yaml").touch()
    (dataset / "source.json").write_text(json.dumps({"source": str(source)}))


def run_ingest(dataset, settings=SETTINGS, work=None):
    """What was pending, and status and reason of each file that SOURCE holds."""
    table = StageTable(dataset, "ingest", SOURCES)
    done = table.done()
    rows = [row for row in ingest.inputs(dataset, settings) if row["source_key"] not in done]
    if rows:
        made = (work or ingest.worker(dataset, settings))(rows)
        table.commit([row["source_key"] for row in rows], made)
    found = {Path(row["source_uri"]).stem: (row["status"], row["reason"]) for row in ingest.sources(dataset)}
    return len(rows), found


def test_a_file_that_could_not_be_read_when_its_turn_came_is_tried_again_by_the_next_run(tmp_path, monkeypatch):
    source, dataset = tmp_path / "videos", tmp_path / "out"
    for name in "abc":
        small(source / f"{name}.mp4")
    claimed(dataset, source)
    opening = Path.open

    def refuse(path, mode="r", *args, **kwargs):
        if path.name == "b.mp4" and mode == "rb":
            raise OSError(5, "Input/output error")
        return opening(path, mode, *args, **kwargs)

    work = ingest.worker(dataset, SETTINGS)

    def leave(rows):
        (source / "a.mp4").rename(tmp_path / "a.mp4")
        with monkeypatch.context() as patch:
            patch.setattr(ingest.Path, "open", refuse)
            return work(rows)

    tried, found = run_ingest(dataset, work=leave)
    again = ingest.NOT_REACHED
    assert (tried, found["c"]) == (3, ("ok", None)) and found["a"] == ("unreached", f"{again}no such file")
    assert found["b"] == ("unreached", f"{again}cannot be read (Input/output error)")
    (tmp_path / "a.mp4").rename(source / "a.mp4")
    fine = dict.fromkeys("abc", ("ok", None))
    assert run_ingest(dataset) == (2, fine) and run_ingest(dataset) == (0, fine)


def test_a_share_that_drops_out_ends_the_run_and_a_file_that_is_gone_for_good_holds_up_none(tmp_path, monkeypatch):
    source, dataset = tmp_path / "videos", tmp_path / "out"
    for number in range(7):
        small(source / f"{number}.mp4")
    claimed(dataset, source)
    work = ingest.worker(dataset, SETTINGS)

    def unmount(rows):
        made = work(rows[:1])
        source.rename(tmp_path / "away")
        return made + work(rows[1:])

    with pytest.raises(CaptionError, match=r"5 files in a row.*/5\.mp4: no such file.*share.*same command again"):
        run_ingest(dataset, work=unmount)
    with pytest.raises(CaptionError, match="does not exist"):
        run_ingest(dataset)
    (tmp_path / "away").rename(source)
    (source / "3.mp4").unlink()
    assert run_ingest(dataset) == (6, dict.fromkeys("012456", ("ok", None)))


def test_what_a_decoder_says_while_its_disk_fails_is_not_believed(tmp_path, monkeypatch):
    source, dataset = tmp_path / "videos", tmp_path / "out"
    small(source / "a.mp4")
    claimed(dataset, source)

    def fails(prober):
        source.rename(tmp_path / "away")
        return {"reason": "it cannot be read (Input/output error)"}

    with monkeypatch.context() as patch:
        patch.setattr(Prober, "answer", fails)
        work = ingest.worker(dataset, SETTINGS)
        _, found = run_ingest(dataset, work=work)
    assert found["a"][0] == "unreached" and "no such file" in found["a"][1]
    (tmp_path / "away").rename(source)
    assert run_ingest(dataset) == (1, {"a": ("ok", None)})


def test_what_took_too_long_is_tried_again_with_more_time_and_asked_once_for_all_its_parts(
    tmp_path, treacherous, monkeypatch
):
    source, dataset = tmp_path / "t.csv", tmp_path / "out"
    small(tmp_path / "hang.mp4", frames=16)
    source.write_text("path,start,end\nhang.mp4,0,1\nhang.mp4,1,2\n")
    hasty = load_settings(None, ["ingest.probe_seconds=0.5"])
    claim(dataset, str(source), hasty)
    asked, ask = [], Prober.ask
    with monkeypatch.context() as patch:
        patch.setattr(Prober, "ask", lambda prober, path: asked.append(path) or ask(prober, path))
        tried, found = run_ingest(dataset, hasty)
    assert tried == 2 and len(asked) == 1 and found["hang"][0] == "unreached"
    assert "ingest.probe_seconds=2 " in found["hang"][1]
    patient = load_settings(None, ["ingest.probe_seconds=60"])
    claim(dataset, str(source), patient)  # is what the message says, so it is not refused
    with pytest.raises(CaptionError, match=r"max_hours"):
        claim(dataset, str(source), load_settings(None, ["ingest.max_hours=3", "ingest.probe_seconds=60"]))
    monkeypatch.undo()  # the machine is no longer busy
    for pending in (2, 0):
        assert run_ingest(dataset, patient) == (pending, {"hang": ("ok", None)})


def test_a_fetched_copy_that_is_gone_is_fetched_again(tmp_path, memory):
    memory.pipe("/v/a.mp4", small(tmp_path / "a.mp4").read_bytes())
    dataset = tmp_path / "out"
    claimed(dataset, "memory://v")
    assert run_ingest(dataset) == (1, {"a": ("ok", None)})
    (before,) = ingest.sources(dataset)
    Path(before["path"]).unlink()
    assert run_ingest(dataset) == (1, {"a": ("ok", None)})
    (after,) = ingest.sources(dataset)
    assert range_key(after) == range_key(before) and Path(after["path"]).is_file()
    assert run_ingest(dataset) == (0, {"a": ("ok", None)})


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def test_what_is_elsewhere_is_fetched_once_whole_and_by_its_content(tmp_path, memory):
    video = small(tmp_path / "a.mp4").read_bytes()
    memory.pipe({"/v/a.mp4": video, "/v/b.mp4": video, "/v/c.mkv": b"no video", "/v/a.txt": b"words"})
    rows = ingested("memory://v", tmp_path / "out")
    name = hashlib.sha256(video).hexdigest()
    assert rows["a.mp4"]["path"] == rows["b.mp4"]["path"] == str(tmp_path / "out" / "sources" / f"{name}.mp4")
    assert (rows["a.mp4"]["source_sha256"], rows["a.mp4"]["captions"]) == (name, ["words"])
    assert rows["a.mp4"]["source_uri"] == "memory:///v/a.mp4" and "not a video" in rows["c.mkv"]["reason"]
    assert ingested("memory://v", tmp_path / "out") == rows
    assert len(list((tmp_path / "out" / "sources").iterdir())) == 2  # the useless one, too: it is its content


def test_members_of_an_archive_are_fetched_and_a_damaged_one_is_set_aside(tmp_path):
    video = small(tmp_path / "a.mp4").read_bytes()
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("in/a.mp4", video)
        archive.writestr("in/b.mp4", video + b"mark")
    data = (tmp_path / "v.zip").read_bytes()
    (tmp_path / "v.zip").write_bytes(data.replace(b"mark", b"MARK", 1))
    fsspec.get_filesystem_class("zip").clear_instance_cache()
    rows = ingest.worker(tmp_path / "out", SETTINGS)(list(list_sources(str(tmp_path / "v.zip"), SETTINGS.ingest)))
    assert [row["status"] for row in rows] == ["ok", "quarantined"]
    assert "CRC" in rows[1]["reason"] and rows[0]["num_frames"] == 6


def test_an_archive_on_a_share_that_drops_out_is_no_fault_of_its_members(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "WAITS", ())
    dataset, archive = tmp_path / "out", tmp_path / "v.zip"
    video = small(tmp_path / "a.mp4").read_bytes()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.mp4", video)
    claimed(dataset, archive)
    work = ingest.worker(dataset, SETTINGS)

    def unmount(rows):
        archive.rename(tmp_path / "away.zip")
        fsspec.get_filesystem_class("zip").clear_instance_cache()
        return work(rows)

    tried, found = run_ingest(dataset, work=unmount)
    ((status, reason),) = found.values()
    assert (tried, status) == (1, "unreached") and "cannot be " in reason
    (tmp_path / "away.zip").rename(archive)
    assert run_ingest(dataset) == (1, dict.fromkeys(found, ("ok", None)))


class Files(http.server.SimpleHTTPRequestHandler):
    asked: list[str]
    busy: int

    def do_GET(self):
        self.asked.append(self.path)
        if self.path.startswith("/busy") and self.asked.count(self.path) < type(self).busy:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server whose address is private, and what it was asked; only named hosts of that kind are."""
    monkeypatch.setattr(ingest, "WAITS", (0.01, 0.01))
    Files.asked, Files.busy = [], 3
    handler = functools.partial(Files, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_private_addresses_are_not_asked_unless_they_are_named(tmp_path, server, monkeypatch):
    small(tmp_path / "www" / "a.mp4")
    row = ingested(f"{server}/a.mp4", tmp_path / "out")["a.mp4"]
    assert "not on the public internet" in row["reason"] and Files.asked == []
    monkeypatch.setenv("KINEMA_ALLOWED_HOSTS", "127.0.0.1")
    assert ingested(f"{server}/a.mp4", tmp_path / "out")["a.mp4"]["num_frames"] == 6


def test_passing_troubles_are_tried_again_lasting_ones_not_and_a_dead_network_stops_the_run(
    tmp_path, server, monkeypatch
):
    monkeypatch.setenv("KINEMA_ALLOWED_HOSTS", "127.0.0.1")
    small(tmp_path / "www" / "busy.mp4")
    (tmp_path / "www" / "list.txt").write_text("busy.mp4\ngone.mp4\n")
    rows = ingested(f"{server}/list.txt", tmp_path / "out")
    assert rows["busy.mp4"]["status"] == "ok" and "404" in rows["gone.mp4"]["reason"]
    assert Files.asked == ["/list.txt", "/busy.mp4", "/busy.mp4", "/busy.mp4", "/gone.mp4"]
    Files.busy = 1000
    monkeypatch.setattr(ingest, "MOST_FAILED", 2)
    (tmp_path / "www" / "list.txt").write_text("".join(f"busy{number}.mp4\n" for number in range(3)))
    with pytest.raises(CaptionError, match=r"2 files in a row.*busy1\.mp4.*503.*same command again"):
        ingested(f"{server}/list.txt", tmp_path / "out")
    assert [path.suffix for path in (tmp_path / "out" / "sources").iterdir()] == [".mp4"]


def test_what_was_not_reached_is_tried_again_by_the_next_run_and_no_longer_after_that(
    tmp_path, server, monkeypatch
):
    monkeypatch.setenv("KINEMA_ALLOWED_HOSTS", "127.0.0.1")
    for name in ("busy", "fine"):
        small(tmp_path / "www" / f"{name}.mp4")
    (tmp_path / "www" / "list.txt").write_text("busy.mp4\nfine.mp4\ngone.mp4\n")
    dataset = tmp_path / "out"
    dataset.mkdir()
    (dataset / "config.yaml").touch()
    (dataset / "source.json").write_text(json.dumps({"source": f"{server}/list.txt"}))
    once = CaptionSettings(run=RunSettings(workers=1))
    direct = dataclasses.replace(ingest.STAGE, runs_in="threads")  # in this process, which knows of no waits

    def run():
        Files.asked.clear()
        pending = run_stage(direct, dataset, once).pending
        rows = {Path(row["source_uri"]).stem: row for row in ingest.sources(dataset)}
        return pending, [rows[name]["status"] for name in ("busy", "fine", "gone")], rows["busy"]["reason"]

    Files.busy = 1000
    for pending in (3, 1):
        tried, statuses, reason = run()
        assert (tried, statuses) == (pending, ["unreached", "ok", "quarantined"])
        assert "next run tries again" in reason and "503" in reason and Files.asked.count("/busy.mp4") == 3
    Files.busy = 2
    assert run() == (1, ["ok", "ok", "quarantined"], None)
    assert run() == (0, ["ok", "ok", "quarantined"], None) and Files.asked == ["/list.txt"]


def test_a_full_disk_is_no_fault_of_a_file(tmp_path, memory, monkeypatch):
    memory.pipe("/v/a.mp4", b"x")

    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(memory), "get_file", full)
    with pytest.raises(OSError, match="No space left"):
        ingested("memory://v", tmp_path / "out")


def test_rows_of_files_that_were_changed_or_removed_are_of_the_past(tmp_path):
    source, dataset = tmp_path / "videos", tmp_path / "out"
    for name in ("a", "b", "c"):
        small(source / f"{name}.mp4")
    (source / "d.mp4").touch()
    dataset.mkdir()
    (dataset / "config.yaml").touch()
    (dataset / "source.json").write_text(json.dumps({"source": str(source)}))
    table = StageTable(dataset, "ingest", SOURCES)

    def run():
        done = table.done()
        rows = [row for row in ingest.inputs(dataset, SETTINGS) if row["source_key"] not in done]
        if rows:
            table.commit([row["source_key"] for row in rows], ingest.worker(dataset, SETTINGS)(rows))
        found = list(ingest.sources(dataset))
        return len(rows), sorted(Path(row["source_uri"]).stem for row in found if row["status"] == "ok")

    assert run() == (4, ["a", "b", "c"])
    assert [row["reason"] for row in ingest.quarantined(dataset)] == ["the file is empty (0 bytes)"]
    assert run() == (0, ["a", "b", "c"])
    small(source / "a.mp4", frames=3)
    (source / "b.txt").write_text("new words")
    (source / "c.mp4").unlink()
    small(source / "d.mp4")
    assert run() == (3, ["a", "b", "d"])
    rows = {Path(row["source_uri"]).stem: row for row in ingest.sources(dataset)}
    assert rows["a"]["num_frames"] == 3 and rows["b"]["captions"] == ["new words"] and len(rows) == 3
    assert list(ingest.quarantined(dataset)) == [] and len(list(table.rows())) == 7


def test_the_engine_does_a_hostile_corpus_once_and_comes_to_the_same_rows(salted, tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "source.json").write_text(json.dumps({"source": str(salted.folder)}))
    once = CaptionSettings(run=RunSettings(workers=1, batch_size=7))
    report = run_stage(ingest.STAGE, tmp_path, once)
    assert (report.done.inputs, report.done.told["rejects"]) == (
        len(salted.good) + len(salted.bad),
        len(salted.bad),
    )
    assert run_stage(ingest.STAGE, tmp_path, once).done.inputs == 0
    direct = ingest.worker(tmp_path, SETTINGS)(list(ingest.inputs(tmp_path, SETTINGS)))
    expected = pa.Table.from_pylist(direct, SOURCES).to_pylist()
    assert sorted(ingest.sources(tmp_path), key=str) == sorted(expected, key=str)


def test_an_abandoned_listing_forgets_nothing(tmp_path):
    dataset = tmp_path / "out"
    (dataset / "sources").mkdir(parents=True)
    (dataset / "sources" / "0f.part.mp4").touch()
    (dataset / "config.yaml").touch()
    (dataset / "source.json").write_text(json.dumps({"source": str(small(tmp_path / "v" / "a.mp4").parent)}))
    list(ingest.inputs(dataset, SETTINGS))
    before = (dataset / "stages" / "ingest" / "listed.txt").read_text()
    small(tmp_path / "v" / "b.mp4")
    next(rows := ingest.inputs(dataset, SETTINGS))
    rows.close()
    assert (dataset / "stages" / "ingest" / "listed.txt").read_text() == before
    assert list((dataset / "sources").iterdir()) == []


def test_archives_on_the_web_are_fetched_with_the_same_guard_and_once_for_all_members(
    tmp_path, server, monkeypatch
):
    (tmp_path / "www").mkdir()
    with zipfile.ZipFile(tmp_path / "www" / "v.zip", "w") as archive:
        for name in ("a.mp4", "b.mp4"):
            archive.write(small(tmp_path / name), name)
    members = [f"zip://{name}.mp4::{server}/v.zip" for name in "ab"]
    (tmp_path / "list.txt").write_text(
        "\n".join([*members, f"simplecache://::{server}/v.zip", f"zip://{server}/a.mp4"])
    )
    rows = list(list_sources(str(tmp_path / "list.txt"), SETTINGS.ingest))
    found = ingest.worker(tmp_path / "out", SETTINGS)(rows)
    for row in found[:3]:
        assert row["status"] == "quarantined" and "not on the public internet" in row["reason"], row
    assert "only be a chain's last link" in found[3]["reason"] and Files.asked == []
    monkeypatch.setenv("KINEMA_ALLOWED_HOSTS", "127.0.0.1")
    found = ingest.worker(tmp_path / "out", SETTINGS)(rows[:2])
    assert [row["num_frames"] for row in found] == [6, 6] and Files.asked == ["/v.zip"]
    assert [row["source_uri"] for row in found] == members
    again = list_sources(f"zip://::{server}/v.zip", SETTINGS.ingest)
    assert {row["source_uri"] for row in again} == {f"zip://{n}.mp4::{server}/v.zip" for n in "ab"}


def test_a_member_that_unpacks_to_more_than_is_taken_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "MAX_BYTES", 100_000)
    with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", bytes(10**7))
        archive.write(small(tmp_path / "a.mp4"), "a.mp4")
    found = ingest.worker(tmp_path / "out", SETTINGS)(list(list_sources(str(tmp_path / "v.zip"), SETTINGS.ingest)))
    assert [row["status"] for row in found] == ["ok", "quarantined"]
    assert found[1]["reason"] == "it has more than 0.1 MB, the most that is taken"
    assert len(list((tmp_path / "out" / "sources").iterdir())) == 1


def test_a_protocol_whose_package_is_missing_costs_its_own_row_until_it_is_there(tmp_path, monkeypatch):
    registry = importlib.import_module("fsspec.registry")  # fsspec has a mapping of the same name
    monkeypatch.setitem(
        registry.known_implementations, "s3", {"class": "no_such_s3fs.S3", "err": "Install s3fs to access S3"}
    )
    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    monkeypatch.delitem(registry._registry, "s3", raising=False)
    small(tmp_path / "a.mp4")
    (tmp_path / "list.txt").write_text("s3://bucket/a.mp4\na.mp4\n")
    rows = ingest.worker(tmp_path, SETTINGS)(list(list_sources(str(tmp_path / "list.txt"), SETTINGS.ingest)))
    assert [row["status"] for row in rows] == ["unreached", "ok"]
    assert "s3:// needs `pip install s3fs`" in rows[0]["reason"]


def test_what_opens_an_address_is_in_no_row(tmp_path, server, monkeypatch):
    monkeypatch.setenv("KINEMA_ALLOWED_HOSTS", "127.0.0.1")
    small(tmp_path / "www" / "a.mp4")
    at = server.replace("://", "://ann:hunter2@")
    signed = ["a.mp4?v=1&X-Amz-Signature=hunter2&X-Amz-Credential=hunter2", "gone.mp4?token=hunter2"]
    (tmp_path / "list.txt").write_text("".join(f"{at}/{name}\n" for name in signed))
    listed = list(list_sources(str(tmp_path / "list.txt"), SETTINGS.ingest))
    rows = pa.Table.from_pylist(ingest.worker(tmp_path, SETTINGS)(listed), SOURCES).to_pylist()
    assert [row["source_uri"] for row in rows] == [f"{server}/a.mp4?v=1", f"{server}/gone.mp4"]
    assert [row["status"] for row in rows] == ["ok", "quarantined"] and Files.asked == [
        f"/{name}" for name in signed
    ]
    assert "hunter2" not in json.dumps(rows)
    monkeypatch.setattr(ingest, "MOST_FAILED", 1)
    Files.busy = 1000
    (tmp_path / "list.txt").write_text(f"{at}/busy.mp4?sig=hunter2\n")
    with pytest.raises(CaptionError) as raised:
        ingested(tmp_path / "list.txt", tmp_path / "out")
    assert "hunter2" not in str(raised.value)

"""What a SOURCE of any kind is found to hold."""

import itertools
import json
import os
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.captioner.addresses import secrets_hidden, without_secrets
from kinema.captioner.engine.commits import CaptionError
from kinema.captioner.ingest import walking
from kinema.captioner.ingest.listing import list_sources
from kinema.captioner.ingest.sidecars import texts
from kinema.captioner.ingest.walking import LocalTree
from kinema.captioner.settings import IngestSettings


def listed(source, dataset=None, **options):
    return list(list_sources(str(source), IngestSettings(**options), dataset))


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not looked into")
    return folder


def names(rows, root):
    return [str(Path(row["source_uri"]).relative_to(root)) for row in rows]


def test_a_folder_is_listed_whole_in_a_fixed_order_without_hidden_and_unfinished_files(tmp_path):
    put(
        tmp_path,
        "b.mp4",
        "a.MKV",
        "z/é x.webm",
        "z/new\nline.mov",
        "c/-d.avi",
        ".h.mp4",
        ".g/x.mp4",
        "p.mp4.part",
        "r.md",
    )
    rows = listed(tmp_path)
    assert names(rows, tmp_path) == ["a.MKV", "b.mp4", "c/-d.avi", "z/new\nline.mov", "z/é x.webm"]
    assert all(row["path"] == row["source_uri"] and row["bytes"] == 15 and row["reason"] == "" for row in rows)
    assert rows == listed(tmp_path)


def test_a_listing_is_read_folder_by_folder(tmp_path, monkeypatch):
    put(tmp_path, "a/1.mp4", "b/1.mp4", "c/1.mp4")
    opened = []
    scandir = os.scandir
    monkeypatch.setattr(walking.os, "scandir", lambda folder: opened.append(str(folder)) or scandir(folder))
    first = next(list_sources(str(tmp_path), IngestSettings()))
    assert first["source_uri"].endswith("a/1.mp4") and opened == [str(tmp_path), str(tmp_path / "a")]


def test_links_to_files_are_files_and_links_to_folders_are_entered_once_and_never_in_circles(tmp_path):
    root, other = put(tmp_path / "root", "deep/a.mp4"), put(tmp_path / "other", "o.mp4")
    (root / "link.mp4").symlink_to("deep/a.mp4")
    (root / "elsewhere").symlink_to(other)
    (root / "elsewhere too").symlink_to(other)
    (root / "same").symlink_to("deep")
    put(root, ".store/s.mp4")
    (root / "stored").symlink_to(".store")
    (root / "deep" / "up").symlink_to(root)
    (other / "back").symlink_to(other)
    (root / "self.mp4").symlink_to("self.mp4")
    (root / "gone.mp4").symlink_to("nowhere.mp4")
    rows = {name: row for name, row in zip(names(listed(root), root), listed(root))}
    good = {name for name, row in rows.items() if not row["reason"]}
    assert good == {"link.mp4", "deep/a.mp4", "elsewhere/o.mp4", "stored/s.mp4"}
    for name in ("deep/up", "elsewhere/back", "self.mp4"):
        assert "loop" in rows.pop(name)["reason"]
    assert "nowhere.mp4, which does not exist" in rows["gone.mp4"]["reason"]
    assert len(rows) == 5


def test_what_is_no_regular_file_or_cannot_be_read_is_listed_with_its_reason(tmp_path, monkeypatch):
    put(tmp_path, "locked.mp4", "locked/inside.mp4", "fine.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "fine.txt")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / os.fsdecode(b"\xff.mp4")).touch()
    access, scandir = os.access, os.scandir
    monkeypatch.setattr(walking.os, "access", lambda path, mode: "locked" not in str(path) and access(path, mode))

    def locked(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(walking.os, "scandir", locked)
    reasons = {name: row["reason"] for row in listed(tmp_path) for name in names([row], tmp_path)}
    wrong = {
        "locked.mp4": "Permission denied",
        "locked": "Permission denied",
        "pipe.mp4": "pipe",
        "empty.mp4": "0 bytes",
    }
    wrong |= {"folder.mp4": "a folder", "\\udcff.mp4": "UTF-8"}
    assert set(reasons) == {*wrong, "fine.mp4"} and reasons["fine.mp4"] == ""
    for name, words in wrong.items():
        assert words in reasons[name]


def test_captions_beside_a_video_are_its_originals(tmp_path):
    put(tmp_path, *(f"{n}.mp4" for n in "abcdefg"), "a.mov")
    sidecars = {
        "a.txt": " my own\nwords ",
        "b.json": '["one", "two", "one", ""]',
        "c.json": '{"text": "said", "license": "CC0"}',
        "d.json": '{"captions": ["x", "y"]}',
        "d.txt": "not read, since there is a .json",
        "e.json": '{"caption": "half a character \\ud800"}',
        "f.json": "{",
        "g.json": '{"mine": "chosen", "caption": "not this"}',
    }
    for name, text in sidecars.items():
        (tmp_path / name).write_text(text)
    rows = {name: row for row in listed(tmp_path, license="own") for name in names([row], tmp_path)}
    assert rows["a.mp4"]["captions"] == rows["a.mov"]["captions"] == ["my own\nwords"]
    assert rows["b.mp4"]["captions"] == ["one", "two"]
    assert (rows["c.mp4"]["captions"], rows["c.mp4"]["license"]) == (["said"], "CC0")
    assert (rows["d.mp4"]["captions"], rows["d.mp4"]["license"]) == (["x", "y"], "own")
    assert rows["e.mp4"]["captions"] == ["half a character ?"]
    assert rows["f.mp4"]["reason"] == "" and rows["f.mp4"]["captions"] == []
    assert "cannot be read" in rows["f.json"]["reason"]
    chosen = {row["source_uri"]: row for row in listed(tmp_path, caption_column="mine")}
    assert chosen[str(tmp_path / "g.mp4")]["captions"] == ["chosen"]


def leaking(tmp_path):
    """A folder of somebody's, with links to what lies beside it."""
    root, private = put(tmp_path / "root", *(f"{n}.mp4" for n in "abcde"), "in/f.mp4"), tmp_path / "private"
    put(private, "g.mp4")
    (private / "secret").write_text("my letters")
    (private / "g.txt").write_text("my letters")
    (private / "secret.csv").write_text("path,caption\ne.mp4,my letters\n")
    (root / "a.txt").symlink_to("../private/secret")
    (root / "b.json").symlink_to(private / "secret.csv")
    (root / "c.txt").symlink_to("chain")
    (root / "chain").symlink_to(private / "secret")
    (root / "metadata.csv").symlink_to(private / "secret.csv")
    (root / "in" / "f.txt").symlink_to("../words")
    (root / "words").write_text("own words")
    (root / "out").symlink_to(private)
    (root / "d.txt").write_text("own words")
    (root / "v.mp4").symlink_to(private / "g.mp4")
    return root


@pytest.mark.parametrize("kind", ["{}", "file://{}", "simplecache://::file://{}", "link", "{}/**/*.mp4", "list"])
def test_captions_behind_links_out_of_the_source_are_not_read_and_told_of(tmp_path, kind):
    root = leaking(tmp_path)
    source = kind.format(root)
    if kind == "link":
        source = tmp_path / "link"
        source.symlink_to(root)
    if kind == "list":
        source = root / "list.txt"
        source.write_text("\n".join(["a.mp4", "b.mp4", "c.mp4", "d.mp4", "in/f.mp4", "out/g.mp4", "v.mp4"]))
    rows = {Path(row["source_uri"].partition("::")[0]).name: row for row in listed(source)}
    assert "my letters" not in str(rows)
    assert {name for name, row in rows.items() if row["captions"]} == {"d.mp4", "f.mp4"}
    assert rows["d.mp4"]["captions"] == rows["f.mp4"]["captions"] == ["own words"]
    assert {"a.mp4", "b.mp4", "c.mp4", "v.mp4"} <= {name for name, row in rows.items() if not row["reason"]}
    told = {name for name, row in rows.items() if "leads out of the source" in row["reason"]}
    tables = set() if kind == "list" else {"metadata.csv"}
    entered = {"g.txt"} if kind == "list" else {"g.txt", "secret.csv"}  # fsspec enters no links to folders
    assert {"a.txt", "b.json", "c.txt"} | tables | (set() if "file://" in kind else entered) == told


def test_captions_of_one_file_and_of_videos_that_a_list_has_from_elsewhere(tmp_path):
    root = leaking(tmp_path)
    assert [row["captions"] for row in listed(root / "d.mp4")] == [["own words"]]
    beside, video = listed(root / "a.mp4")
    assert "leads out" in beside["reason"] and video["captions"] == [] and video["reason"] == ""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "l.txt").write_text("../root/d.mp4\n../root/a.mp4\n")
    assert [row["captions"] for row in listed(tmp_path / "lists" / "l.txt")] == [["own words"], [], []]


TABLE = [
    {"file_name": "a.mp4", "text": "first", "start": 0, "end": 1.5, "licence": "CC-BY"},
    {"file_name": "a.mp4", "text": "second", "start": 0, "end": 1.5, "licence": "CC-BY"},
    {"file_name": "a.mp4", "text": "later", "start": 1.5, "end": None, "licence": ""},
    {"file_name": "sub/b.mp4", "text": "", "start": None, "end": None, "licence": None},
    {"file_name": "https://example.org/c.mp4?x=1", "text": "far", "start": None, "end": None, "licence": None},
    {"file_name": "lost.mp4", "text": "no more", "start": None, "end": None, "licence": None},
    {"file_name": "a.mp4", "text": "backwards", "start": 2, "end": 1, "licence": None},
    {"file_name": "", "text": "nothing named", "start": None, "end": None, "licence": None},
]


def write_table(path):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(TABLE), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    else:
        cells = [",".join("" if value is None else str(value) for value in row.values()) for row in TABLE]
        path.write_text("\n".join([",".join(TABLE[0]), *cells]))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_tables_give_parts_captions_and_licenses(tmp_path, suffix, whole_folder):
    put(tmp_path, "a.mp4", "sub/b.mp4", *(["unnamed.mp4"] if whole_folder else []))
    (tmp_path / "sub" / "b.txt").write_text("from beside")
    table = write_table(tmp_path / f"metadata{suffix}")
    rows = listed(tmp_path if whole_folder else table)
    told = {
        (
            row["source_uri"].removeprefix(f"{tmp_path}/"),
            row["start_s"],
            row["end_s"],
            *row["captions"],
            row["license"],
        )
        for row in rows
        if not row["reason"]
    }
    assert told == {
        ("a.mp4", None, 1.5, "first", "second", "CC-BY"),
        ("a.mp4", 1.5, None, "later", ""),
        ("sub/b.mp4", None, None, "from beside", ""),
        ("https://example.org/c.mp4?x=1", None, None, "far", ""),
    } | ({("unnamed.mp4", None, None, "")} if whole_folder else set())
    wrong = {Path(row["source_uri"]).name: row["reason"] for row in rows if row["reason"]}
    assert wrong["lost.mp4"] == "no such file"
    assert "from 2.0 s to 1.0 s is empty" in wrong[f"{table.name}#7"]
    assert "needs the name of a file" in wrong[f"{table.name}#8"] and len(wrong) == 3
    assert len({row["source_key"] for row in rows}) == len(rows)


def test_the_caption_column_can_be_named_and_a_wrong_name_is_told(tmp_path):
    put(tmp_path, "a.mp4")
    table = write_table(tmp_path / "t.parquet")
    assert listed(table, caption_column="licence")[0]["captions"] == ["CC-BY"]
    with pytest.raises(CaptionError, match=r"columns file_name, text.*'words'"):
        listed(table, caption_column="words")


def test_broken_tables_are_told_of_and_stop_nothing(tmp_path):
    put(tmp_path, "a.mp4")
    (tmp_path / "bad.jsonl").write_text(
        '{"path": "a.mp4", "caption": "kept"}\n{"path": \n[1]\n' + "[" * 100_000 + "\n"
    )
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    (tmp_path / "bad.csv").write_bytes(b"path,text\na.mp4,\xff\xfe")
    (tmp_path / "sums.csv").write_text("city,sum\nBonn,3\n")
    (tmp_path / "empty.csv").touch()
    rows = listed(tmp_path)
    reasons = [row["reason"] for row in rows if row["reason"]]
    assert [row["captions"] for row in rows if not row["reason"]] == [["kept"]]
    for words in (
        "line 2 of",
        "line 3 of",
        "line 4 of",
        "no Parquet",
        "not UTF-8",
        "columns city, sum",
        "0 bytes",
    ):
        assert sum(words in reason for reason in reasons) == 1, words
    assert len(reasons) == 7


def test_a_text_list_names_files_beside_it_and_urls(tmp_path):
    put(tmp_path, "a b.mp4", "sub/c.strange")
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbfa b.mp4\r\nsub/c.strange\n\n"
        + os.fsencode(tmp_path)
        + b"/gone.mp4\ns3://bucket/d.mp4\nbad\x00.mp4\n"
    )
    rows = listed(tmp_path / "list.txt")
    assert [row["source_uri"].removeprefix(f"{tmp_path}/") for row in rows] == [
        "a b.mp4", "sub/c.strange", "gone.mp4", "s3://bucket/d.mp4", "bad\x00.mp4",
    ]  # fmt: skip
    assert [bool(row["reason"]) for row in rows] == [False, False, True, False, True]
    assert [bool(row["path"]) for row in rows] == [True, True, True, False, True]


def test_globs(tmp_path):
    put(
        tmp_path,
        "v/a.mp4",
        "v/b.mkv",
        "v/.h.mp4",
        "v/x/c.mp4",
        "v/x/y/d.mp4",
        "v/x/e.txt",
        "w/f.mp4",
        "v/[odd].mp4",
        "v/g.ts",
    )
    (tmp_path / "v" / "a.txt").write_text("beside")

    def found(pattern):
        return names(listed(f"{tmp_path}/{pattern}"), tmp_path)

    assert found("v/*.mp4") == ["v/[odd].mp4", "v/a.mp4"]
    assert found("v/**/*.mp4") == ["v/[odd].mp4", "v/a.mp4", "v/x/c.mp4", "v/x/y/d.mp4"]
    assert found("*/?.mp4") == ["v/a.mp4", "w/f.mp4"]
    assert found("v/*") == ["v/[odd].mp4", "v/a.mp4", "v/b.mkv"]
    assert found("v/x/**") == ["v/x/c.mp4", "v/x/y/d.mp4"]
    assert found("v/*.ts") == ["v/g.ts"]
    assert found("v/[odd].mp4") == ["v/[odd].mp4"]
    assert listed(f"{tmp_path}/v/a*")[0]["captions"] == ["beside"]


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def test_folders_globs_files_and_lists_behind_urls(memory):
    content = {
        "v/a.mp4": b"1", "v/a.txt": b"words", "v/sub/b.mp4": b"22", "v/.h.mp4": b"1", "v/empty.mp4": b"",
        "v/metadata.csv": b"path,caption,start\nsub/b.mp4,told,1\ngone.mp4,lost,\n",
        "l/list.txt": b"x.mp4\n../v/a.mp4\n",
    }  # fmt: skip
    for name, data in content.items():
        memory.pipe(f"/{name}", data)

    def found(source):
        return {row["source_uri"]: row for row in listed(source)}

    rows = found("memory://v")
    assert list(rows) == [f"memory:///v/{name}.mp4" for name in ("a", "empty", "sub/b", "gone")]
    assert rows["memory:///v/a.mp4"]["captions"] == ["words"] and rows["memory:///v/a.mp4"]["path"] == ""
    assert (rows["memory:///v/sub/b.mp4"]["captions"], rows["memory:///v/sub/b.mp4"]["start_s"]) == (["told"], 1.0)
    assert rows["memory:///v/gone.mp4"]["reason"] == "no such file"
    assert "0 bytes" in rows["memory:///v/empty.mp4"]["reason"]
    assert list(found("memory://v/**/b*.mp4")) == ["memory:///v/sub/b.mp4"]
    assert found("memory://v/a.mp4")["memory:///v/a.mp4"]["captions"] == ["words"]
    assert list(found("memory://l/list.txt")) == ["memory:///l/x.mp4", "memory:///l/../v/a.mp4"]
    before = rows["memory:///v/a.mp4"]["source_key"]
    memory.pipe("/v/a.mp4", b"2")
    assert found("memory://v")["memory:///v/a.mp4"]["source_key"] != before
    with pytest.raises(CaptionError, match="does not exist"):
        found("memory://nothing/here")


def test_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "videos.zip", "w") as archive:
        for name in ("top.mp4", "in ner/é.mp4", "__MACOSX/._top.mp4", "notes.md"):
            archive.writestr(name, name)
        archive.writestr("in ner/é.json", '["a", "b"]')
    rows = listed(tmp_path / "videos.zip")
    where = f"::{tmp_path}/videos.zip"
    assert [row["source_uri"] for row in rows] == [f"zip://top.mp4{where}", f"zip://in ner/é.mp4{where}"]
    assert rows[1]["captions"] == ["a", "b"]
    assert [row["source_uri"] for row in listed(f"zip://in ner{where}")] == [rows[1]["source_uri"]]
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CaptionError, match="BadZipFile"):
        listed(tmp_path / "broken.zip")


def test_shards_of_clips_with_their_captions(tmp_path):
    put(tmp_path / "in", "0001.mp4", "0002.mp4")
    (tmp_path / "in" / "0001.txt").write_text("first")
    (tmp_path / "in" / "0002.json").write_text('{"caption": "second"}')
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for path in sorted((tmp_path / "in").iterdir()):
            shard.add(path, path.name)
    rows = listed(tmp_path / "shard.tar")
    assert [(row["source_uri"], *row["captions"]) for row in rows] == [
        (f"tar://0001.mp4::{tmp_path}/shard.tar", "first"), (f"tar://0002.mp4::{tmp_path}/shard.tar", "second"),
    ]  # fmt: skip


SIGNED = "X-Amz-Signature=geheim"


@pytest.mark.parametrize(
    "source",
    [
        f"http://u:geheim@127.0.0.1:1/list.txt?{SIGNED}",
        f"http://127.0.0.1:1/a b/list.csv?page=1&{SIGNED}",
        f"zip://::http://u:geheim@127.0.0.1:1/v.zip?{SIGNED}",
        f"zip://x::http://127.0.0.1:1/v.zip?{SIGNED}::http://u:geheim@h/a.zip",
        f"nonsense://a/b.mp4::https://h/x?{SIGNED}",
        f"memory://nothing/here::https://u:geheim@h/v.zip?{SIGNED}",
        f"s3://bucket/nothing?{SIGNED}",
        f"simplecache::https://u:geheim@h/v.zip?{SIGNED}",
        f"zip://::file:///gone.zip?token=geheim::https://u:geheim@h/x?{SIGNED}",
    ],
)
def test_no_message_about_a_source_has_what_opens_it(source, tmp_path):
    with pytest.raises(CaptionError) as caught:
        listed(source)
    assert "geheim" not in str(caught.value) and len(str(caught.value)) > 20


def test_no_message_about_what_a_signed_source_holds_has_what_opens_it(memory, monkeypatch):
    memory.pipe("/v/notes.md", b"1")
    memory.pipe("/v/metadata.csv", b"path\n")
    address = f"https://u:geheim@h/v.zip?{SIGNED}"

    def opened(url):
        return memory, "/v"

    monkeypatch.setattr("kinema.captioner.ingest.remote.open_url", opened)

    def said():
        with pytest.raises(CaptionError) as caught:
            listed(f"zip://v::{address}")
        assert "geheim" not in str(caught.value)
        return str(caught.value)

    def fails(*_, **__):
        raise PermissionError(f"403 of {address}")

    memory.rm("/v/metadata.csv")
    assert "holds no video" in said()
    memory.pipe("/v/metadata.csv", b"path\n")
    with monkeypatch.context() as patched:
        patched.setattr(memory, "get_file", fails)
        assert "metadata.csv::https://h/v.zip cannot be read: PermissionError: 403 of https://h/v.zip" in said()
    monkeypatch.setattr(memory, "isdir", fails)
    assert "cannot be read: PermissionError" in said()
    monkeypatch.setattr(memory, "isdir", lambda _: False)
    monkeypatch.setattr(memory, "exists", lambda _: False)
    assert "does not exist" in said()


def test_a_source_that_is_not_there_or_holds_nothing_says_what_a_source_is(tmp_path):
    put(tmp_path / "bare", "notes.md")
    with pytest.raises(CaptionError, match="does not exist; give a folder, a video, a glob"):
        listed(tmp_path / "nowhere")
    with pytest.raises(CaptionError, match=r"holds no video .*\.mp4"):
        listed(tmp_path / "bare")
    with pytest.raises(CaptionError, match="is no folder"):
        listed(tmp_path / "nowhere" / "*.mp4")
    with pytest.raises(CaptionError, match="Protocol not known"):
        listed("nonsense://a/b.mp4")
    with pytest.raises(CaptionError, match="not on the public internet"):
        listed("http://127.0.0.1:1/list.txt")
    assert [row["source_uri"] for row in listed("http://127.0.0.1:1/a.mp4")] == ["http://127.0.0.1:1/a.mp4"]


def test_datasets_are_no_sources(tmp_path):
    put(tmp_path, "a.mp4", "made/media/b.mp4", "made/stages/ingest/x", "out/media/c.mp4")
    assert names(listed(tmp_path, tmp_path / "out"), tmp_path) == ["a.mp4"]
    with pytest.raises(CaptionError, match="made by `kinema caption`"):
        listed(tmp_path / "made")
    with pytest.raises(CaptionError, match="folder of the videos"):
        listed(tmp_path, tmp_path)


def test_a_row_is_the_same_until_its_file_part_captions_or_license_change(tmp_path):
    video, table = tmp_path / "a.mp4", tmp_path / "t.csv"
    keys = []

    def note(row, content=b"one", time=5, reason=True):
        video.write_bytes(content)
        os.utime(video, ns=(time, time))
        table.write_text(f"path,start,caption,license\n{row}\n")
        keys.append(listed(table)[0]["source_key"])

    note("a.mp4,0,x,")
    note("a.mp4,,x,")  # the same, said otherwise
    assert keys[0] == keys[1]
    note("a.mp4,1,x,")
    note("a.mp4,,y,")
    note("a.mp4,,x,CC0")
    note("a.mp4,,x,", content=b"more")
    note("a.mp4,,x,", time=6)
    video.unlink()
    keys.append(listed(table)[0]["source_key"])
    assert len(set(keys)) == len(keys) - 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
)
def test_any_name_is_listed_and_leads_to_its_file(tmp_path_factory, stems):
    folder = tmp_path_factory.mktemp("names")
    made = {f"x{stem}.mp4" for stem in stems}
    for number, name in enumerate(sorted(made)):
        (folder / name).write_bytes(f"{number} {name}".encode())
        (folder / f"{name[:-4]}.txt").write_text(f"caption {number}")
    rows = listed(folder) if made else []
    assert [Path(row["path"]).name for row in rows] == sorted(made)
    for number, row in enumerate(rows):
        assert Path(row["path"]).read_bytes() == f"{number} {Path(row['path']).name}".encode()
        assert row["captions"] == [f"caption {number}"]


@settings(deadline=None)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=4))
)
def test_whatever_a_caption_cell_holds_becomes_texts_that_a_file_can_hold(value):
    found = texts(value)
    assert len(set(found)) == len(found) and all(text.strip() == text != "" for text in found)
    pa.array(found, pa.string())
    assert texts(json.dumps(found)) == found or found == []


def test_looking_at_a_file_never_opens_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in itertools.chain(["pipe", "gone", "x" * 300], ["a\0b"]):
        assert LocalTree().look(str(tmp_path / name)).problem


def test_a_list_from_the_web_names_nothing_of_this_machine_and_a_list_from_here_may(memory, tmp_path):
    put(tmp_path, "a.mp4")
    here = [
        f"file://{tmp_path}/a.mp4",
        f"zip://a.mp4::{tmp_path}/v.zip",
        f"simplecache://::file://{tmp_path}/a.mp4",
    ]
    here += [f"local://{tmp_path}/a.mp4", "zip://a.mp4", "git://.:main@a.mp4", f"x::file://{tmp_path}/v.zip"]
    fine = [
        "https://host/a.mp4",
        "s3://bucket/a.mp4",
        "zip://a.mp4::https://host/v.zip",
        "b.mp4",
        "memory://c.mp4",
    ]
    text = "".join(f"{line}\n" for line in [*here, *fine]).encode()
    memory.pipe("/l/list.txt", text)
    memory.pipe("/t/metadata.csv", b"path\n" + text)
    rows = listed("memory://l/list.txt")
    assert ["may not name" in row["reason"] for row in rows] == [True] * len(here) + [False] * len(fine)
    assert not any(row["path"] for row in rows)
    named = {row["source_uri"]: row["reason"] for row in listed("memory://t")}
    assert all("may not name" in named[url] for url in here[:-1]) and not any(named[url] for url in fine[:3])
    assert "no such file" in named[f"memory:///t/{here[-1]}"]
    (tmp_path / "list.txt").write_bytes(text)
    assert not any("may not name" in row["reason"] for row in listed(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    "url, shown",
    [
        ("https://u:p@h/a.mp4?x=1&sig=s&y=2#f", "https://h/a.mp4?x=1&y=2#f"),
        ("https://h/a b.mp4?Token=s", "https://h/a b.mp4"),
        ("HTTPS://u:p@h/a.mp4?Sig=s", "HTTPS://h/a.mp4"),
        ("zip://m?key=1.mp4::http://t@h/v.zip?%73ignature=s", "zip://m?key=1.mp4::http://h/v.zip"),
        ("https://h/a@b.mp4?monkey=1", "https://h/a@b.mp4?monkey=1"),
        ("abfs://box@account.dfs.core.windows.net/a.mp4?sig=s", "abfs://box@account.dfs.core.windows.net/a.mp4"),
        ("/videos/what?token=1.mp4", "/videos/what?token=1.mp4"),
        ("s3://b/a.mp4?versionId=3&X-Amz-Security-Token=s", "s3://b/a.mp4?versionId=3"),
    ],
)
def test_addresses_are_shown_without_what_opens_them(url, shown):
    assert without_secrets(url) == shown == without_secrets(shown)
    assert secrets_hidden(f"it said {url}: 403", url) == f"it said {shown}: 403"


@given(st.text(st.characters(exclude_characters="&#:\n", exclude_categories=["Cs"]), min_size=1))
def test_whatever_a_signature_holds_is_not_shown(secret):
    url = f"https://host/a.mp4?page=2&X-Goog-Signature=~{secret}"
    assert without_secrets(url) == "https://host/a.mp4?page=2"

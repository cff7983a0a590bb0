"""Manifests: a round trip for Kinema's own, and anyone's tables of files and captions."""

import json

import pandas
import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.manifest import COLUMNS, ManifestError, captions_of, read_manifest, write_manifest

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(text, st.floats(0, 100)), max_size=5))
def test_rows_survive_a_round_trip(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("m") / "manifest.parquet"
    rows = [
        {"id": f"clip {i}", "path": f"{i}.mp4", "caption_dense": t, "start": s} for i, (t, s) in enumerate(values)
    ]
    write_manifest(path, rows)
    found = read_manifest(path)
    assert [{key: row[key] for key in rows[0]} for row in found] == rows if rows else found == []


def test_further_columns_are_kept(tmp_path):
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "path": "a.mp4", "score": 0.5}])
    assert read_manifest(tmp_path / "m.parquet")[0]["score"] == 0.5


def test_pandas_and_datasets_read_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / "m.parquet"
    write_manifest(path, [{"id": "a", "path": "a.mp4", "caption_short": "a cat", "frames": 9}])
    assert pandas.read_parquet(path)["caption_short"].tolist() == ["a cat"]
    loaded = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["frames"] == 9 and set(COLUMNS) <= set(loaded.column_names)


@pytest.mark.parametrize(("file", "caption"), [("file", "text"), ("Video", "Caption"), ("path", "prompt")])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_other_tables_are_understood(tmp_path, file, caption, suffix):
    path = tmp_path / f"captions{suffix}"
    if suffix == ".csv":
        path.write_text(f'{file},{caption}\nsub/cat.mp4,"a cat, asleep"\n')
    else:
        path.write_text(json.dumps({file: "sub/cat.mp4", caption: "a cat, asleep"}) + "\n")
    (row,) = read_manifest(path)
    assert (row["id"], row["path"], captions_of(row)) == ("sub/cat", "sub/cat.mp4", {"short": "a cat, asleep"})


def test_rows_of_json_lines_may_differ(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"video": "a.mp4"}\n\n{"video": "b.mp4", "caption": "a cat\u2028asleep"}\n')
    rows = read_manifest(tmp_path / "c.jsonl")
    assert [captions_of(row) for row in rows] == [{}, {"short": "a cat\u2028asleep"}]


def test_numbers_in_csv_become_numbers(tmp_path):
    (tmp_path / "c.csv").write_text("path,caption,start,end\na.mp4,x,1.5,\n")
    (row,) = read_manifest(tmp_path / "c.csv")
    assert row["start"] == 1.5 and row["end"] is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", "movie,words\na.mp4,x\n", "columns movie, words; it needs one that names the files"),
        ("c.jsonl", '{"path": "a.mp4"}\n{"path"\n', "line 2"),
        ("c.parquet", "no parquet", "is no Parquet file"),
        ("c.txt", "a.mp4", "ends in '.txt'"),
        ("c.jsonl", '{"path": "a.mp4"}\n[1]\n', "line 2.*needs an object"),
        ("c.csv", "path,caption,start\na.mp4,x,\nb.mp4,x,soon\n", "row 2.*'start' is 'soon'; it needs a number"),
        ("c.jsonl", '{"path": "a.mp4"}\n{"caption": "x"}\n', "row 2.*'path' is empty"),
        ("c.csv", b"path,caption\na.mp4,caf\xe9\n", "is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name)


def test_rows_without_a_name_or_with_one_twice_are_refused(tmp_path):
    with pytest.raises(ManifestError, match="needs both"):
        write_manifest(tmp_path / "m.parquet", [{"id": "a"}])
    with pytest.raises(ManifestError, match="two rows"):
        write_manifest(tmp_path / "m.parquet", [{"id": "a", "path": "x"}, {"id": "a", "path": "y"}])
    assert not list(tmp_path.iterdir())

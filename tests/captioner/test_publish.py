"""Cutting media and publishing a dataset, in all three kinds of media, opened by those who will open it."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import av
import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from kinema.captioner.backends.base import shown
from kinema.captioner.engine import ordering
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.engine.ordering import beside, in_order
from kinema.captioner.publish import media
from kinema.captioner.publish import stage as publish
from kinema.captioner.publish.card import Counts, card, public_settings
from kinema.captioner.publish.media import cut_clip, frame_rate
from kinema.captioner.publish.stage import features
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.tables import CAPTIONS, CHECKED, CLIPS, LEVELS, MEDIA
from kinema.data.video_io import probe, read_video, write_video

sys.path.insert(0, str(Path(__file__).parent))
from published import FPS, HEIGHT, add_review, build, caption, clip, make_media, pictures, review, settings, settle


def read(dataset, name):
    return pq.read_table(dataset / f"{name}.parquet").to_pylist()


def open_with_datasets(dataset, name, cache):
    loaded = datasets.load_dataset(str(dataset), name, split="train", cache_dir=str(cache))
    return loaded


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def test_tables_hold_every_clip_and_caption_kept_ones_first(tmp_path):
    dataset, shots, captions = build(tmp_path)
    clips, written = read(dataset, "clips"), read(dataset, "captions")
    kept = [row["clip_id"] for row in clips if row["status"] == "kept"]
    assert len(clips) == 5 and kept == sorted(kept) and len(kept) == 4
    assert clips[-1]["clip_id"] == shots["b1"]["clip_id"] and clips[-1]["reject_reasons"] == ["black"]
    assert clips[-1]["video"] is None
    for row in clips[:-1]:
        assert row["scores"]["colours"] == ["red"] and row["phash"] == "0f" and row["license"] == "CC0"
        assert (row["width"], row["height"], row["num_frames"], row["fps"]) == (64, 32, 12, FPS)
        assert (dataset / row["video"]["path"]).read_bytes() == row["video"]["bytes"]
    assert sorted(row["caption_id"] for row in written) == sorted(row["caption_id"] for row in captions.values())
    places = [(row["clip_id"], LEVELS.index(row["level"])) for row in written]
    assert places == sorted(places)
    marked = next(row for row in written if row["caption_id"] == captions["c0", "dense"]["caption_id"])
    assert (marked["status"], marked["error"]) == ("error", "duplicate")
    lines = [json.loads(line) for line in (dataset / "quarantine.jsonl").read_text().splitlines()]
    assert lines == [{"source_uri": "file:///lost.mp4", "stage": "ingest", "reason": "0 bytes"}]
    assert (dataset / "sheet.png").stat().st_size > 500


def test_publishing_again_gives_the_same_bytes_and_leaves_nothing_behind(tmp_path):
    dataset, _, _ = build(tmp_path, media="webdataset", shard_mb=1)
    files = [path for path in dataset.rglob("*") if path.is_file() and path.suffix in (".parquet", ".tar", ".md")]
    before = {path: path.read_bytes() for path in files}
    (dataset / "media" / ".shard-000000.0.part.tar").write_bytes(b"killed")
    (dataset / "media" / "shard-000007.tar").write_bytes(b"of an earlier, larger publication")
    (dataset / "stages" / ".publish-killed").mkdir()
    told = publish.run(dataset, settings(media="webdataset", shard_mb=1))
    assert told["clips"] == {"kept": 4, "rejected": 1} and told["trainable"] == 4 and told["quarantined"] == 1
    assert {path: path.read_bytes() for path in files} == before
    assert [path.name for path in (dataset / "media").iterdir()] == ["shard-000000.tar"]
    assert not list((dataset / "stages").glob(".publish*"))


@pytest.mark.parametrize("kind", ["cut", "reference", "webdataset"])
def test_datasets_opens_both_tables_and_video_is_a_video_without_a_cast(tmp_path, kind, monkeypatch):
    dataset, shots, captions = build(tmp_path, media=kind)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    dataset.rename(moved)
    monkeypatch.chdir(tmp_path)  # neither the folder it was made in nor its own
    said = open_with_datasets(moved, "captions", tmp_path / "cache")
    assert len(said) == len(captions) and said.features["created_at"].dtype == "timestamp[ms, tz=UTC]"
    assert len(open_with_datasets(moved, None, tmp_path / "cache")) == 5
    clips = open_with_datasets(moved, "clips", tmp_path / "cache")
    assert isinstance(clips.features["video"], datasets.Video)
    raw = clips.cast_column("video", datasets.Video(decode=False))[0]
    assert raw["clip_id"] == min(shots[name]["clip_id"] for name in ("a0", "a1", "b0", "c0"))
    packed = raw["video"]["bytes"]
    with av.open(io.BytesIO(packed) if packed else raw["video"]["path"]) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == (24 if kind == "reference" else 12)
    add_review(moved, review(captions["a0", "dense"], "edited", "better words"))
    publish.run(moved, settings(media=kind))  # without it `datasets` shows what it cached
    with_reviews = open_with_datasets(moved, "captions", tmp_path / "cache")
    assert len(with_reviews) == len(captions) + 1 and "better words" in with_reviews["text"][:]


def test_the_schema_is_told_as_datasets_would_tell_it():
    for schema in (CLIPS, CAPTIONS):
        told = datasets.Features.from_dict(features(schema))
        own = datasets.Features.from_arrow_schema(schema)
        if "video" in own:
            own["video"] = datasets.Video()
        assert told == own


PLAY = """
import sys, datasets
datasets.disable_progress_bars()
clip = datasets.load_dataset(sys.argv[1], "clips", cache_dir=sys.argv[2])["train"][0]
print(tuple(clip["video"][3].shape), len(clip["video"]), int(clip["video"][3].float().mean()))
"""


def test_the_video_column_gives_frames_by_torchcodec(tmp_path):
    """Torchcodec needs FFmpeg's shared libraries. PyAV brings them, under other names."""
    own = Path(str(av.__file__)).parent.parent / "av.libs"
    links = tmp_path / "ffmpeg"
    links.mkdir()
    for path in own.glob("lib*.so.*"):
        if found := re.fullmatch(r"(lib(?:av|sw)\w+)-\w+\.so\.(\d+)[\d.]*", path.name):
            (links / f"{found[1]}.so.{found[2]}").symlink_to(path)
    if not list(links.iterdir()):
        pytest.skip("this build of PyAV has no shared libraries of FFmpeg")
    dataset, _, _ = build(tmp_path)
    environment = os.environ | {"LD_LIBRARY_PATH": f"{links}:{own}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PLAY, str(dataset), str(tmp_path / "cache")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shape, count, mean = re.fullmatch(r"\((.*)\) (\d+) (\d+)", done.stdout.strip()).groups()
    frames = read_video(dataset / read(dataset, "clips")[0]["video"]["path"]).frames
    assert (shape, count) == ("3, 32, 64", "12") and abs(int(mean) - frames[3].mean()) < 3


def test_the_card_names_the_tables_alone_and_says_what_is_weak(tmp_path):
    dataset, _, _ = build(tmp_path)
    text = (dataset / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    files = {config["config_name"]: config["data_files"] for config in head["configs"]}
    assert files == {"clips": "clips.parquet", "captions": ["captions.parquet", "reviews/*.parquet"]}
    for part in (
        "4 clips",
        "`CC0` (4)",
        "| dense | 4 | 1 |",
        "`toy`",
        "What is weak",
        "cannot prove",
        "black (1)",
    ):
        assert part in text, part
    assert "Diorama" not in text  # that captioner wrote nothing here


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves its files to the collector
def test_shards_are_what_webdataset_reads(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    dataset, shots, captions = build(tmp_path, media="webdataset")
    add_review(dataset, review(captions["a0", "short"], "edited", "by hand"))
    publish.run(dataset, settings(media="webdataset"))
    (shard,) = (dataset / "media").glob("*.tar")
    found = {each["__key__"]: each for each in webdataset.WebDataset(str(shard), shardshuffle=False)}
    assert sorted(found) == sorted(shots[name]["clip_id"] for name in ("a0", "a1", "b0", "c0"))
    facts = json.loads(found[shots["a0"]["clip_id"]]["json"])
    assert facts["captions"] == {
        "short": "by hand", "medium": "medium of a0", "dense": "dense of a0", "original": "words of a0",
    }  # fmt: skip
    assert facts["clip"]["license"] == "CC0" and "video" not in facts["clip"]
    assert "dense" not in json.loads(found[shots["c0"]["clip_id"]]["json"])["captions"]
    row = next(row for row in read(dataset, "clips") if row["clip_id"] == shots["a0"]["clip_id"])
    assert row["video"]["bytes"] == found[row["clip_id"]]["mp4"]
    assert np.array_equal(
        read_video(dataset / row["video"]["path"]).frames,
        read_video(dataset / "stages" / "media" / "clips" / f"{row['clip_id']}.mp4").frames,
    )


def test_a_shard_is_closed_at_its_size(tmp_path):
    writer = publish.ShardWriter(tmp_path, 30_000)
    (tmp_path / "x.mp4").write_bytes(bytes(9_000))
    with writer:
        for number in range(6):
            writer.shard()
            writer.add(f"k{number}", tmp_path / "x.mp4", {})
    sizes = {}
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path) as file:
            sizes[path.name] = len(file.getmembers())
    assert sizes == {"shard-000000.tar": 6, "shard-000001.tar": 6}


def test_too_large_a_dataset_is_not_embedded(tmp_path):
    dataset, _, _ = build(tmp_path, embed_gb=0)
    assert all(not (row["video"] or {}).get("bytes") for row in read(dataset, "clips"))
    assert "relative to this folder" in (dataset / "README.md").read_text()


# ----------------------------------------------------------------------------------------------------------- media


def test_a_cut_clip_has_the_sources_frames_each_once_without_the_bars(tmp_path):
    frames = pictures(0, 40)
    write_video(tmp_path / "a.mp4", frames, 30000 / 1001, crf=2)
    step = 1001 / 30000
    row = clip(tmp_path / "a.mp4", 0, 9 * step, 31 * step) | {"fps": 30000 / 1001}
    cut_clip(row, tmp_path / "cut.mp4", crf=2)
    found = read_video(tmp_path / "cut.mp4")
    assert found.frames.shape == (22, HEIGHT - 16, 64, 3) and found.fps == pytest.approx(30000 / 1001)
    error = np.abs(found.frames.astype(int) - frames[9:31, 8:-8]).mean(axis=(1, 2, 3))
    assert error.max() < 3
    assert not probe(tmp_path / "cut.mp4").has_audio
    cut_clip(row, tmp_path / "small.mp4", crf=2, max_side=32)
    assert (probe(tmp_path / "small.mp4").width, probe(tmp_path / "small.mp4").height) == (32, 16)


def test_uneven_frames_become_even_ones_that_show_the_same_at_every_moment(tmp_path):
    times = [0, 2, 3, 7, 8, 9, 13, 14, 16, 20]  # of frame k, in units of 1/20 s
    frames = np.repeat(np.arange(10, dtype=np.uint8) * 25, 32 * 32 * 3).reshape(10, 32, 32, 3)
    with av.open(str(tmp_path / "uneven.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width = stream.height = 32
        stream.options = {"crf": "4"}
        for frame, time in zip(frames, times):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = time
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    source = read_video(tmp_path / "uneven.mp4")
    assert len(set(np.diff(source.times).round(3))) > 1
    row = clip(tmp_path / "uneven.mp4", 0, 0.0, 1.05, crop=None) | {"fps": 9.5}
    cut_clip(row, tmp_path / "cut.mp4", crf=4)
    made = read_video(tmp_path / "cut.mp4")
    for time, frame in zip(made.times, made.frames):
        shown = max(k for k in range(10) if times[k] / 20 <= time + 1e-3)
        assert abs(frame.mean() - frames[shown].mean()) < 4, time


@pytest.mark.parametrize(
    ("times", "stated", "expected"),
    [
        ([0, 0.04, 0.08, 0.12], 25.0, (25.0, True)),
        ([0, 0.033, 0.067, 0.1], 30.0, (30.0, True)),  # milliseconds, as Matroska rounds
        ([0, 0.04, 0.08, 0.12], 10.0, (25.0, True)),  # a header that lies
        ([0.0], None, (0.5, True)),
        ([0, 0.1, 0.5, 0.6, 0.7], 7.0, (10.0, False)),
    ],
)
def test_the_rate_of_a_cut_clip(times, stated, expected):
    rate, even = frame_rate(times, stated, 2.0)
    assert rate == pytest.approx(expected[0]) and even == expected[1]


def test_what_cannot_be_cut_is_quarantined_and_a_finished_file_is_kept(tmp_path):
    asked = settings()
    write_video(tmp_path / "a.mp4", pictures(0), FPS)
    shots = [clip(tmp_path / "a.mp4", 0, 0.0, 1.5), clip(tmp_path / "gone.mp4", 1, 0.0, 1.5)]
    settle(tmp_path / "d", shots, [caption(row["clip_id"], "short", "x") for row in shots])
    make_media(tmp_path / "d", asked)
    rows = {row["clip_id"]: row for row in StageTable(tmp_path / "d", "media", MEDIA).rows()}
    good, bad = (rows[row["clip_id"]] for row in shots)
    assert (good["status"], bad["status"], bad["path"]) == ("ok", "quarantined", None)
    assert "no such file" in bad["reason"]
    written = (tmp_path / "d" / good["path"]).stat().st_mtime_ns
    again = media.worker(tmp_path / "d", asked)(list(media.inputs(tmp_path / "d", asked)))
    assert again[0] in rows.values() and (tmp_path / "d" / good["path"]).stat().st_mtime_ns == written
    publish.run(tmp_path / "d", asked)
    statuses = {row["clip_id"]: row["status"] for row in read(tmp_path / "d", "clips")}
    assert statuses == {good["clip_id"]: "kept", bad["clip_id"]: "quarantined"}
    assert '"stage": "media"' in (tmp_path / "d" / "quarantine.jsonl").read_text()


# -------------------------------------------------------------------------------------------------------- ordering


@pytest.mark.parametrize("together", [2, 3, 64])
def test_sorting_on_disk_is_sorting_and_keeps_the_order_of_equals(tmp_path, monkeypatch, together):
    monkeypatch.setattr("kinema.captioner.engine.ordering.HELD", 7)
    monkeypatch.setattr("kinema.captioner.engine.ordering.OPEN", together)
    rows = [{"caption_id": f"{(k * 37) % 41:03d}", "error": str(k)} for k in range(101)]
    opened, most = set(), []
    real = ordering._read

    def watched(path):
        opened.add(path)
        most.append(len(opened))
        yield from real(path)
        opened.discard(path)

    monkeypatch.setattr(ordering, "_read", watched)
    found = list(in_order(iter(rows), CHECKED, lambda row: row["caption_id"], tmp_path))
    told = [(row["caption_id"], row["error"]) for row in found]
    assert told == [(row["caption_id"], row["error"]) for row in sorted(rows, key=lambda row: row["caption_id"])]
    assert max(most) <= together and not list(tmp_path.iterdir())


def test_tables_side_by_side_match_by_a_column():
    joined = list(beside([{"k": 1}, {"k": 3}, {"k": 4}], [{"k": 0}, {"k": 3}, {"k": 3}], "k"))
    assert [(row["k"], len(other)) for row, other in joined] == [(1, 0), (3, 2), (4, 0)]


def test_the_card_tells_no_address_of_an_endpoint_and_no_folder_of_a_model(tmp_path):
    (tmp_path / "seer").mkdir()
    captions = {"backend": "openai", "base_url": "https://10.0.0.7/secret/v1", "densify_model": "poet"}
    captions |= {
        "densify_base_url": "http://inner.example/v1",
        "api_key_env": "MY_KEY",
        "model": str(tmp_path / "seer"),
    }
    told = public_settings(CaptionSettings.model_validate({"captions": captions}))
    assert told["captions"]["model"] == "seer" and told["captions"]["densify_model"] == "poet"
    assert told["shots"] == CaptionSettings().shots.model_dump() and "run" not in told
    for private in ("secret", "10.0.0.7", "inner.example", "MY_KEY", str(tmp_path)):
        assert private not in str(told)


def test_the_card_tells_no_path_of_any_model_be_it_there_or_not(tmp_path):
    (tmp_path / "seer").mkdir()
    (tmp_path / "vit:b.pt").touch()
    asked = {
        "captions": {"model": f"{tmp_path}/gone/seer", "densify_model": "~/models/poet/"},
        "signals": {"nsfw": str(tmp_path / "seer"), "embedding": f"open_clip:ViT-B-32:{tmp_path}/vit.pt"},
        "checks": {"scorer": r"open_clip:ViT-B-32:D:\private\vit.pt"},
    }
    told = public_settings(CaptionSettings.model_validate(asked))
    assert (told["captions"]["model"], told["captions"]["densify_model"]) == ("seer", "poet")
    assert told["signals"]["nsfw"] == "seer" and told["signals"]["embedding"] == "open_clip:ViT-B-32:vit.pt"
    assert (
        told["checks"]["scorer"].endswith("vit.pt")
        and "private" not in str(told)
        and str(tmp_path) not in str(told)
    )
    assert shown(str(tmp_path / "vit:b.pt")) == "vit:b.pt"
    for name in ("", "captioner", "Qwen/Qwen2.5-VL-3B-Instruct", "open_clip:hf-hub:org/name:openai", "gpt-4o"):
        assert shown(name) == name


@settings_of_hypothesis(max_examples=200)
@given(st.text() | st.text("`|<>[](){}*_~#-!\\&$\n\r\t .ab/:\u202e\u2028\0"))
def test_a_license_of_a_stranger_is_told_as_it_is_and_means_nothing_to_markdown(license):
    counts = Counts()
    counts.add({"status": "kept", "reject_reasons": [], "start_s": 0, "end_s": 1, "license": license}, [], {})
    ((told, _),) = counts.licenses.items()
    assert told == "not stated" or (told[0], told[-1]) == ("`", "`")
    assert told.isprintable() and len(told) <= 82 and not set("`|") & set(told[1:-1])


def test_a_card_with_hostile_licenses_has_one_line_of_them_and_its_own_head(tmp_path):
    dataset, _, _ = build(tmp_path)
    counts = Counts()
    row = {"status": "kept", "reject_reasons": [], "start_s": 0, "end_s": 1}
    evil = "MIT\n---\ntags: [evil]\n---\n# free <script>x</script> `|` " + "x" * 10_000
    for number, license in enumerate([evil, *map(str, range(50))]):
        for _ in range(100 - number):
            counts.add(row | {"license": license}, [], {})
    text = card(dataset, settings(), counts, 0, embedded=False)
    (line,) = [line for line in text.splitlines() if "MIT" in line]
    assert "`MIT --- tags: [evil] --- # free <script>x</script> '/' xxx" in line and len(line) < 900
    assert "31 others (" in line
    assert yaml.safe_load(text.split("---\n")[1])["tags"] == ["video", "captions"]


def test_clips_that_were_cut_with_other_settings_are_not_taken_for_those_of_a_redo(tmp_path):
    shot = clip(tmp_path / "a.mp4", 0, 0.0, 1.0)
    settle(tmp_path / "d", [shot], [])
    old, mine = tmp_path / "d" / "media" / f"{shot['clip_id']}.mp4", tmp_path / "d" / "media" / "notes.txt"
    table = StageTable(tmp_path / "d", "media", MEDIA)
    for finished in (False, True):
        old.parent.mkdir(exist_ok=True)
        old.touch(), mine.touch()
        if finished:
            table.commit([shot["clip_id"]], [{"clip_id": shot["clip_id"], "status": "ok"}])
        assert [row["clip_id"] for row in media.inputs(tmp_path / "d", CaptionSettings())] == [shot["clip_id"]]
        assert old.exists() == finished and mine.exists()

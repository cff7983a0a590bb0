"""All stages in order: claimed for one source and one configuration, made anew on demand, told at the end."""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.captioner import flow
from kinema.captioner.command import shortcuts
from kinema.captioner.engine.claim import check_source, claim, load_settings, settings_of, source_of
from kinema.captioner.engine.commits import CaptionError, StageTable
from kinema.captioner.flow import STAGES, run_all, run_one
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.stage import Stage
from kinema.captioner.summary import Summary, other_backends
from kinema.cli import build_parser
from kinema.configs import ConfigError

sys.path.insert(0, str(Path(__file__).parent))  # worker processes get it with the rest of the path
from toy_stages import NUMBERS, NUMBERS_STAGE, SQUARES, SQUARES_STAGE, TOTAL, TOTAL_STAGE, calls, prepare

TOYS = [NUMBERS_STAGE, SQUARES_STAGE, TOTAL_STAGE]
BATCHWISE = replace(SQUARES_STAGE, name="media")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def settings(*overrides):
    return load_settings(None, ["run.workers=1", *overrides])


def total(dataset):
    return [row["total"] for row in StageTable(dataset, "total", TOTAL).rows()]


def test_every_stage_runs_in_order_and_the_whole_ones_only_when_something_changed(source, tmp_path):
    out = tmp_path / "out"
    prepare(out, 12)
    reports = run_all(source, out, settings(), only=TOYS)
    assert [report.stage for report in reports] == ["numbers", "squares", "total"]
    kept = [n for n in range(12) if n % 5]
    assert total(out) == [sum(n * n * (n % 3) for n in kept)]
    run_all(source, out, settings(), only=TOYS)
    assert calls(out, "total") == ["run"] and len(calls(out, "numbers")) == 12
    prepare(out, 13)
    run_all(source, out, settings(), only=TOYS)
    assert calls(out, "total") == ["run"] * 2 and len(calls(out, "squares")) == len(kept) + 1
    assert len(total(out)) == 1
    run_one("total", out, only=TOYS)  # asked for by name it always runs
    assert calls(out, "total") == ["run"] * 3
    assert settings_of(out).shots == CaptionSettings().shots and source_of(out) == str(source)


def test_one_stage_alone_needs_those_before_it_and_a_dataset(source, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(CaptionError, match="does not exist; `kinema caption SOURCE --out"):
        run_one("numbers", out, only=TOYS)
    prepare(out, 3)
    with pytest.raises(CaptionError, match="no captioned dataset"):
        run_one("numbers", out, only=TOYS)
    run_all(source, out, settings(), only=TOYS[:1])
    with pytest.raises(CaptionError, match="needs the rows of stage squares, which has not run"):
        run_one("total", out, only=TOYS)
    with pytest.raises(CaptionError, match="there is no stage cubes; the stages are numbers, squares, total"):
        run_one("cubes", out, only=TOYS)
    assert run_one("squares", out, only=TOYS).done.inputs == 2


def test_other_settings_are_refused_and_every_difference_is_named(source, tmp_path):
    out = tmp_path / "out"
    prepare(out, 2)
    run_all(source, out, settings(), only=TOYS)
    other = settings("filters.max_static=0.8", "shots.max_seconds=5", "run.batch_size=3")
    with pytest.raises(CaptionError) as refused:
        run_all(source, out, other, only=TOYS)
    said = str(refused.value)
    assert "shots.max_seconds is 10.0 there and 5.0 now" in said
    assert "filters.max_static is 0.9 there and 0.8 now" in said
    assert "another --out, or --redo shots" in said and "batch_size" not in said
    run_all(source, out, settings("run.batch_size=3", "run.workers=2"), only=TOYS)
    (tmp_path / "more").mkdir()
    with pytest.raises(CaptionError, match=r"made from .*videos, and not from .*more"):
        run_all(tmp_path / "more", out, settings(), only=TOYS)


def test_another_captioner_is_other_settings_even_in_the_same_folder(source, tmp_path):
    weights = tmp_path / "captioner"
    weights.mkdir()
    (weights / "config.json").write_text('{"a": 1}')
    chosen = settings(f"captions.model={weights}")
    claim(tmp_path / "out", str(source), chosen)
    claim(tmp_path / "out", str(source), chosen)
    StageTable(tmp_path / "out", "numbers", NUMBERS).commit(["1"], [])  # else there is nothing to keep apart
    from kinema.captioner.backends.base import fingerprint

    fingerprint.cache_clear()
    (weights / "config.json").write_text('{"a": 2}')
    with pytest.raises(CaptionError, match=r"captions\.revision is .* \(the weights behind it\).*--redo captions"):
        claim(tmp_path / "out", str(source), chosen)


def named(stage, name):
    """A toy stage under the name of a real one, whose section of the settings is then its own."""
    return replace(stage, name=name)


def test_redo_forgets_a_stage_and_what_follows_from_it_and_takes_its_new_settings(source, tmp_path):
    out = tmp_path / "out"
    prepare(out, 6)
    chain = [
        NUMBERS_STAGE,
        named(SQUARES_STAGE, "shots"),
        named(TOTAL_STAGE, "filters"),
        named(SQUARES_STAGE, "media"),
    ]
    run_all(source, out, settings(), only=chain)
    done = len(calls(out, "squares"))
    with pytest.raises(CaptionError, match=r"--redo filters comes too late.*shots.max_seconds.*--redo shots"):
        run_all(source, out, settings("shots.max_seconds=5"), only=chain, redo="filters")
    # A threshold changes what is chosen; each clip's own rows stay.
    run_all(source, out, settings("filters.max_static=0.5"), only=chain, redo="filters")
    assert len(calls(out, "squares")) == done and len(calls(out, "total")) == 2
    assert settings_of(out).filters.max_static == 0.5
    # Other settings of a later stage, taken in the same step, make that one anew too.
    run_all(source, out, settings("filters.max_static=0.4", "dataset.crf=20"), only=chain, redo="filters")
    assert len(calls(out, "squares")) == done + done // 2
    run_all(source, out, settings("filters.max_static=0.4", "dataset.crf=20"), only=chain, redo="shots")
    assert len(calls(out, "squares")) == done + done // 2 + done and len(calls(out, "numbers")) == 6


def test_captions_are_made_anew_without_the_clips_files(source, tmp_path):
    out = tmp_path / "out"
    prepare(out, 6)
    files = replace(SQUARES_STAGE, name="media", follows=("numbers",))
    chain = [NUMBERS_STAGE, named(SQUARES_STAGE, "captions"), named(TOTAL_STAGE, "checks"), files]
    run_all(source, out, settings(), only=chain)
    media = StageTable(out, "media", SQUARES)
    before, once = [media.record(part) for part in media.parts()], len(calls(out, "squares")) // 2
    assert once > 0
    run_all(source, out, settings("captions.seed=1"), only=chain, redo="captions")
    assert [media.record(part) for part in media.parts()] == before
    assert len(calls(out, "squares")) == 3 * once
    run_all(source, out, settings("captions.seed=1"), only=chain, redo="numbers")
    assert len(calls(out, "squares")) == 5 * once
    (real,) = [stage for stage in flow.stages() if stage.name == "media"]
    assert isinstance(real, Stage) and real.follows == ("ingest", "shots")


def test_an_address_that_is_signed_anew_is_the_same_source(tmp_path):
    old, new, other = (f"https://host.example/{name}.txt?X-Amz-Signature={key}&v=1"
                       for name, key in (("list", "aaa"), ("list", "bbb"), ("tsil", "aaa")))  # fmt: skip
    claim(tmp_path / "out", old, settings())
    claim(tmp_path / "out", new, settings())
    assert source_of(tmp_path / "out") == new  # the next restart reads it there
    with pytest.raises(
        CaptionError, match=r"made from https://host.example/list.txt\?v=1, and not from"
    ) as caught:
        claim(tmp_path / "out", other, settings())
    assert "aaa" not in str(caught.value) and "bbb" not in str(caught.value)


def test_a_budget_without_prices_is_told_before_anything_is_forgotten(source, tmp_path):
    out = tmp_path / "out"
    prepare(out, 3)
    run_all(source, out, settings(), only=TOYS)
    with pytest.raises(CaptionError, match="price_per_million_prompt"):
        run_all(source, out, settings("run.budget=5"), redo="numbers", only=TOYS)
    assert len(StageTable(out, "numbers", NUMBERS).done()) == 3


def test_a_source_is_checked_before_anything_is_written(source, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="there is no file or folder nowhere"):
        run_all("nowhere", out, settings(), only=TOYS)
    for inside in (source, source / "deep" / "out"):
        with pytest.raises(CaptionError, match="in the folder of the videos"):
            run_all(source, inside, settings(), only=TOYS)
    assert not out.exists() and not list(source.iterdir())
    assert check_source("s3://bucket/videos", out) == "s3://bucket/videos"
    assert check_source(f"{source}/*.mp4", out) == f"{source}/*.mp4"
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").touch()
    with pytest.raises(CaptionError, match=r"holds other files \(thesis.tex\)"):
        run_all(source, full, settings(), only=TOYS)


def test_a_source_without_videos_is_named(source, tmp_path):
    prepare(tmp_path / "out", 0)
    with pytest.raises(CaptionError, match=r"videos holds no video"):
        run_all(source, tmp_path / "out", settings(), only=[named(NUMBERS_STAGE, "ingest")])


def test_settings_come_from_a_file_and_from_overrides_and_mistakes_are_named(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("filters: {max_static: 0.7}\nrun: {workers: 3}\n")
    loaded = load_settings(file, ["filters.max_black=null"])
    assert (loaded.filters.max_static, loaded.filters.max_black, loaded.run.workers) == (0.7, None, 3)
    with pytest.raises(ConfigError, match=r"unknown key filter\.max_static; did you mean filters\.max_static\?"):
        load_settings(None, ["filter.max_static=1"])
    with pytest.raises(ConfigError, match=r"shots\.max_seconds: Input should be greater than 0"):
        load_settings(None, ["shots.max_seconds=-1"])
    with pytest.raises(ConfigError, match=r"not key=value; an example: ingest\.probe_seconds=20"):
        load_settings(None, ["filters.max_static"])
    file.write_text("just words")
    with pytest.raises(ConfigError, match="holds no sections; an example"):
        load_settings(file)
    with pytest.raises(ConfigError, match="there is no settings file"):
        load_settings(tmp_path / "none.yaml")


def parsed(*words):
    return build_parser().parse_args(["caption", *words])


def test_options_are_short_for_settings_and_words_may_stand_anywhere(tmp_path):
    args = parsed("videos", "--out", "ds", "filters.max_static=0.8", "--workers", "2", "shots.max_seconds=5")
    assert args.words == ["videos", "filters.max_static=0.8", "shots.max_seconds=5"] and args.out == Path("ds")
    assert shortcuts(args) == ["run.workers=2"]
    assert shortcuts(parsed("v", "--out", "d", "--base-url", "http://a/v1", "--model", "m", "--budget", "5")) == [
        "captions.model=m", "captions.base_url=http://a/v1", "run.budget=5.0", "captions.backend=openai"
    ]  # fmt: skip
    assert f"captions.model={tmp_path}" in shortcuts(parsed("v", "--out", "d", "--captioner", str(tmp_path)))
    with pytest.raises(ConfigError, match="leave out --backend"):
        shortcuts(parsed("v", "--captioner", "c", "--backend", "openai"))
    with pytest.raises(ConfigError, match="--model needs --backend"):
        shortcuts(parsed("v", "--out", str(tmp_path / "new"), "--model", "m"))
    with pytest.raises(SystemExit):
        parsed("v", "--worker", "2")


@pytest.fixture
def command(monkeypatch):
    from kinema.captioner import command as module

    monkeypatch.setattr(flow, "stages", lambda: TOYS)
    monkeypatch.setattr(module, "stages", lambda: TOYS)
    return lambda *words: module.command(parsed(*map(str, words)))


def test_the_command_explains_the_mistakes_that_people_make(command, source, tmp_path):
    out = tmp_path / "out"
    for words, said in [
        ((source,), "say where the dataset goes: kinema caption .*videos --out DATASET"),
        ((), "give the videos and where the dataset goes"),
        ((tmp_path / "none", "--out", out), "there is no file or folder"),
        (("shots",), "stage shots works on a dataset"),
        (("shots", source), "is no captioned dataset"),
        (("report", source), "is no captioned dataset"),
        (("--out", out), "does not exist; `kinema caption SOURCE"),
        ((source, "more", "--out", out), "one source at a time"),
    ]:
        with pytest.raises((CaptionError, FileNotFoundError), match=said):
            command(*words)
    prepare(out, 4)
    command(source, "--out", out, "--workers", 1)
    for words, said in [
        ((out,), "is a captioned dataset; `kinema caption --out"),
        (("domain", out), "there is no stage domain; the stages are ingest"),
        ((out, "--out", tmp_path / "more"), "not a source of videos"),
        (("shots", out, "--redo", "shots"), "--redo goes through all stages"),
        (("report", out, "shots.max_seconds=1"), "takes no settings"),
    ]:
        with pytest.raises(CaptionError, match=said):
            command(*words)


def test_the_command_goes_on_with_a_dataset_s_own_settings(command, source, tmp_path):
    out = tmp_path / "out"
    prepare(out, 4)
    command(source, "--out", out, "filters.max_static=0.7")
    with pytest.raises(CaptionError, match=r"filters\.max_static is 0.7 there and 0.9 now"):
        command(source, "--out", out)
    prepare(out, 6)
    command("--out", out)
    assert len(list(StageTable(out, "numbers", NUMBERS).rows())) == 6
    assert len(list(StageTable(out, "squares", SQUARES).rows())) == sum(n % 3 for n in range(6) if n % 5)


def test_a_run_that_is_mostly_out_of_domain_explains_other_backends_with_their_commands(tmp_path):
    assert other_backends(Summary(captioned=10, out_of_domain=0), tmp_path) == []
    said = other_backends(Summary(captioned=10, out_of_domain=6), tmp_path)
    commands = [line.split()[1:] for line in said if line.startswith("  kinema")]
    assert "6 of 10 clips" in said[1] and len(commands) == 3
    backends = {tuple(sorted(shortcuts(build_parser().parse_args(words)))) for words in commands}
    assert any("captions.backend=openai" in each for each in backends)
    for words in commands:
        assert build_parser().parse_args(words).redo == "captions"


@pytest.mark.parametrize("few", [1, 5])
def test_a_few_clips_out_of_domain_name_other_backends_in_a_few_lines(tmp_path, few):
    said = other_backends(Summary(captioned=10, out_of_domain=few), tmp_path / "my videos")
    assert f"{few} of 10 clips" in said[1] and len(said) == 4 and max(map(len, said[:3])) < 120
    for name in ("transformers", "openai", "open_clip"):
        assert name in said[2]
    args = build_parser().parse_args(shlex.split(said[3])[1:])
    assert (args.out, args.redo) == (tmp_path / "my videos", "captions")
    assert "captions.backend=transformers" in shortcuts(args)


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from kinema.cli import main\n"
        "try: main(['caption', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'pyarrow', 'numpy', 'ray', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    for stage in [*STAGES, "report", "review", "--redo", "section.key=value"]:
        assert stage in done.stdout


def test_the_real_stages_are_those_of_the_table():
    found = flow.stages()
    assert [stage.name for stage in found] == list(STAGES)
    for stage, (_, section) in zip(found, STAGES.values()):
        assert section in CaptionSettings.model_fields
        if isinstance(stage, Stage):
            for function in (stage.inputs, stage.worker, stage.tell):  # others receive them by name
                assert function.__qualname__ == function.__name__
    assert json.dumps(list(STAGES)) and argparse

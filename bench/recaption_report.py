"""What bench/recaption.py found: result.json, tables.md and sheet.png."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recaption_arms import ARMS
from recaption_exam import ATTRIBUTES, difference, hits, wanted
from recaption_world import PROMPT_SEED

from kinema.data.files import atomic_path
from kinema.data.sheets import contact_sheet
from kinema.eval.questions import ExamPrompt
from kinema.eval.store import read_arrays

SHEET_PROMPTS = 5
COLUMNS = 5  # frames of a clip on the sheet
SHEET_COLOURS = 160


def write_report(run: Path, prompts: Sequence[ExamPrompt], arms: Sequence[str], seeds: Sequence[int]) -> None:
    """Gather the answers of a run, as far as they are there, and write them as tables and pictures."""
    captions = json.loads((run / "captions.json").read_text())
    places = {arm: [run / f"{arm}{seed}" / "answers.json" for seed in seeds] for arm in arms}
    answers = {
        arm: [json.loads(path.read_text()) for path in paths if path.is_file()] for arm, paths in places.items()
    }
    arms = [arm for arm in arms if answers[arm]]
    ceilings = {name: json.loads((run / "truth" / f"{name}.json").read_text()) for name in ("truth", "vae")}
    result: dict[str, Any] = {
        "settings": json.loads((run / "settings.json").read_text()),
        "seeds": {arm: len(answers[arm]) for arm in arms},
        "scores": {arm: scores(answers[arm]) for arm in arms},
        "chance": {
            arm: {name: mean([each[name]["chance"] for each in answers[arm]]) for name in asked(answers[arm])}
            for arm in arms
        },
        "ceiling": {name: scores([each]) for name, each in ceilings.items()},
        "differences": differences(answers),
        "captions": captions["accuracy"],
        "examples": captions["examples"],
        "answers": {
            arm: [{name: each[name]["own"] for name in ATTRIBUTES} for each in answers[arm]] for arm in arms
        },
    }
    with atomic_path(run / "result.json") as path:
        path.write_text(json.dumps(result, indent=1) + "\n")
    (run / "tables.md").write_text(tables(result))
    draw_sheet(run, prompts, arms, seeds[0])


def scores(answers: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The share right by attribute, and the mean of the attributes: each seed's, their mean and deviation."""
    rows = {name: [float(np.nanmean(hits(each, name))) for each in answers] for name in asked(answers)}
    rows["mean"] = [mean(list(column)) for column in zip(*rows.values())]
    return {
        name: {"seeds": values, "mean": mean(values), "sd": float(np.std(values, ddof=1)) if values[1:] else None}
        for name, values in rows.items()
    }


def differences(answers: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By pair of arms and attribute: the second's score less the first's, and its 95 % interval."""
    found = {}
    for one, other in (("a", "b"), ("b", "c"), ("d", "b")):
        if answers.get(one) and answers.get(other):
            names = asked(answers[one])
            both = [{n: np.stack([hits(e, n) for e in answers[arm]]) for n in names} for arm in (one, other)]
            pair = {name: difference(both[0][name], both[1][name]) for name in names}
            whole = [np.nanmean(np.stack(list(each.values())), axis=0) for each in both]
            found[f"{other} - {one}"] = pair | {"mean of a prompt": difference(*whole)}
    return found


def asked(answers: Sequence[dict[str, Any]]) -> list[str]:
    """The attributes that some prompt asks, in order."""
    return [name for name in ATTRIBUTES if answers[0][name]["own"].strip("-")]


def mean(values: Sequence[float]) -> float:
    """The plain mean."""
    return float(np.mean(values))


def tables(result: dict[str, Any]) -> str:
    """Markdown tables of the exam and of the captions."""
    arms = list(result["scores"])
    rows = list(result["scores"][arms[0]])
    lines = [
        line(
            "attribute",
            *(f"{arm}: {ARMS[arm]}, {result['seeds'][arm]} seeds" for arm in arms),
            "chance",
            "after the VAE",
            "true clips",
        )
    ]
    lines.append("|---|" + "---|" * (len(arms) + 3))
    for name in rows:
        cells = [spread(result["scores"][arm][name]) for arm in arms]
        chance = [result["chance"][arm].get(name) for arm in arms]
        chance = [mean(list(result["chance"][arm].values())) for arm in arms] if name == "mean" else chance
        low, high = f"{100 * min(chance):.0f}", f"{100 * max(chance):.0f}"
        ceilings = [f"{100 * result['ceiling'][each][name]['mean']:.0f}" for each in ("vae", "truth")]
        lines.append(line(name, *cells, low if low == high else f"{low} to {high}", *ceilings))
    pairs = list(result["differences"])
    lines += ["", line("attribute", *pairs), "|---|" + "---|" * len(pairs)]
    for name in result["differences"][pairs[0]] if pairs else ():
        found = [result["differences"][pair][name] for pair in pairs]
        lines.append(line(name, *(f"{100 * v:+.0f} ({100 * lo:+.0f} to {100 * hi:+.0f})" for v, lo, hi in found)))
    lines += ["", line("captions", *ATTRIBUTES), "|---|" + "---|" * len(ATTRIBUTES)]
    for kind, found in result["captions"].items():
        cells = [f"{100 * found[n]['right']:.0f} / {100 * found[n]['wrong']:.0f}" for n in ATTRIBUTES]
        lines.append(line(kind, *cells))
    return "\n".join(lines) + "\n"


def line(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def spread(found: dict[str, Any]) -> str:
    """Percent: mean and standard deviation over seeds."""
    return f"{100 * found['mean']:.0f}" + ("" if found["sd"] is None else f" ± {100 * found['sd']:.0f}")


def draw_sheet(run: Path, prompts: Sequence[ExamPrompt], arms: Sequence[str], seed: int) -> None:
    """The first prompts' clips in every arm, under the true clips, one seed."""
    rows = []
    for number, (prompt, clip) in enumerate(wanted(prompts[:SHEET_PROMPTS], seed)):
        places = [(arm, run / f"{arm}{seed}" / "clips" / f"{prompt.id}-{clip}.npz") for arm in arms]
        for arm, path in [("true", run / "truth" / "clips" / f"{prompt.id}-0.npz"), *places]:
            arrays = read_arrays(path, None)
            if arrays is not None:
                title = f"{prompt.text} (true, scene {number} of seed {PROMPT_SEED})" if arm == "true" else arm
                rows.append((title, arrays["frames"]))
    with atomic_path(run / "sheet.png") as path:
        contact_sheet(rows, columns=COLUMNS).quantize(SHEET_COLOURS).save(path, optimize=True)

"""What captions cost: tokens to money, an estimate before the start, and a budget that holds."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..engine.commits import CaptionError
from ..settings import CaptionSettings, RunSettings

# Before there is an answer to measure. Most models cut a picture into patches of 14 pixels and join four of them.
PATCH, JOINED = 14, 4
PROMPT_TOKENS = 420  # of our words in a prompt, the facts among them
ANSWER_TOKENS = 280  # of facts, or of captions at three levels
LEDGER = ".spent"  # in the dataset: what was spent on it so far
WIDTH = 64  # bytes of the ledger, always as many


class BudgetExceeded(CaptionError):
    """The next request could cost more than is left of `run.budget`."""


def check_budget(run: RunSettings) -> None:
    """
    Args:
        run: of the settings, with the prices of both; what one of them writes may well be free.

    Raises:
        CaptionError: there is a budget, but no prices.
    """
    if run.budget is not None and not (_has_prices(run) or _has_prices(densifier_run(run))):
        raise CaptionError(
            f"run.budget is {run.budget:g}, but what tokens cost is not known; set "
            "run.price_per_million_prompt and run.price_per_million_output"
        )


def densifier_run(run: RunSettings) -> RunSettings:
    """The same settings with the densifier's prices."""
    prompt, output = run.densify_price_per_million_prompt, run.densify_price_per_million_output
    prompt = run.price_per_million_prompt if prompt is None else prompt
    output = run.price_per_million_output if output is None else output
    return run.model_copy(update={"price_per_million_prompt": prompt, "price_per_million_output": output})


def _has_prices(run: RunSettings) -> bool:
    return bool(run.price_per_million_prompt or run.price_per_million_output)


def price(prompt_tokens: float, output_tokens: float, run: RunSettings) -> float:
    """Money for so many tokens."""
    prompt = prompt_tokens * run.price_per_million_prompt
    return (prompt + output_tokens * run.price_per_million_output) / 1e6


def cost(rows: Iterable[Mapping[str, Any]], settings: CaptionSettings) -> float:
    """Money that rows of the captions table cost, failed attempts among them; what runs here is free."""
    writing, run = settings.captions, settings.run
    payers = {"facts": run if writing.backend == "openai" else None}
    payers["prose"] = payers["facts"]
    if writing.densify_model:
        payers["prose"] = densifier_run(run) if writing.densify_base_url else None
    money = 0.0
    for row in rows:
        payer = payers["facts" if row["level"] == "structured" else "prose"]
        if payer is not None:
            money += price(row.get("prompt_tokens") or 0, row.get("output_tokens") or 0, payer)
    return money


def spent_on(dataset: Path) -> float:
    """Money that was spent on a dataset so far, for what was forgotten since (`--redo`) too."""
    path = dataset / LEDGER
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return float(json.loads(text)["spent"]) if text.strip() else 0.0


def picture_tokens(width: int, height: int) -> int:
    """Tokens of one frame, about: models differ by a factor of two."""
    return -(-width // PATCH) * -(-height // PATCH) // JOINED + 2


def estimate(clips: int, settings: CaptionSettings) -> str:
    """What captioning so many clips will take, in a line; "" where nothing is paid by the token.

    Retries are not in it, since nobody knows them.
    """
    writing, run = settings.captions, settings.run
    paid_frames = writing.backend == "openai"
    paid_words = bool(writing.densify_model and writing.densify_base_url)
    if not (paid_frames or paid_words):
        return ""
    side = writing.max_side
    frames = writing.num_frames * picture_tokens(side, side * 9 // 16)
    calls = (2 * paid_frames) - (1 if paid_frames and writing.densify_model else 0)
    seen, words = calls * (PROMPT_TOKENS + frames), PROMPT_TOKENS * paid_words
    prompt, output = seen + words, ANSWER_TOKENS * (calls + paid_words)
    tokens = f"about {clips} clips × {round(prompt, -2)} prompt and {output} output tokens"
    text_run = densifier_run(run)
    if not ((paid_frames and _has_prices(run)) or (paid_words and _has_prices(text_run))):
        return f"{tokens}; what they cost is unknown, since run.price_per_million_prompt and _output are 0"
    money = price(clips * seen, clips * ANSWER_TOKENS * calls, run)
    money += price(clips * words, clips * ANSWER_TOKENS * paid_words, text_run)
    limit = f", of a budget of {run.budget:g}" if run.budget is not None else ""
    return f"{tokens} ≈ {money:.3g} in all{limit}"


class Meter:
    """Counts the money of all workers of a dataset, and keeps it below the budget if there is one.

    What a request could cost at most is put aside before it is sent, and settled when its answer tells what it
    did cost. Before the first answer that is a guess, twice what most models take for such pictures, and so the
    first request goes out alone: it can exceed the budget, if hardly anything is left of it and the model takes
    more. The rest are held to what its answer said. The sum is a small file in the
    dataset, locked while it is changed, so that it holds for several processes and outlives a kill; a request
    that was killed in flight stays counted at its worst.

    Args:
        ledger: that file; None counts in memory, for one process.
        run: with the budget and the prices; see `densifier_run`. One without prices counts nothing: see
            `check_budget`.
    """

    def __init__(self, ledger: Path | None, run: RunSettings) -> None:
        self.ledger, self.run, self.memory = ledger, run, 0.0
        if ledger is not None and self.counts:
            ledger.parent.mkdir(parents=True, exist_ok=True)

    @property
    def counts(self) -> bool:
        """Whether there is anything to count."""
        return _has_prices(self.run)

    def reserve(self, prompt_tokens: float, output_tokens: float) -> float:
        """Put aside what a request costs at most; gives that sum.

        Raises:
            BudgetExceeded: it is more than is left; nothing is put aside.
        """
        worst = price(prompt_tokens, output_tokens, self.run)
        if not self.counts:
            return 0.0
        with self._spent() as spent:
            if self.run.budget is not None and spent[0] + worst > self.run.budget:
                raise BudgetExceeded(
                    f"the next request could cost {worst:.4g}, and {spent[0]:.4g} of the budget of "
                    f"{self.run.budget:g} is spent; finished captions are kept, and the same command goes on "
                    "with a higher run.budget"
                )
            spent[0] += worst
        return worst

    def settle(self, reserved: float, prompt_tokens: float, output_tokens: float) -> None:
        """Put back what a request did not cost."""
        if not self.counts:
            return
        with self._spent() as spent:
            spent[0] += price(prompt_tokens, output_tokens, self.run) - reserved

    @contextmanager
    def _spent(self) -> Iterator[list[float]]:
        """The sum so far, to be changed in place, while nobody else can."""
        if self.ledger is None:
            box = [self.memory]
            yield box
            self.memory = box[0]
            return
        handle = os.open(self.ledger, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            text = os.read(handle, WIDTH)
            box = [float(json.loads(text)["spent"]) if text else 0.0]
            before = box[0]
            yield box
            if (
                box[0] != before
            ):  # in place and in one go: a kill, or a full disk, finds the old sum or the new one
                os.pwrite(handle, json.dumps({"spent": box[0]}).ljust(WIDTH).encode(), 0)
        finally:
            os.close(handle)  # unlocks it

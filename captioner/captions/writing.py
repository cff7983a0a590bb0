"""Captions of clips: facts first, then short, medium and dense captions that are derived from them.

Every answer is checked at once; what fails is written anew with another seed, `captions.attempts` times in all,
and then kept as a row that says what is wrong with it and that no training uses. Which attempt a caption is of
stands in its sampling, and so in its id: a model that answers alike gives the same rows on every engine and after
every kill. Endpoints need not answer alike, nor does a transformers model on a GPU if its batches are others (see
ARCHITECTURE.md, "A captioned dataset"); a restart with the same `run.batch_size` forms the same.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ...data.video_io import VideoError
from ..backends.base import PROSE, Answer, Backend, Request
from ..checks.verdict import Scorer, Verdict, check_caption
from ..ingest.unchanged import UnreachableError
from ..settings import CaptionSettings
from ..shots.frames import ClipFrames, read_clip
from ..tables import CAPTIONS, Row, caption_id, digest
from .facts import Facts, to_json, to_text

FACTS = ("structured",)
FAILED = frozenset(("truncated", "blocked", "error"))


@dataclass
class Attempt:
    """One try at one level of a clip, and what the checks say of it."""

    number: int
    seed: int
    temperature: float
    answer: Answer
    text: str = ""
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def status(self) -> str:
        """Of CAPTION_STATUSES."""
        if self.answer.status in ("blocked", "skipped", "error"):
            return self.answer.status
        return self.verdict.status if self.verdict.problems else self.answer.status

    @property
    def error(self) -> str | None:
        """What is wrong with it."""
        return "; ".join(filter(None, [self.answer.error, *self.verdict.problems])) or None

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """The lower the better: a success, else one with a text, else fewer problems, else the earlier."""
        return self.status != "success", not self.text, len(self.verdict.problems), self.number


@dataclass
class Draft:
    """A clip, and all that was tried on it."""

    clip: Row
    frames: ClipFrames
    attempts: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    spent: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0.0]))
    facts: Facts | None = None
    parent_id: str | None = None  # of the facts

    def best(self, level: str) -> Attempt:
        """The attempt that is kept."""
        return min(self.attempts[level], key=lambda attempt: attempt.rank)


class Writer:
    """Writes all captions of clips. Threads may share it.

    Args:
        backend: sees the frames.
        densifier: writes prose from the facts alone; None: the backend does, with the frames before it.
        scorer: of similarity; None leaves these scores out.
    """

    def __init__(
        self, settings: CaptionSettings, backend: Backend, densifier: Backend | None, scorer: Scorer | None
    ) -> None:
        self.settings, self.writing = settings, settings.captions
        self.backend, self.prose_backend, self.scorer = backend, densifier or backend, scorer
        self.scoring = threading.Lock()

    def write(self, clips: Sequence[Row], run_id: str = "") -> list[Row]:
        """Rows of the captions table of clips: facts, three levels, and the original captions.

        Raises:
            UnreachableError: a clip's file cannot be read now; nothing was asked of a model yet.
        """
        drafts, rows = [], []
        count = self.backend.num_frames or self.writing.num_frames
        made = {"run_id": run_id}
        for clip in clips:
            try:
                frames = read_clip(clip, count, max_side=self.writing.max_side)
            except UnreachableError:
                raise
            except VideoError as error:
                rows += self._unreadable(clip, str(error), made)
            else:
                drafts.append(Draft(clip, frames))
        self._write(drafts, FACTS, self.backend)
        for draft in drafts:
            best = draft.best("structured")
            rows.append(self._row(draft, "structured", best, self.backend, made))
            draft.facts = best.answer.facts if best.status == "success" else None
            draft.parent_id = rows[-1]["caption_id"] if best.status != "skipped" else None
        able = [draft for draft in drafts if self._may_write(draft)]
        self._write(able, PROSE, self.prose_backend)
        for draft in drafts:
            for level in PROSE:
                rows.append(self._row(draft, level, draft.best(level), self.prose_backend, made))
            rows += self._originals(draft.clip, draft.frames, made)
        return rows

    def _may_write(self, draft: Draft) -> bool:
        """Whether there is something to derive prose from; if not, its attempts say why."""
        facts = draft.best("structured")
        if facts.status == "success" or (facts.status == "skipped" and self.prose_backend.sees):
            return True
        reason = f"there are no facts to write it from: {facts.error}"
        for level in PROSE:
            draft.attempts[level].append(Attempt(0, 0, 0.0, Answer(status="skipped", error=reason)))
        return False

    def _write(self, drafts: Sequence[Draft], levels: tuple[str, ...], backend: Backend) -> None:
        """Try levels until each has passed its checks or has had all its attempts."""
        open_levels = {index: list(levels) for index in range(len(drafts))}
        for number in range(self.writing.attempts):
            asked: list[tuple[Draft, list[str], Request]] = []
            for index, wanted in open_levels.items():
                groups = [wanted] if backend.one_call_for_all_levels else [[level] for level in wanted]
                for group in filter(None, groups):
                    request = self._request(drafts[index], tuple(group), number, backend)
                    asked.append((drafts[index], wanted, request))
            if not asked:
                return
            answers = backend.write([request for _, _, request in asked])
            for (draft, wanted, request), answer in zip(asked, answers, strict=True):
                for level in request.levels:
                    attempt = self._judge(draft, level, request, answer, number, backend)
                    draft.attempts[level].append(attempt)
                    if attempt.status == "success" or not answer.can_retry:
                        wanted.remove(level)
                spent = draft.spent[request.levels[0]]  # a call for several levels is paid once
                for place, figure in enumerate((answer.prompt_tokens, answer.output_tokens, answer.latency_ms)):
                    spent[place] += figure

    def _request(self, draft: Draft, levels: tuple[str, ...], number: int, backend: Backend) -> Request:
        kind = "facts" if levels == FACTS else "prose" if backend.one_call_for_all_levels else levels[0]
        seed = int(digest("seed", self.writing.seed, draft.clip["clip_id"], kind, number)[:12], 16)
        warm = max(self.writing.retry_temperature, self.writing.temperature)
        return Request(
            clip=draft.clip,
            levels=levels,
            frames=draft.frames if backend.sees else None,
            facts=None if levels == FACTS else draft.facts,
            seed=seed,
            temperature=warm if number else self.writing.temperature,
        )

    def _judge(
        self, draft: Draft, level: str, request: Request, answer: Answer, number: int, backend: Backend
    ) -> Attempt:
        temperature = request.temperature
        if temperature and backend.temperature is not None:
            temperature = backend.temperature
        attempt = Attempt(number, request.seed, temperature, answer)
        if answer.status in ("success", "truncated"):
            attempt.text = answer.texts.get(level, "")
            if level == "structured" and answer.facts is not None:
                attempt.text = attempt.text or to_text(answer.facts)
            before = {each: draft.best(each) for each in PROSE if draft.attempts[each]}
            previous = {each: best.text for each, best in before.items() if best.status == "success"}
            attempt.verdict = self._check(
                attempt.text, level, draft.clip, draft.frames, draft.facts, answer, previous
            )
        return attempt

    def _check(
        self, text: str, level: str, clip: Row, frames: ClipFrames, facts: Facts | None = None,
        answer: Answer | None = None, previous: Mapping[str, str] | None = None,
    ) -> Verdict:  # fmt: skip
        with self.scoring:
            return check_caption(
                text,
                level=level,
                facts=facts,
                clip=clip,
                scores=clip.get("scores"),
                frames=frames,
                scorer=self.scorer,
                previous=previous,
                finished=answer is None or answer.status != "truncated",
                settings=self.settings.checks,
            )

    def _row(self, draft: Draft, level: str, attempt: Attempt, backend: Backend, made: Row) -> Row:
        answer, verdict = attempt.answer, attempt.verdict
        structured = level == "structured"
        prompt_tokens, output_tokens, latency_ms = draft.spent[level]
        figures = {
            "text": attempt.text or None,
            "structured": to_json(answer.facts) if structured and answer.facts is not None else None,
            "raw": answer.raw or None,
            "parent_id": None if structured else draft.parent_id,
            "backend": backend.name,
            "model": backend.model,
            "revision": backend.revision or None,
            "prompt_sha": backend.prompt_sha(FACTS if structured else PROSE),
            "sampling": self._sampling(attempt),
            "frame_pts": draft.frames.pts if backend.sees else [],
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
            "latency_ms": latency_ms,
            "status": attempt.status,
            "error": None if attempt.status == "success" else attempt.error,
            "clip_mean": verdict.clip_mean,
            "clip_min": verdict.clip_min,
            "repetition": verdict.repetition if attempt.text else None,
        }
        return _finished(draft.clip, level, made | figures)

    def _sampling(self, attempt: Attempt) -> str:
        """How the model was made to choose its words, as JSON."""
        return json.dumps(
            {
                "attempt": attempt.number,
                "max_side": self.writing.max_side,
                "max_tokens": self.writing.max_tokens,
                "num_frames": self.backend.num_frames or self.writing.num_frames,
                "seed": attempt.seed,
                "temperature": attempt.temperature,
                "top_p": self.writing.top_p if attempt.temperature else None,
            }
            | ({"refused": list(attempt.answer.refused)} if attempt.answer.refused else {}),
            sort_keys=True,
        )

    def _originals(self, clip: Row, frames: ClipFrames | None, made: Row, error: str | None = None) -> list[Row]:
        """The captions that came with the clip: scored, and never written anew."""
        rows = []
        for text in dict.fromkeys(text.strip() for text in clip.get("captions") or []):
            if not text:
                continue
            verdict = self._check(text, "original", clip, frames) if frames is not None else Verdict()
            figures = {
                "text": text,
                "backend": "original",
                "model": None,
                "revision": digest("original", text),  # so that two originals of a clip have two ids
                "status": "success" if error is None else "error",
                "error": error,
                "clip_mean": verdict.clip_mean,
                "clip_min": verdict.clip_min,
                "repetition": verdict.repetition,
            }
            rows.append(_finished(clip, "original", made | figures))
        return rows

    def _unreadable(self, clip: Row, error: str, made: Row) -> list[Row]:
        """Rows of a clip whose frames cannot be read."""
        rows = []
        for level in (*FACTS, *PROSE):
            backend = self.backend if level == "structured" else self.prose_backend
            figures = {"backend": backend.name, "model": backend.model, "revision": backend.revision or None}
            figures |= {"status": "error", "error": error}
            rows.append(_finished(clip, level, made | figures))
        return rows + self._originals(clip, None, made, error)


def _finished(clip: Row, level: str, figures: Mapping[str, Any]) -> Row:
    """A whole row: all columns, and its id."""
    row: Row = dict.fromkeys(CAPTIONS.names)
    row |= {"clip_id": clip["clip_id"], "level": level, "created_at": datetime.now(UTC)} | dict(figures)
    return row | {"caption_id": caption_id(row)}

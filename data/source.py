"""The dataset that a configuration asks for: the one place that knows the built-in corpus from a path."""

from typing import Any, Literal

from ..configs.schema import DataConfig


def open_dataset(data: DataConfig, *, seed: int, split: Literal["train", "heldout"] | None = None) -> Any:
    """A dataset of clip items ("id", "index", "pixel_values", "captions", "fps", "scene"), by index.

    Args:
        data: what to open and at which shape: the built-in corpus, a folder of its clips rendered once
            (`diorama.rendered`), a manifest, a folder of videos, or a dataset of `kinema caption`.
        seed: of the built-in corpus.
        split: another split than `data.split`. A folder or manifest keeps about every 50th file for "heldout".

    Raises:
        FileNotFoundError: the source is neither "diorama" nor an existing path.
        ClipError: no clip of the source can be used; the message counts the causes.
    """
    split = split or data.split
    if data.source == "diorama":
        from .diorama import DioramaDataset

        return DioramaDataset(
            seed=seed,
            split=split,
            difficulty=data.difficulty,
            height=data.height,
            width=data.width,
            num_frames=data.num_frames,
            fps=data.fps,
            num_clips=data.num_clips,
            supersample=data.supersample,
            fps_choices=data.fps_choices,
            buckets=data.buckets,
            two_events=data.two_events,
            typed=data.caption_mix.get("typed", 0.0) > 0,
        )
    from .diorama.rendered import RenderedClips, is_rendered

    if is_rendered(data.source):
        shape = {"height": data.height, "width": data.width, "num_frames": data.num_frames, "fps": data.fps}
        return RenderedClips(data.source, **shape, seed=seed, split=split)
    from .clips import ClipDataset

    return ClipDataset(
        data.source,
        height=data.height,
        width=data.width,
        num_frames=data.num_frames,
        fps=data.fps,
        fps_choices=data.fps_choices,
        buckets=data.buckets,
        split=split,
        out_of_domain=data.out_of_domain,
    )

"""Buckets: clips of many shapes sorted into few, so that a batch has one shape.

Aspect ratio and duration are kept as nearly as the buckets allow (Sora's "native size" training by another way).
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

Shape = tuple[int, int, int]  # frames, height, width


def nearest_bucket(frames: int, height: int, width: int, buckets: Sequence[Shape]) -> int | None:
    """The bucket that changes a clip least: nearest aspect ratio, then the longest that the clip fills.

    Args:
        frames: frames of the clip at the training frame rate.
        height, width: pixels of the clip.
        buckets: shapes to choose from.

    Returns:
        The bucket's number, or None when every bucket is longer than the clip.
    """
    fits = [number for number, bucket in enumerate(buckets) if bucket[0] <= frames]
    if not fits:
        return None

    def change(number: int) -> tuple[float, int, int]:
        count, rows, columns = buckets[number]
        stretch = abs(math.log((width / height) / (columns / rows)))
        return (round(stretch, 3), -count, -rows * columns)

    return min(fits, key=change)


class BucketBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) whose clips share one bucket, for one rank, from any step on.

    The order is a pure function of (seed, epoch): each epoch shuffles every bucket, cuts it into global batches
    (the last of a bucket is filled up from its beginning) and shuffles the batches. Ranks take slices of a batch.
    """

    def __init__(
        self,
        bucket_of: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        first: int = 0,
        steps: int | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Set the order.

        Args:
            bucket_of: bucket of each clip.
            batch_size: clips per rank and step.
            seed: of the shuffles.
            first: the step to start at.
            steps: steps in all, counted from 0; None: to the end of the epoch that holds `first`.
            rank, ranks: this process and how many there are.

        Raises:
            ValueError: there is no clip.
        """
        if not bucket_of:
            raise ValueError("there is no clip to sort into buckets")
        self.members: dict[int, list[int]] = {}
        for index, bucket in enumerate(bucket_of):
            self.members.setdefault(bucket, []).append(index)
        self.batch_size, self.seed, self.first = batch_size, seed, first
        self.rank, self.ranks = rank, ranks
        whole = batch_size * ranks
        self.per_epoch = sum(math.ceil(len(clips) / whole) for clips in self.members.values())
        self.steps = (first // self.per_epoch + 1) * self.per_epoch if steps is None else steps

    def __len__(self) -> int:
        return max(0, self.steps - self.first)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, batches = -1, []
        for step in range(self.first, self.steps):
            if step // self.per_epoch != epoch:
                epoch = step // self.per_epoch
                batches = self._epoch(epoch)
            batch = batches[step % self.per_epoch]
            part = batch[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]
            yield [(epoch, index) for index in part]

    def _epoch(self, epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        whole, batches = self.batch_size * self.ranks, []
        for bucket in sorted(self.members):
            clips = self.members[bucket]
            order = [clips[i] for i in torch.randperm(len(clips), generator=generator).tolist()]
            for start in range(0, len(order), whole):
                batch = order[start : start + whole]
                batches.append((batch + order * math.ceil(whole / len(order)))[:whole])
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

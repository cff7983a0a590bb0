"""Which clips are copies of one another, among a million as among ten.

Candidates share a key, of which there are several kinds, and only those are compared: parts of the perceptual
hash, of which two hashes that differ in few bits share at least one (Manku et al. 2007); and on which side of some
random planes an embedding lies (Charikar 2002).
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

FAR = 2  # times `bits`: hashes further apart are of different clips, whatever the embeddings say
UNLIKE = 0.5  # cosine; embeddings less alike are of different clips, whatever the hashes say
RECALL = 0.999  # of the pairs whose embeddings are as alike as asked for, and no more, so many are compared
MOST_KEYS = 64  # of embeddings
AT_ONCE = 1 << 20  # pairs compared at a time
SEED = 0


def find_groups(
    hashes: np.ndarray, embeddings: np.ndarray | None, *, bits: int | None, similarity: float | None
) -> np.ndarray:
    """A number for each clip, the same for copies of one another.

    Two clips are copies if their hashes differ in at most `bits` bits and their embeddings are not unlike; or if
    their embeddings have a cosine of at least `similarity` and their hashes differ in at most twice `bits`. So are
    copies of copies.

    Args:
        hashes: uint64 (N, W), W words each; see `signals.hashing`.
        embeddings: unit vectors, float32 (N, E); None: there are none.
        bits: None: hashes alone make no copies.
        similarity: None: embeddings alone make no copies.
    """
    groups = _Groups(hashes, embeddings, bits, similarity)
    if bits is not None:
        for keys in _hash_keys(hashes, bits):
            groups.compare(keys)
    if similarity is not None and embeddings is not None:
        for keys in _plane_keys(embeddings, similarity):
            groups.compare(keys)
    return groups.finished()


class _Groups:
    """Clips joined so far."""

    def __init__(
        self, hashes: np.ndarray, embeddings: np.ndarray | None, bits: int | None, similarity: float | None
    ) -> None:
        self.hashes, self.embeddings = hashes, embeddings
        self.bits = -1 if bits is None else bits
        self.furthest = FAR * (8 if bits is None else bits)
        self.similarity = math.inf if similarity is None else similarity
        self.group = np.arange(len(hashes))
        self.links: list[tuple[np.ndarray, np.ndarray]] = []
        self.waiting = 0

    def compare(self, keys: np.ndarray) -> None:
        """Join the copies among clips with equal keys (N,)."""
        order = np.argsort(keys, kind="stable")
        keys, words = keys[order], np.ascontiguousarray(self.hashes[order].T)
        first, apart = np.arange(len(keys)), 0
        while True:  # each with the next but one, the next but two, … of those with its key
            apart += 1
            first = first[: np.searchsorted(first, len(keys) - apart)]
            first = first[keys[first] == keys[first + apart]]
            if not len(first):
                return
            for start in range(0, len(first), AT_ONCE):
                a = first[start : start + AT_ONCE]
                differing = np.sum([np.bitwise_count(word[a] ^ word[a + apart]) for word in words], axis=0)
                near = np.flatnonzero(differing <= self.furthest)
                self._join(order[a[near]], order[a[near] + apart], differing[near])

    def _join(self, a: np.ndarray, b: np.ndarray, differing: np.ndarray) -> None:
        new = self.group[a] != self.group[b]
        a, b, differing = a[new], b[new], differing[new]
        if self.embeddings is None:
            copies = differing <= self.bits
        else:
            alike = np.einsum("ne,ne->n", self.embeddings[a], self.embeddings[b])
            copies = (differing <= self.bits) & (alike >= UNLIKE)
            copies |= (differing <= self.furthest) & (alike >= self.similarity)
        if copies.any():
            self.links.append((a[copies], b[copies]))
            self.waiting += int(copies.sum())
        if self.waiting > len(self.group) // 100:
            self.finished()

    def finished(self) -> np.ndarray:
        """The numbers, after all links that wait."""
        if self.waiting:
            a, b = (self.group[np.concatenate(side)] for side in zip(*self.links))
            size = len(self.group)
            graph = coo_array((np.ones(len(a), bool), (a, b)), (size, size))
            self.group = connected_components(graph, directed=False)[1][self.group]
        self.links, self.waiting = [], 0
        return self.group


def _hash_keys(hashes: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """`bits` + 1 keys (N,): hashes that differ in at most `bits` bits have one in common."""
    ones = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(len(hashes), -1), axis=1)
    mixed = np.random.default_rng(SEED).permutation(ones.shape[1])  # some bits tell little: each key gets some
    for places in np.array_split(mixed, min(bits + 1, ones.shape[1])):
        packed = np.packbits(ones[:, places], axis=1)
        yield np.unique(packed, axis=0, return_inverse=True)[1].ravel() if packed.shape[1] > 8 else _number(packed)


def _plane_keys(embeddings: np.ndarray, similarity: float) -> Iterator[np.ndarray]:
    """Keys (N,), one of which unit vectors of at least that cosine have in common, with probability `RECALL`."""
    planes = min(40, max(1, math.ceil(math.log2(len(embeddings) + 1))))
    same = (1 - math.acos(min(similarity, 1.0)) / math.pi) ** planes
    count = 1 if same >= RECALL else math.ceil(math.log(1 - RECALL) / math.log(1 - same))
    generator = np.random.default_rng(SEED)
    for _ in range(min(count, MOST_KEYS)):
        sides = embeddings @ generator.standard_normal((embeddings.shape[1], planes), dtype=np.float32) > 0
        yield _number(np.packbits(sides, axis=1))


def _number(packed: np.ndarray) -> np.ndarray:
    """Rows of at most 8 bytes as numbers."""
    wide = np.zeros((len(packed), 8), np.uint8)
    wide[:, : packed.shape[1]] = packed
    return wide.view(np.uint64).ravel()

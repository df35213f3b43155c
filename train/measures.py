"""Measures of retrieval and of generation. Retrieval has one outcome per query, which gives bootstrap intervals.

Uses numpy and scikit-learn only, and does not depend on the source of the codes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Outcomes = npt.NDArray[np.float64]
Labels = npt.NDArray[np.str_]

TEMPERATURE = 0.07
CHUNK = 256  # queries whose similarities to the whole gallery are held at once
PROBE_C = (0.001, 0.01, 0.1, 1.0)


def unit(x: Array) -> Array:
    """Rows scaled to length 1."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def rankings(xb: Array, xq: Array, depth: int | None = None) -> Iterator[tuple[slice, Array, npt.NDArray[np.int64]]]:
    """For each chunk of queries: its slice, the cosines to the gallery (c, n), and the ``depth`` nearest rows of the
    gallery (c, depth), nearest first; without ``depth``, all rows.
    """
    xb, xq = unit(xb), unit(xq)
    for start in range(0, len(xq), CHUNK):
        part = slice(start, start + CHUNK)
        similarities = xq[part] @ xb.T
        yield part, similarities, nearest(similarities, depth or len(xb))


def nearest(similarities: Array, depth: int) -> npt.NDArray[np.int64]:
    """Columns of the ``depth`` largest similarities of each row (c, n), largest first, ties by column."""
    if depth >= similarities.shape[1]:
        return np.argsort(-similarities, axis=1, kind="stable")
    top = np.sort(np.argpartition(-similarities, depth - 1, axis=1)[:, :depth], axis=1)
    order = np.argsort(-np.take_along_axis(similarities, top, 1), axis=1, kind="stable")
    return np.take_along_axis(top, order, 1)


def largest_class(labels: Labels) -> int:
    """Count of the most frequent label: the depth that mAP@R needs."""
    return max(Counter(labels.tolist()).values())


def class_outcomes(similarities: Array, order: npt.NDArray[np.int64], yb: Labels, yq: Labels) -> dict[str, Outcomes]:
    """kNN-20, P@1, P@10 and mAP@R for queries with labels (c,) against a gallery with labels (n,).

    ``order`` (c, m) are the nearest rows, m at least 20 and ``largest_class(yb)``.
    """
    top = order[:, :20]
    agree = yb[order] == yq[:, None]
    sizes = Counter(yb.tolist())
    relevant = np.array([sizes[label] for label in yq.tolist()])
    return {
        "kNN-20": (vote(np.take_along_axis(similarities, top, 1), yb[top]) == yq).astype(np.float64),
        "P@1": agree[:, 0].astype(np.float64),
        "P@10": agree[:, :10].mean(1),
        "mAP@R": average_precision_at_r(agree, relevant),
    }


def vote(similarities: Array, labels: Labels) -> Labels:
    """The label with the largest sum of exp(s / 0.07) among neighbours (n, k) (Wu et al., arXiv 1805.01978)."""
    weights = np.exp((similarities - similarities.max(1, keepdims=True)) / TEMPERATURE)
    classes = np.unique(labels)
    sums = np.stack([(weights * (labels == one)).sum(1) for one in classes])
    return np.asarray(classes[sums.argmax(0)])


def average_precision_at_r(agree: npt.NDArray[np.bool_], relevant: npt.NDArray[np.int64]) -> Outcomes:
    """AP@R = 1/R sum_{i <= R} P@i rel_i, R the number of relevant rows (Musgrave et al., arXiv 2003.08505, 3.2).

    ``agree`` (n, m): whether the i-th nearest is relevant; ``relevant`` (n,): R, at most m. NaN where R is 0.
    """
    precision = np.cumsum(agree, axis=1) / np.arange(1, agree.shape[1] + 1)
    within = np.arange(agree.shape[1]) < relevant[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray((precision * agree * within).sum(1) / np.where(relevant, relevant, np.nan), np.float64)


def regression_outcomes(order: npt.NDArray[np.int64], yb: Outcomes, yq: Outcomes, k: int = 10) -> Outcomes:
    """|y - mean y of the k nearest|: (c,)."""
    predicted: Outcomes = yb[order[:, :k]].mean(1)
    return np.abs(predicted - yq)


def probe_outcomes(xb: Array, yb: Labels, xq: Array, yq: Labels, seed: int = 0) -> Outcomes:
    """Whether logistic regression on the gallery's codes classifies each query correctly; a held-out tenth sets C.

    At most 200 steps of L-BFGS, so that 200 classes take minutes: the result may be below the converged one.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(c: float, x: Array, y: Labels) -> object:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=200)).fit(x, y)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # when the steps end before convergence
        xt, xv, yt, yv = train_test_split(xb, yb, test_size=0.1, random_state=seed)
        rivals = PROBE_C if len(set(yt.tolist())) > 1 else PROBE_C[:1]
        best = max(rivals, key=lambda c: fitted(c, xt, yt).score(xv, yv))  # type: ignore[attr-defined]
        predicted = fitted(best, xb, yb).predict(xq)  # type: ignore[attr-defined]
    return np.asarray(predicted == yq, np.float64)


def copy_outcomes(distances: Array, own: npt.NDArray[np.int64], k: int) -> Outcomes:
    """Whether a copy's original is among its k nearest: the probability, with ties broken at random.

    ``distances`` (c, n) from copies to the gallery, ``own`` (c,) the originals' rows.
    """
    mine = np.take_along_axis(distances, own[:, None], 1)
    nearer, equal = (distances < mine).sum(1), (distances == mine).sum(1)
    return np.asarray(np.clip((k - nearer) / equal, 0, 1), np.float64)


def interval(outcomes: Outcomes, rounds: int = 1000) -> tuple[float, float, float]:
    """Mean over queries and the ends of its 95% bootstrap interval; queries without an outcome (NaN) are left out."""
    values = outcomes[~np.isnan(outcomes)]
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(rounds)]
    return float(values.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def density_and_coverage(real: Array, fake: Array, k: int = 5) -> tuple[float, float]:
    """Density of generated codes near real ones, and coverage: the share of real codes with a generated one near.

    Radii are distances to the k-th nearest other real code (Naeem et al., arXiv 2002.09797, eq. 7 and 9).
    """
    from sklearn.metrics import pairwise_distances

    radii = np.sort(pairwise_distances(real), axis=1)[:, k]
    inside = pairwise_distances(real, fake) < radii[:, None]
    return float(inside.sum() / (k * len(fake))), float(inside.any(1).mean())


def sliced_wasserstein(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], seed: int = 0) -> dict[int, float]:
    """Sliced Wasserstein distance x 1000 at each level of a Laplacian pyramid, by its side in pixels.

    Patches of 7x7 pixels, normalised by channel, sorted projections on random directions (Karras et al.,
    arXiv 1710.10196, section 5). ``a`` and ``b`` uint8 (n, s, s, 3); equally many of each are compared.
    """
    count = min(len(a), len(b))
    rng = np.random.default_rng(seed)
    levels = zip(_pyramid(a[:count]), _pyramid(b[:count]), strict=True)
    return {x.shape[1]: _sliced(_patches(x, rng), _patches(y, rng), rng) for x, y in levels}


def _pyramid(pictures: npt.NDArray[np.uint8]) -> Iterator[Array]:
    """Differences between each scale and the next smaller one, down to 16 px, which is kept as it is."""
    current = pictures.astype(np.float32)
    while current.shape[1] > 16:
        n, side = current.shape[:2]
        smaller = current.reshape(n, side // 2, 2, side // 2, 2, 3).mean((2, 4))
        yield current - smaller.repeat(2, axis=1).repeat(2, axis=2)
        current = smaller
    yield current


def _patches(level: Array, rng: np.random.Generator, each: int = 32, side: int = 7) -> Array:
    n, size = level.shape[:2]
    tops, lefts = rng.integers(0, size - side + 1, (2, n, each, 1, 1))
    rows, columns = tops + np.arange(side)[:, None], lefts + np.arange(side)
    patches = level[np.arange(n)[:, None, None, None], rows, columns].reshape(n * each, -1, 3)
    patches -= patches.mean((0, 1))
    patches /= patches.std((0, 1)) + 1e-8
    return np.asarray(patches.reshape(n * each, -1), np.float32)


def _sliced(a: Array, b: Array, rng: np.random.Generator, directions: int = 128) -> float:
    axes = rng.standard_normal((a.shape[1], directions)).astype(np.float32)
    axes /= np.linalg.norm(axes, axis=0)
    return float(1000 * np.abs(np.sort(a @ axes, axis=0) - np.sort(b @ axes, axis=0)).mean())

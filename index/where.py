"""A filter as data: which pictures may be found. Each kind of catalog translates it into its own dialect.

What is not known of a picture compares with nothing: it is neither above nor below, and differs from every value.

>>> AllOf((InFolder("/photos/trips"), Compare("width_px", ">=", 2000), Not(Matches("camera", "canon*"))))
AllOf(terms=(InFolder(folder='/photos/trips'), Compare(fact='width_px', sign='>=', value=2000), \
Not(term=Matches(fact='camera', pattern='canon*'))))
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

FileFact = Literal["size_bytes", "mtime_ns", "width_px", "height_px", "pixels", "realism", "spread", "unfamiliarity"]
ContentFact = Literal[
    "taken_us", "frames", "bits", "has_alpha", "focal_mm", "exposure_s", "iso", "orientation", "rating", "latitude",
    "longitude", "is_raw", "is_screenshot", "is_motion", "has_gain_map",
]  # fmt: skip
Fact = FileFact | ContentFact
"""``taken_us``: when it was taken, by the camera's clock, in microseconds since 1970; if that is not known, when the
file was changed (UTC). ``pixels``: width times height. Facts that are true or false are 1 or 0."""
PathText = Literal["path", "name", "folder", "root"]
ContentText = Literal["format", "mode", "camera", "lens", "title", "keyword", "burst"]
Text = PathText | ContentText
"""``path`` is relative to the root, with slashes. ``folder``: in a folder of that path, or below it."""
Sign = Literal["=", "!=", "<", "<=", ">", ">="]

FACTS: tuple[str, ...] = (*get_args(FileFact), *get_args(ContentFact))
PATH_TEXTS: tuple[str, ...] = get_args(PathText)
TEXTS: tuple[str, ...] = (*PATH_TEXTS, *get_args(ContentText))
ANY, ONE = "*", "?"  # of a pattern: any characters, and any character


@dataclass(frozen=True)
class Compare:
    """Pictures whose ``fact`` compares with ``value`` as ``sign`` says.

    Raises:
        ValueError: unknown fact or sign, or a value that is not finite.
    """

    fact: Fact
    sign: Sign
    value: float

    def __post_init__(self) -> None:
        _check(self.fact, FACTS)
        _check(self.sign, get_args(Sign))
        if not math.isfinite(self.value):
            raise ValueError(f"a filter compares with finite numbers, not {self.value}")


@dataclass(frozen=True)
class Matches:
    """Pictures whose text matches ``pattern``: * stands for any characters, and ? for one. Letters of paths are
    compared as they are, of other texts without regard to case (ASCII). One of the keywords must match, whose pattern
    may have * at its ends, and no ?.

    Raises:
        ValueError: unknown fact, or a pattern that keywords cannot have.
    """

    fact: Text
    pattern: str

    def __post_init__(self) -> None:
        _check(self.fact, TEXTS)
        if self.fact == "keyword" and (ANY in self.pattern[1:-1] or ONE in self.pattern):
            raise ValueError(f"a keyword may have {ANY} at its ends and no {ONE}, unlike {self.pattern!r}")


@dataclass(frozen=True)
class Known:
    """Pictures of which the file says ``fact``.

    Raises:
        ValueError: unknown fact.
    """

    fact: ContentFact | ContentText

    def __post_init__(self) -> None:
        _check(self.fact, (*get_args(ContentFact), *get_args(ContentText)))


@dataclass(frozen=True)
class Near:
    """Pictures taken within ``km`` of a place, by great circles of a sphere.

    Raises:
        ValueError: no place on Earth, or no distance.
    """

    latitude: float
    longitude: float
    km: float

    def __post_init__(self) -> None:
        if not (abs(self.latitude) <= 90 and abs(self.longitude) <= 180 and 0 < self.km < math.inf):
            raise ValueError(
                "a place is a latitude from -90 to 90, a longitude from -180 to 180 and a distance above 0 km, "
                f"not {self.latitude:g},{self.longitude:g},{self.km:g}km"
            )


@dataclass(frozen=True)
class Unusual:
    """Pictures at a Mahalanobis distance above ``radius`` from ``middle`` in (realism, log spread). ``inverse`` is the
    inverse covariance: xx, xy, yy. Spreads below ``least`` count as that."""

    middle: tuple[float, float]
    inverse: tuple[float, float, float]
    radius: float
    least: float


@dataclass(frozen=True)
class Listed:
    """Pictures with one of these ids."""

    ids: frozenset[int]


@dataclass(frozen=True)
class InFolder:
    """Pictures in ``folder``, an absolute path, or below it."""

    folder: str


@dataclass(frozen=True)
class Not:
    """Pictures that do not match ``term``."""

    term: Where


@dataclass(frozen=True)
class AllOf:
    """Pictures that match all ``terms``; without terms, every picture."""

    terms: tuple[Where, ...]


@dataclass(frozen=True)
class AnyOf:
    """Pictures that match at least one of ``terms``; without terms, no picture."""

    terms: tuple[Where, ...]


Where = Compare | Matches | Known | Near | Unusual | Listed | InFolder | Not | AllOf | AnyOf

Order = Fact | Literal["path"] | Unusual
"""What pictures are ordered by: a fact, the path, or the distance from what is usual."""


def _check(word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ValueError(f"a filter knows {', '.join(known)}, not {word!r}")


def leaves(where: Where) -> Iterator[Where]:
    """The conditions that a filter is made of."""
    match where:
        case Not(term):
            yield from leaves(term)
        case AllOf(terms) | AnyOf(terms):
            for term in terms:
                yield from leaves(term)
        case _:
            yield where

"""A filter as data: which pictures may be found. Each kind of catalog translates it into its own dialect.

>>> AllOf((InFolder("/photos/trips"), Compare("width_px", ">=", 2000), Not(Compare("realism", "<", -3.0))))
AllOf(terms=(InFolder(folder='/photos/trips'), Compare(fact='width_px', sign='>=', value=2000), \
Not(term=Compare(fact='realism', sign='<', value=-3.0))))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Fact = Literal["size_bytes", "mtime_ns", "width_px", "height_px", "realism", "spread"]
Sign = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Compare:
    """Pictures whose ``fact`` compares with ``value`` as ``sign`` says.

    Raises:
        ValueError: unknown fact or sign.
    """

    fact: Fact
    sign: Sign
    value: float

    def __post_init__(self) -> None:
        for word, known in ((self.fact, get_args(Fact)), (self.sign, get_args(Sign))):
            if word not in known:
                raise ValueError(f"a filter knows {', '.join(known)}, not {word!r}")


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


Where = Compare | InFolder | Not | AllOf | AnyOf

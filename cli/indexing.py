"""Options that ``latent index build`` and ``update`` share."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from retrieval import Budget

SIZES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
TIMES = {"ms": 1e-3, "s": 1.0}
ANY = "any"


class Quantity(click.ParamType[float]):
    """A number with a unit, such as 2GB or 10ms; ``any`` is infinite."""

    def __init__(self, name: str, units: dict[str, float]) -> None:
        self.name = name
        self.units = units

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if value == ANY:
            return math.inf
        words = re.fullmatch(r"([\d.]+)\s*([a-zA-Z]+)", value)
        factors = {name.lower(): factor for name, factor in self.units.items()}
        try:
            found = float(words[1]) * factors[words[2].lower()] if words else 0.0
        except (ValueError, KeyError):
            found = 0.0
        if not 0 < found < math.inf:
            self.fail(
                f"{value!r} is not a {self.name}; give a number above 0 and one of {', '.join(self.units)}, or {ANY}",
                param,
            )
        return found


memory_option = click.option(
    "--memory", type=Quantity("size", SIZES), help="Memory limit for searching, such as 2GB, or any."
)
latency_option = click.option(
    "--latency", type=Quantity("time", TIMES), help="Time limit for one search, such as 10ms, or any."
)
vectors_option = click.option(
    "--vectors",
    metavar="faiss|ADDRESS",
    help="What searches codes: a Milvus, such as milvus://host:19530, or faiss on each reader's machine. Kept.",
)
strict_option = click.option("--strict", is_flag=True, help="Exit with 1 if pictures could not be read.")
retry_option = click.option("--retry", is_flag=True, help="Read skipped files again.")


def _patterns(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """A click callback: None if no pattern was given, and the index keeps its own."""
    from retrieval.pictures.leaving_out import chosen_patterns

    try:
        chosen_patterns(values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return tuple(value for value in values if value) if values else None


exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    callback=_patterns,
    help="Leave out files or folders, as in .gitignore; repeatable. Kept for updates until given anew; '' ends it.",
)


def _cluster(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: refuse what names no cluster."""
    if value is None:
        return None
    from retrieval.ingest.joining import checked_cluster

    try:
        return checked_cluster(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


on_option = click.option(
    "--on",
    metavar="ray|HOST:PORT",
    callback=_cluster,
    help="Encode on a cluster: ray starts one on this machine, the HOST:PORT of a head of Ray joins one. "
    "--workers is then for all nodes together. Needs the extra cluster.",
)
reread_option = click.option("--reread", is_flag=True, help="Read all files again, also unchanged ones.")
follow_links_option = click.option(
    "--follow-links", is_flag=True, help="Follow links that lead out of the folders, too."
)


def budget_of(memory: float | None, latency: float | None) -> Budget | None:
    """None if neither is given; the index then keeps its budget."""
    from retrieval import Budget

    if memory is None and latency is None:
        return None
    return Budget(
        None if memory is None or math.isinf(memory) else int(memory),
        None if latency is None or math.isinf(latency) else latency,
    )

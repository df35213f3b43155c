"""``latent index list``: pictures of an index by filter and order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cli.console import (
    device_option,
    give,
    give_csv,
    give_json,
    give_path,
    index_option,
    null_option,
    short_path,
    shown_path,
    size,
    tell,
)
from cli.filters import Filters, filter_options, say_what_left_nothing, together
from retrieval.defaults import ORDERS, Device

if TYPE_CHECKING:
    from index.records import Found
    from index.where import Where
    from retrieval import Searcher

WORDS = [*ORDERS, "distance"]
FORMATS = ["table", "json", "jsonl", "csv", "paths"]
FIELDS = ["path", "size_bytes", "width", "height", "taken", "realism"]


@click.command(
    "list",
    epilog="""\b
Examples:
  latent index list --after 2024-06 --in Trips --order newest -n 20
  latent index list --where 'width >= 4000 and not rating = none' --format csv
  latent index list --order novelty -n 50 --format paths -0 | xargs -0 ls -l
  latent index list --like sea.jpg --order distance --where 'camera = canon*'
""",
)
@index_option
@filter_options
@click.option("--order", type=click.Choice(WORDS), default="path", show_default=True, help="Which picture comes first.")
@click.option("--reverse", is_flag=True, help="Turn the order round.")
@click.option("--like", type=click.Path(), metavar="IMAGE", help="The picture that --order distance measures from.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="At most this many [default: all].")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out the first so many.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@null_option
@device_option
def list_pictures(
    index_folder: str | None,
    filters: Filters,
    order: str,
    reverse: bool,
    like: str | None,
    limit: int | None,
    offset: int,
    form: str,
    null: bool,
    device: Device,
) -> None:
    """List the pictures of an index.

    FILTER is made of conditions, and, or, not and parentheses: taken >= 2024-06 and folder = 'Trips/*' and
    not (width < 2000 or rating = none). docs/filters.md has all fields. Pictures whose value of --order is not known
    come last.
    """
    from retrieval import Searcher

    if (order == "distance") != (like is not None):
        raise click.UsageError("--order distance needs --like IMAGE, and --like needs --order distance")
    with Searcher.open(index_folder, device=device) as searcher:
        conditions = filters.conditions(searcher)
        try:
            found = _listed(searcher, together(conditions), order, reverse, like, limit, offset)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        _print(found, form, null)
        if not found:
            say_what_left_nothing(searcher, conditions)


class Listed(NamedTuple):
    """A picture, when it was taken, and its distance if that was measured."""

    picture: Found
    taken: str | None
    distance: float | None = None


def _listed(
    searcher: Searcher,
    where: Where | None,
    order: str,
    reverse: bool,
    like: str | None,
    limit: int | None,
    offset: int,
) -> list[Listed]:
    if like is None:
        by, is_descending = ORDERS[order]
        found = searcher.pictures(where, order=by, descending=is_descending != reverse, most=limit, offset=offset)
        return _with_dates(searcher, found, [None] * len(found))
    everything = max(1, len(searcher))
    if reverse:
        hits = searcher.query(like, everything, where=where)[::-1][offset:][:limit]
    else:
        hits = searcher.query(like, limit or everything, where=where, offset=offset)
    rows = searcher.index.rows.found([hit.id for hit in hits])
    hits = [hit for hit in hits if hit.id in rows]
    return _with_dates(searcher, [rows[hit.id] for hit in hits], [hit.distance for hit in hits])


def _with_dates(searcher: Searcher, found: Sequence[Found], distances: Sequence[float | None]) -> list[Listed]:
    from retrieval.known import Known

    facts = searcher.index.rows.facts([one.content_hash for one in found])
    listed = []
    for one, distance in zip(found, distances, strict=True):
        taken = Known(one.path, "found", mtime_ns=one.mtime_ns, facts=facts.get(one.content_hash)).taken
        listed.append(Listed(one, taken and taken[0].replace(microsecond=0).isoformat(" "), distance))
    return listed


def _record(found: Listed) -> dict[str, Any]:
    one = found.picture
    record: dict[str, Any] = {
        "path": short_path(one.path),
        "size_bytes": one.size_bytes,
        "width": one.width_px,
        "height": one.height_px,
        "taken": found.taken,
        "realism": one.realism,
    }
    return record if found.distance is None else record | {"distance": found.distance}


def _print(found: Sequence[Listed], form: str, null: bool) -> None:
    records = [_record(one) for one in found]
    if form == "json":
        give_json({"schema": 1, "pictures": records})
    elif form == "jsonl":
        for record in records:
            give(json.dumps(record) + "\n")
    elif form == "csv":
        give_csv([*FIELDS, *(["distance"] if records and "distance" in records[0] else [])], records)
    elif form == "paths":
        for record in records:
            give_path(record["path"], null)
    else:
        tell(f"{'taken':<19}  {'size':>9}  {'pixels':>11}  {'realism':>7}  path")
        for record in records:
            pixels = f"{record['width']}x{record['height']}"
            facts = f"{size(record['size_bytes']):>9}  {pixels:>11}  {record['realism']:>7.2f}"
            taken = (record["taken"] or "")[:19]
            tell(f"{taken:<19}  {facts}  {shown_path(record['path'])}")

"""``latent show``: what is known of pictures."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cli.console import give_json, index_option, listed_paths, null_option, say, shown_path, size, tell

if TYPE_CHECKING:
    from index.facts import Facts
    from retrieval.known import Known

KINDS = {
    "is_raw": "raw",
    "is_screenshot": "screenshot",
    "is_motion": "motion photo",
    "has_gain_map": "gain map",
    "has_alpha": "transparency",
}
UNREAD = frozenset(["not indexed", "changed"])


@click.command(
    epilog="""\b
Examples:
  latent show photo.jpg
  latent query photo.jpg --format paths | latent show - --format json
"""
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="PATH...")
@index_option
@null_option
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def show(ctx: click.Context, paths: tuple[str, ...], index_folder: str | None, null: bool, form: str) -> None:
    """Show what is known of pictures: size, date, camera, place, title, and how the model sees them.

    What the index holds is shown as it is. A picture that is not indexed, or has changed since, is read now, and its
    status says so. Without a date of the shot, the file's is shown. PATH - reads a list of paths from standard input.

    Exits with 1 if nothing is known of a picture.
    """
    from retrieval import NoIndex, Searcher
    from retrieval.known import known_of

    wanted = listed_paths(paths, null)
    try:
        with Searcher.open(index_folder) as searcher:
            found = known_of(searcher, wanted)
    except NoIndex as error:
        if index_folder is not None:
            raise
        say(f"Note: {error}")
        found = known_of(None, wanted)
    if form == "json":
        give_json({"schema": 1, "pictures": [_json(one) for one in found]})
    else:
        for number, one in enumerate(found):
            tell(*[""] * (number > 0), *_lines(one))
    if any(one.status in UNREAD and one.facts is None for one in found):
        ctx.exit(1)


def _json(one: Known) -> dict[str, Any]:
    moment, source = one.taken or (None, None)
    return {
        "path": one.path,
        "status": one.status,
        "reason": one.reason,
        "size_bytes": one.size_bytes,
        "width_px": one.width_px,
        "height_px": one.height_px,
        "taken": moment and moment.isoformat(),
        "taken_from": source,
        "realism": one.realism,
        "novelty": one.novelty,
        "facts": one.facts and one.facts._asdict(),
    }


def _lines(one: Known) -> list[str]:
    """A table of all that is known."""
    values = {
        "path": shown_path(one.path),
        "status": f"{one.status}: {one.reason}" if one.reason else one.status,
        "size": one.size_bytes is not None and size(one.size_bytes),
        "pixels": one.width_px and f"{one.width_px:,} x {one.height_px:,}",
        "taken": one.taken and _taken(*one.taken),
        **(_of_facts(one.facts) if one.facts else {}),
        "facts": one.facts is None and one.status == "found" and "not read yet; run: latent index update --facts",
        "realism": one.realism is not None and f"{one.realism:.2f}",
        "novelty": one.novelty is not None and f"more novel than {one.novelty:.0%} of the collection",
    }
    return [f"{name:<12}{value}" for name, value in values.items() if value]


def _taken(moment: datetime, source: str) -> str:
    text = moment.replace(microsecond=0).isoformat(" ")
    return text if source == "camera" else f"{text}, the date of the file"


def _of_facts(facts: Facts) -> dict[str, Any]:
    place = facts.latitude is not None and facts.longitude is not None
    exposure = facts.exposure_s and (
        f"{facts.exposure_s:g} s" if facts.exposure_s >= 0.5 else f"1/{1 / facts.exposure_s:.0f} s"
    )
    shot = [facts.focal_mm and f"{facts.focal_mm:g} mm", exposure, facts.iso and f"ISO {facts.iso}"]
    kinds = [word for name, word in KINDS.items() if getattr(facts, name)]
    return {
        "camera": facts.camera,
        "lens": facts.lens,
        "shot": ", ".join(one for one in shot if one),
        "place": place and f"{facts.latitude:.6f}, {facts.longitude:.6f}",
        "title": facts.title,
        "keywords": facts.keywords and facts.keywords.replace("\n", ", "),
        "rating": facts.rating is not None and f"{facts.rating} of 5",
        "burst": facts.burst,
        "format": f"{facts.format}, {facts.mode}, {facts.bits} bits",
        "frames": facts.frames > 1 and f"{facts.frames:,}",
        "orientation": facts.orientation not in (None, 1) and str(facts.orientation),
        "kind": ", ".join(kinds),
    }

"""Render HTML pages from the templates beside this file."""

from __future__ import annotations

from retrieval.pages.raster import data_uri
from retrieval.text import printable


def render(template: str, **values: object) -> str:
    """Render ``template`` with ``values``. All values are escaped, and an undefined name raises.

    In a template, ``| printable`` makes a foreign name safe to show, and ``| data_uri`` turns pixels into a picture.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("retrieval.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters |= {"printable": printable, "data_uri": data_uri}
    pages.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return pages.get_template(template).render(values)

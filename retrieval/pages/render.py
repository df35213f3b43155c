"""Pages of HTML from the templates beside this file."""

from __future__ import annotations

from retrieval.pages.raster import data_uri
from retrieval.text import printable


def render(template: str, **values: object) -> str:
    """The page that ``template`` makes of ``values``; whatever they hold is escaped, and a name without value raises.

    In a template ``| printable`` makes a name from elsewhere fit for a page, and ``| data_uri`` pixels a picture.
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

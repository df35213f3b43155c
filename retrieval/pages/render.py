"""Render HTML pages from the templates beside this file."""

from __future__ import annotations

import secrets

from retrieval.pages.raster import data_uri
from retrieval.text import printable

POLICY = (
    "default-src 'none'; img-src data:; style-src 'nonce-{0}'; script-src 'nonce-{0}'; "
    "base-uri 'none'; form-action 'none'"
)


def render(template: str, **values: object) -> str:
    """Render ``template`` with ``values``. All values are escaped, and an undefined name raises.

    A page asks nobody for anything: its policy allows the pictures inside it, and the styles and scripts that carry
    this page's ``nonce``, which are the template's own. In a template, ``| printable`` makes a foreign name safe to
    show, and ``| data_uri`` turns pixels into a picture.
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
    nonce = secrets.token_urlsafe(16)
    return pages.get_template(template).render(values, nonce=nonce, policy=POLICY.format(nonce))

"""The short door over an index: what is asked of it and what keeps it, in one object."""

from __future__ import annotations

from retrieval.library import Library
from retrieval.searcher import Searcher


class Retriever(Searcher, Library):
    """An index, opened: a ``Searcher`` and a ``Library`` of it in one.

    >>> retriever = Retriever.build("photos")              # doctest: +SKIP
    >>> hits = retriever.query("face.jpg", k=10)           # doctest: +SKIP
    >>> pictures = retriever.decode(hits)                  # doctest: +SKIP
    """

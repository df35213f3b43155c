"""Queries and maintenance of an index in one object."""

from __future__ import annotations

from retrieval.library import Library
from retrieval.searcher import Searcher


class Retriever(Searcher, Library):
    """An opened index: ``Searcher`` and ``Library`` in one.

    >>> retriever = Retriever.build("photos")              # doctest: +SKIP
    >>> hits = retriever.query("face.jpg", k=10)           # doctest: +SKIP
    >>> pictures = retriever.decode(hits)                  # doctest: +SKIP
    """

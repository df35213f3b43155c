"""Words about pictures: file names, folders, titles and keywords, searched by SQLite's FTS5 in memory.

A catalog holds no virtual tables, since those run code (``schema.py``). So the words of a catalog are read once, into a
database in memory, which is valid until another process writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from index.local.tables import facts, pictures

MAKE = (
    "CREATE VIRTUAL TABLE words USING fts5(path, title, keywords, content='', tokenize='unicode61 remove_diacritics 2')"
)
FILL = "INSERT INTO words (rowid, path, title, keywords) VALUES (?, ?, ?, ?)"
FIND = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words), rowid"
ROWS = (
    select(pictures.c.id, pictures.c.path, facts.c.title, facts.c.keywords)
    .select_from(pictures.outerjoin(facts, facts.c.content_hash == pictures.c.content_hash))
    .where(pictures.c.status == "found")
)


class Words:
    """The words of all pictures that can be found."""

    def __init__(self, connection: Connection) -> None:
        self._memory = sqlite3.connect(":memory:", check_same_thread=False)
        self._memory.execute(MAKE)
        self._memory.executemany(FILL, (_readable(*row) for row in connection.execute(ROWS)))

    def matching(self, text: str) -> list[int]:
        """Ids of the pictures that have all words of ``text``, or words that begin so; best first (BM25)."""
        query = _query(text.split())
        return [row[0] for row in self._memory.execute(FIND, (query,))] if query else []


def _readable(number: int, path: bytes, title: str | None, keywords: str | None) -> tuple[Any, ...]:
    return number, path.decode(errors="replace"), title, keywords


def _query(words: Iterable[str]) -> str:
    """Each word in quotes, so that none is an operator, and as a beginning."""
    plain = (word.replace('"', '""') for word in words if any(one.isalnum() for one in word))
    return " ".join(f'"{word}"*' for word in plain)

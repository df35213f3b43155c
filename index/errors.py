"""What can go wrong with an index. The whole tree is drawn in ``retrieval.errors``."""

from __future__ import annotations


class LatentError(Exception):
    """The root of every error that this program raises on purpose; its text names the thing and the way out."""


class NoIndex(LatentError):
    """There is no index where one was looked for."""


class IndexMismatch(LatentError):
    """The index holds vectors of another model, another schema or another version of this program."""


class IndexBusy(LatentError):
    """Another process is writing to the index."""


class IndexDamaged(LatentError):
    """The catalog itself, which is the truth, cannot be read."""


class IndexUnwritable(LatentError):
    """The index cannot be written: a read-only folder, a full disk."""


class JoinTooWide(LatentError):
    """A distance so large that nearly every pair of codes lies within it."""


class MissingExtra(LatentError):
    """An optional package is needed; the text holds the exact pip line."""

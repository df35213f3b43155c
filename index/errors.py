"""What can go wrong with an index. The whole tree is drawn in ``retrieval.errors``."""

from __future__ import annotations


class LatentError(Exception):
    """The root of every error that this program raises on purpose.

    The text is a sentence that fits wherever it is read. ``code`` names the case for programs, and for whoever adds
    words of his own to it, as the command line adds the option that helps; ``facts`` are what the text was made from.
    """

    code = "error"

    def __init__(self, text: str, code: str | None = None, **facts: object) -> None:
        super().__init__(text)
        if code is not None:
            self.code = code
        self.facts = facts


class NoIndex(LatentError):
    """There is no index where one was looked for."""

    code = "no_index"


class IndexMismatch(LatentError):
    """The index holds vectors of another model, another schema or another version of this program."""

    code = "index_mismatch"


class IndexBusy(LatentError):
    """Another process is writing to the index."""

    code = "index_busy"


class IndexDamaged(LatentError):
    """The catalog itself, which is the truth, cannot be read."""

    code = "index_damaged"


class IndexUnwritable(LatentError):
    """The index cannot be written: a read-only folder, a full disk."""

    code = "index_unwritable"


class JoinTooWide(LatentError):
    """A distance so large that nearly every pair of codes lies within it."""

    code = "join_too_wide"


class MissingExtra(LatentError):
    """An optional package is needed; the text holds the exact pip line."""

    code = "missing_extra"


class AddressUnknown(LatentError):
    """An address of an index that is of no kind that this program knows."""

    code = "address_unknown"

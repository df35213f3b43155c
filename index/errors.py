"""Errors of an index. ``retrieval.errors`` shows the whole tree."""

from __future__ import annotations

DISTRIBUTION = "latent-search"  # the name to install it by: "latent" on PyPI is somebody else's package


def pip_line(*extras: str) -> str:
    """The commands that install one of these extras."""
    return "pip install " + " or ".join(f"'{DISTRIBUTION}[{extra}]'" for extra in extras)


class LatentError(Exception):
    """The base of all errors that this program raises on purpose.

    The message is a sentence that fits wherever it is shown. ``code`` names the case for programs, and for a caller
    that adds a hint, as the command line adds the option that helps. ``facts`` are the values in the message.
    """

    code = "error"

    def __init__(self, text: str, code: str | None = None, **facts: object) -> None:
        super().__init__(text)
        if code is not None:
            self.code = code
        self.facts = facts


class NoIndex(LatentError):
    """There is no index at this address."""

    code = "no_index"


class NotTrusted(LatentError):
    """An index of another user, or one that was found without being named and that this user has not made."""

    code = "not_trusted"


class IndexMismatch(LatentError):
    """The index holds codes of another model, or has a schema of another version of this program."""

    code = "index_mismatch"


class IndexBusy(LatentError):
    """Another process is writing to the index."""

    code = "index_busy"


class IndexDamaged(LatentError):
    """The catalog, which is the truth, cannot be read."""

    code = "index_damaged"


class IndexUnwritable(LatentError):
    """The index cannot be written: a read-only folder, a full disk."""

    code = "index_unwritable"


class IndexUnreachable(LatentError):
    """The server of an index does not answer, or the connection was lost."""

    code = "index_unreachable"


class MissingExtra(LatentError):
    """An optional package is needed. The message holds the exact pip line."""

    code = "missing_extra"


class AddressUnknown(LatentError):
    """The address of an index is of an unknown kind."""

    code = "address_unknown"


class PartAbsent(LatentError):
    """One of several indexes that are asked together does not answer, or cannot answer that together with others."""

    code = "part_absent"


class NotServed(LatentError):
    """An index that ``latent serve`` serves elsewhere answers searches alone; it cannot do that from here."""

    code = "not_served"


class ForkUnsafe(LatentError):
    """This process was forked from one whose other threads held locks of libraries; it cannot use them."""

    code = "fork_unsafe"

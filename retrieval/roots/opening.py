"""Which kind of place an address or a path leads to: the one piece of code that tells folders from all others."""

from __future__ import annotations

import os

from index.roots import is_url, region_kind
from retrieval.errors import LatentError, PathError
from retrieval.pictures.files import FoundFile, Part
from retrieval.roots.folder import Folder, file_facts
from retrieval.roots.regions import Regions, file_of, regions_address
from retrieval.roots.root import Holder, Root

COMPRESSED = "is compressed, and pictures in it cannot be read where they lie; unpack it to a .tar"
LOCAL = "file://"


def root_at(address: str) -> Root:
    """The place of that address, as an index stores it. Nothing is asked of it."""
    from retrieval.roots.archives import holder_in

    return holder_at(address) if is_url(address) or holder_in(address) == address else Folder(address)


def holder_at(address: str) -> Holder:
    """The archive, table, store, object of a store, or regions of a folder, of that address."""
    if region_kind(address):
        return Regions(address)
    if address.lower().endswith(".tar"):
        from retrieval.roots.tar import Tar

        return Tar(address)
    if address.lower().endswith(".parquet"):
        from retrieval.roots.table import Table

        return Table(address)
    from retrieval.roots.store import Store

    return Store(address)


def address_of(given: str | os.PathLike[str]) -> str:
    """The address that a user's words for a place of pictures stand for: without links, or a URL in its one spelling.

    Raises:
        PathError: it is no URL that can be read.
    """
    text = os.fspath(given)
    if text.lower().startswith(LOCAL):
        return os.path.realpath(text[len(LOCAL) :])
    if kind := region_kind(text):
        return regions_address(kind, file_of(text))
    if "://" in text:
        from retrieval.roots.store import checked_url

        return checked_url(text)
    return os.path.realpath(text)


def checked_root(given: str | os.PathLike[str]) -> str:
    """The address of a place of pictures that is there, and can be listed.

    Raises:
        PathError: it is no such place.
        RootUnreadable: it does not answer, or is damaged.
        MissingExtra: a package is needed to read it.
    """
    from retrieval.roots.archives import is_compressed

    address = address_of(given)
    if is_compressed(address) and (is_url(address) or os.path.exists(address)):
        raise PathError(f"{address} {COMPRESSED}")
    root = root_at(address)
    if isinstance(root, Folder) and not os.path.isdir(address):
        raise PathError(f"{os.fspath(given)} is not a folder of pictures")
    root.check()
    return address


def may_be_root(given: str) -> bool:
    """Whether words name a place of pictures that is no folder: whether it is one is known to ``checked_root``."""
    from retrieval.roots.archives import is_compressed

    return "://" in given or (os.path.isfile(given) and (is_archive(given) or is_compressed(given)))


def is_missing(address: str, folder: str | None = None) -> bool:
    """Whether a root of this machine, or a ``folder`` in it, is not there. Stores are not asked: listing them tells."""
    is_here = region_kind(address) is not None or not is_url(address)
    return is_here and not root_at(address).is_there(folder or address)


def is_archive(address: str) -> bool:
    """Whether an address is that of an archive or a table, which is always a root of its own."""
    from retrieval.roots.archives import holder_in

    return holder_in(address) == address


def is_file(path: str) -> bool:
    """Whether the picture of that path is a file of this machine, as far as its path tells."""
    return not is_url(path) and _holder_of(path) is None


def located(path: str) -> Part | None:
    """Where the bytes of a picture are; None if it is a file of this machine.

    Raises:
        FileNotFoundError: the archive has no such member.
        RootUnreadable, MissingExtra: it cannot be looked for.
    """
    holder = _holder_of(path)
    if holder is None:
        return Part(path) if is_url(path) else None
    found = holder.at(path)
    if found is None:
        raise FileNotFoundError(path)
    return found.part


def facts_at(path: str | os.PathLike[str]) -> FoundFile | None:
    """Size and dates of a picture, wherever it is; None if it is not there, or that cannot be known now."""
    text = os.fspath(path)
    holder = _holder_of(text)
    try:
        if holder is not None:
            return holder.at(text)
        if is_url(text):
            return root_at(text).facts([text])[0]
    except LatentError:
        return None
    return file_facts(path)


def is_gone(path: str) -> bool:
    """Whether a picture is no longer there now. One whose store does not answer, or cannot be asked, is not known to be
    gone.
    """
    holder = _holder_of(path)
    try:
        if holder is not None:
            return holder.at(path) is None
        if is_url(path):
            return root_at(path).facts([path])[0] is None
    except LatentError:
        return False
    return not os.path.lexists(path)


def _holder_of(path: str) -> Holder | None:
    """The archive or table that a path leads into."""
    from retrieval.roots.archives import holder_in

    if region_kind(path):
        return Regions(path)
    place = holder_in(path)
    if place is None or place == path:
        return None
    holder = holder_at(place)
    return holder if holder.is_there(place) else None

"""Open an index by its address. Today this is a folder; only this module distinguishes kinds of addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from index import owners
from index.door import Index, IndexWriter
from index.errors import AddressUnknown, IndexUnwritable, LatentError, NoIndex, PartAbsent
from index.records import Meta
from index.trust import user_folder

INDEX_NAME = ".latent"
NAMED, NAME_BYTES = "named", 200  # of indexes among a user's data
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

Address = str | os.PathLike[str]


def open_index(address: Address, on_gpu: bool = False) -> Index:
    """Open an index for reading. With ``on_gpu`` all GPUs together search it, exactly.

    Raises:
        AddressUnknown: the address is of an unknown kind.
        NoIndex: there is none.
        NotTrusted: it belongs to another user.
        IndexMismatch: it has a newer schema.
        IndexDamaged: the catalog cannot be read.
    """
    from index.local.store import Store

    return Store.open(folder_of(address), on_gpu)


def open_indexes(
    addresses: Sequence[Address], on_gpu: bool = False, *, strict: bool = False, timeout_s: float | None = None
) -> Index:
    """Open several indexes of one model for reading, as one (``index.many``); a single one as ``open_index``.

    Args:
        strict: raise if an index cannot be opened, or does not answer; else it is left out, and named.
        timeout_s: how long an index may take to answer.

    Raises:
        PartAbsent: one cannot be opened, and ``strict`` is set.
        AddressUnknown, NoIndex, ...: as ``open_index``, if none of them can be opened.
        IndexMismatch: two hold codes of different models.
    """
    from index.many import TIMEOUT_S, Many

    if len(addresses) == 1:
        return open_index(addresses[0], on_gpu)
    opened, failed = list[Index](), dict[str, LatentError]()
    try:
        for address in addresses:
            try:
                opened.append(open_index(address, on_gpu))
            except LatentError as error:
                if strict:
                    raise PartAbsent(f"{os.fspath(address)}: {error}", address=os.fspath(address)) from error
                failed[os.fspath(address)] = error
        if not opened:
            raise next(iter(failed.values()))
        absent = {address: str(error) for address, error in failed.items()}
        return Many(opened, strict=strict, timeout_s=timeout_s or TIMEOUT_S, absent=absent)
    except BaseException:
        for one in opened:
            one.close()
        raise


def read_addresses(path: str | os.PathLike[str]) -> list[str]:
    """The addresses of indexes in a text file: one in a line, relative to the file; lines with # are comments.

    Raises:
        AddressUnknown: it cannot be read, or names none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise AddressUnknown(f"{os.fspath(path)} cannot be read as a list of indexes: {error}") from error
    named = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not named:
        raise AddressUnknown(f"{os.fspath(path)} names no index: it must hold one address in a line")
    base = os.path.dirname(os.path.abspath(path))
    return [one if SCHEME.match(one) else os.path.join(base, one) for one in named]


def write_index(address: Address, create: Meta | None = None) -> AbstractContextManager[IndexWriter]:
    """Open an index for writing by this process alone. With ``create``, a missing index is created.

    Raises:
        AddressUnknown: the address is of an unknown kind.
        IndexBusy: another process is writing.
        IndexUnwritable: the folder cannot be written, or holds other files and no index.
        NoIndex: there is none, and ``create`` is None.
        NotTrusted: it belongs to another user.
    """
    from index.local.store import Store

    return Store.writing(folder_of(address), create)


def exists(address: Address) -> bool:
    """Whether there is an index at an address."""
    return os.path.isfile(folder_of(address) / "catalog.db")


def is_known(address: Address) -> bool:
    """Whether this user's program made the index at an address, or this user trusts it."""
    return owners.is_known(folder_of(address))


def can_note() -> bool:
    """Whether there is a place for notes of this user: which indexes they made and trust."""
    return owners.can_note()


def note_trust(address: Address, forget: bool = False) -> None:
    """Note that this user trusts the index at an address, with its owners as they are; or ``forget`` that.

    Raises:
        NoIndex: there is none.
        IndexUnwritable: there is no place for the note.
    """
    folder = folder_of(address)
    if forget:
        owners.forget(folder)
        return
    if not exists(folder):
        raise NoIndex(f"there is no index at {folder}", folder=str(folder))
    try:
        owners.trust(folder)
    except OSError as error:
        raise IndexUnwritable(f"this cannot be noted: {error.strerror}", code="no_user_folder") from error


def named(name: str) -> Path | None:
    """The folder of the index that is called ``name``, among this user's data; None if there is no place for such.

    Raises:
        AddressUnknown: no index can be called so.
    """
    is_word = name.isprintable() and os.path.basename(name) == name != "" and not name.startswith(".")
    if not is_word or len(name.encode()) > NAME_BYTES:
        raise AddressUnknown(f"no index can be called {name!r}; a name is one word without slashes")
    place = user_folder()
    return place and place / NAMED / name


def all_named() -> list[Path]:
    """The folders of this user's indexes that have names, the last written first."""
    place = user_folder()
    found = [one for one in place.glob(f"{NAMED}/*") if exists(one)] if place else []
    return sorted(found, key=lambda folder: (folder / "catalog.db").stat().st_mtime_ns, reverse=True)


def nearest_index(start: Address) -> Path:
    """The index in ``start`` or in the nearest folder above; if there is none, the path of a new one in ``start``."""
    here = Path(os.path.realpath(start))
    for folder in (here, *here.parents):
        if exists(folder / INDEX_NAME):
            return folder / INDEX_NAME
    return here / INDEX_NAME


def folder_of(address: Address) -> Path:
    """The folder of an index.

    Raises:
        AddressUnknown: the address is of an unknown kind.
    """
    scheme = SCHEME.match(os.fspath(address))
    if scheme:
        kind = scheme[1]
        raise AddressUnknown(f"an index is a folder; addresses with {kind}:// are not supported", scheme=kind)
    return Path(os.path.realpath(address))

"""Open an index by its address: a folder, a database on a server, or what another program serves; only this module
distinguishes kinds of addresses.

Who names an address trusts it, as with a folder that is named: its model runs, and the folders that it names are read.
No server is ever found without being named. Who may write there is for the server to say, so there are no owners to
compare; what this user's program made is noted by the identity of the index, and another index that answers at the same
address is foreign again. A served index (http://) is trusted with nothing: its model does not run here, and its paths
are only text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from index import owners
from index.door import Index, IndexWriter
from index.errors import (
    AddressUnknown,
    IndexUnwritable,
    LatentError,
    MissingExtra,
    NoIndex,
    NotServed,
    PartAbsent,
    pip_line,
)
from index.parallel import answered
from index.records import Meta
from index.served import address as served_address
from index.served.address import is_served
from index.server.address import checked, is_server
from index.trust import user_folder

INDEX_NAME = ".latent"
NAMED, NAME_BYTES = "named", 200  # of folders among a user's data
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

Address = str | os.PathLike[str]


def open_index(address: Address, on_gpu: bool = False, timeout_s: float | None = None) -> Index:
    """Open an index for reading. With ``on_gpu`` all GPUs together search it, exactly; one that is served elsewhere is
    searched there, and may take ``timeout_s`` to answer.

    Raises:
        AddressUnknown: the address is of an unknown kind.
        NoIndex: there is none.
        NotTrusted: it belongs to another user.
        IndexMismatch: it has a newer schema.
        IndexDamaged: the catalog cannot be read.
        IndexUnreachable: the server does not answer, or does not let this user in.
        MissingExtra: the driver of the server is not installed.
    """
    place = place_of(address)
    if is_served(place):
        from index.served.store import TIMEOUT_S, Served

        return Served.open(str(place), timeout_s or TIMEOUT_S)
    if isinstance(place, str):
        with _driver():
            from index.server.store import ServerStore
        return ServerStore.open(place, on_gpu)
    from index.local.store import Store

    return Store.open(place, on_gpu)


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
        return open_index(addresses[0], on_gpu, timeout_s)
    timeout_s = timeout_s or TIMEOUT_S
    calls = {place: partial(open_index, address, on_gpu, timeout_s) for place, address in enumerate(addresses)}
    answers = [answer for _, answer in sorted(answered(calls, timeout_s).items())]
    opened = [one for one in answers if not isinstance(one, Exception)]
    failed = {
        os.fspath(address): error
        for address, error in zip(addresses, answers, strict=True)
        if isinstance(error, Exception)
    }
    try:
        for address, error in failed.items():
            if not isinstance(error, LatentError):
                raise error
            if strict:
                raise PartAbsent(f"{address}: {error}", address=address) from error
        if not opened:
            raise next(iter(failed.values()))
        absent = {address: str(error) for address, error in failed.items()}
        return Many(opened, strict=strict, timeout_s=timeout_s, absent=absent)
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
    """Open an index for writing. With ``create``, a missing index is created.

    A folder is written by this process alone; on a server, each process claims the roots that it works on.

    Raises:
        AddressUnknown: the address is of an unknown kind.
        IndexUnreachable: the server does not answer, or does not let this user in.
        MissingExtra: the driver of the server is not installed.
        IndexBusy: another process is writing.
        IndexUnwritable: the folder cannot be written, or holds other files and no index.
        NoIndex: there is none, and ``create`` is None.
        NotTrusted: it belongs to another user.
        NotServed: it is served elsewhere.
    """
    place = place_of(address)
    if is_served(place):
        raise NotServed(f"{place} is served, and cannot be written from here; do that on its own machine")
    if isinstance(place, str):
        with _driver():
            from index.server.store import ServerStore
        return ServerStore.writing(place, create)
    from index.local.store import Store

    return Store.writing(place, create)


def exists(address: Address) -> bool:
    """Whether there is an index at an address. One that is served elsewhere is not asked.

    Raises:
        IndexUnreachable: the server does not answer, or does not let this user in.
    """
    place = place_of(address)
    if is_served(place):
        return True
    if isinstance(place, str):
        return _identity_at(place) is not None
    return os.path.isfile(place / "catalog.db")


def is_known(address: Address) -> bool:
    """Whether this user's program made the index at an address, or this user trusts it; or nothing is to be trusted,
    as in one that is served elsewhere."""
    if is_served(address):
        return True
    return owners.is_known(_noted_as(place_of(address)))


def _noted_as(place: Path | str) -> Path | str:
    """What notes call the index at a place."""
    if isinstance(place, Path):
        return place
    return json.dumps([place, _identity_at(place)])  # another index at this address is not that one


def _identity_at(place: str) -> str | None:
    with _driver():
        from index.server.store import identity_at
    return identity_at(place)


@contextmanager
def _driver() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingExtra(f"an index on a server needs psycopg: {pip_line('server')}") from error


def can_note() -> bool:
    """Whether there is a place for notes of this user: which indexes they made and trust."""
    return owners.can_note()


def note_trust(address: Address, forget: bool = False) -> None:
    """Note that this user trusts the index at an address, with its owners as they are; or ``forget`` that.

    Raises:
        NoIndex: there is none.
        IndexUnwritable: there is no place for the note.
        NotServed: it is served elsewhere, and trusted with nothing.
    """
    place = place_of(address)
    if is_served(place):
        raise NotServed(f"{place} is served, and needs no trust: no model of it runs, and it names no folder here")
    if forget:
        owners.forget(_noted_as(place))
        return
    if not exists(place):
        raise NoIndex(f"there is no index at {place}", folder=str(place))
    try:
        owners.trust(_noted_as(place), [os.getuid()] if isinstance(place, str) else None)
    except OSError as error:
        raise IndexUnwritable(f"this cannot be noted: {error.strerror}", code="no_user_folder") from error


def is_word(name: str) -> bool:
    """Whether a folder among this user's data can be called ``name``: one word that can be shown, without slashes."""
    is_shown = name.isprintable() and os.path.basename(name) == name != "" and not name.startswith(".")
    return is_shown and len(name.encode()) <= NAME_BYTES


def named(name: str) -> Path | None:
    """The folder of the index that is called ``name``, among this user's data; None if there is no place for such.

    Raises:
        AddressUnknown: no index can be called so.
    """
    if not is_word(name):
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


def place_of(address: Address) -> Path | str:
    """The folder of an index, or the address of the server that holds it.

    Raises:
        AddressUnknown: the address is of an unknown kind, or holds a password.
    """
    named = os.fspath(address)
    if is_server(named):
        return checked(named)
    if is_served(named):
        return served_address.checked(named)
    scheme = SCHEME.match(named)
    if scheme:
        kind = scheme[1]
        raise AddressUnknown(
            f"an index is a folder, on a PostgreSQL server or served over HTTP; addresses with {kind}:// are not "
            "supported",
            scheme=kind,
        )
    return Path(os.path.realpath(address))

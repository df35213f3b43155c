"""A prefix of an object store, by fsspec and the package that it uses for the kind of the store (s3fs for s3://).

Credentials are found by that package's own means, such as AWS_PROFILE or AWS_ACCESS_KEY_ID, and nowhere else: a URL
that names a user is refused. No message of a package is repeated: one might quote what it was told.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import xxhash

from index.roots import URL, has_user, is_sane_url, normal
from retrieval.errors import MissingExtra, PathError, RootUnreadable, pip_line
from retrieval.pictures.files import FoundFile, Part
from retrieval.pictures.leaving_out import MOST_BYTES
from retrieval.roots.listed import has_path, name_order, report_name, shown
from retrieval.roots.root import Looking

PACKAGES = {  # kinds of stores, and what fsspec reads them with: not all that it knows are safe to be named by an index
    "s3": "s3fs",
    "gs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "oss": "ossfs",
    "hdfs": "pyarrow",
    "sftp": "paramiko",
}
MOST_ASKED = 20  # objects that are asked for one by one, rather than by a listing
CONNECT_S, READ_S, ATTEMPTS = 5, 15, 3
SILENCES, SILENT_S = 4, 30.0  # after so many questions without an answer a store is not asked for a while
SETTINGS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": CONNECT_S,
            "read_timeout": READ_S,
            "retries": {"mode": "standard", "max_attempts": 1},
        }
    }
}
TAGS = ("ETag", "etag", "md5Hash", "content_md5", "checksum", "generation")
DATES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
NO_ACCESS, NO_ANSWER = "the store refuses access", "the store does not answer"


def checked_url(text: str) -> str:
    """A URL of a store in its one spelling.

    Raises:
        PathError: it is none of a store that can be read, or holds a user or password. Then it is not quoted.
    """
    if has_user(text):
        raise PathError(
            "the URL of the pictures names a user, and perhaps a password, which lists of processes and the index "
            "would show; give it by the store's own means, such as a profile or the environment"
        )
    kind, _, rest = text.partition("://")
    kind = kind.lower()
    address = normal(f"{kind}://{rest}")
    if kind not in PACKAGES:
        raise PathError(
            f"{text} is no store of pictures; these can be read: {', '.join(f'{one}://' for one in PACKAGES)}"
        )
    if not is_sane_url(address) or "?" in address or "#" in address or not address.isprintable():  # "?": may be a key
        raise PathError(f"this is not spelt as a URL of a store, such as {kind}://bucket/folder")
    return address


class Absent(FileNotFoundError):
    """There is no such object, bucket or folder."""


@lru_cache(maxsize=8)
def _opened(kind: str, process: int) -> Any:
    """The file system of a kind of stores. It is not shared with a forked process."""
    package = PACKAGES.get(kind)
    if package is None:
        raise PathError(f"{kind}:// is no kind of store that can be read")
    try:
        import fsspec

        system = fsspec.filesystem(kind, use_listings_cache=False, skip_instance_cache=True, **SETTINGS.get(kind, {}))
    except ImportError as error:
        line = pip_line("stores") if kind == "s3" else f"pip install {package}"
        raise MissingExtra(f"pictures at {kind}:// need {package}: {line}") from error
    if kind == "s3":
        system.retries = ATTEMPTS  # of s3fs itself, around those of botocore
    return system


_silences: dict[str, list[float]] = {}  # by bucket: when its last questions had no answer


@contextmanager
def _asked(url: str) -> Iterator[Any]:
    """The file system of a URL. Its errors become ``Absent`` or ``RootUnreadable``, which name the URL and no more.

    Whatever may be in an error of a package is not shown, also not as its cause. Where the network is cut, thousands of
    pictures need not wait for it one by one: they are not read now, and said to be so.
    """
    kind, bucket = URL.match(url), "/".join(url.split("/", 3)[:3])
    last = _silences.get(bucket, [])
    if len(last) >= SILENCES and time.monotonic() - last[-1] < SILENT_S:
        raise RootUnreadable(f"{url} cannot be read: {NO_ANSWER}")
    try:
        yield _opened(url[: kind.end() - 3] if kind else "", os.getpid())
        _silences.pop(bucket, None)
        return
    except (MissingExtra, PathError, Absent, RootUnreadable):
        raise
    except FileNotFoundError:
        _silences.pop(bucket, None)
        absent = True
    except Exception as error:  # of many packages, some without a base of their own
        absent, why = False, _why(error)
        if why.startswith(NO_ANSWER):
            _silences[bucket] = [*last, time.monotonic()]
    if absent:
        raise Absent(url)
    raise RootUnreadable(f"{url} cannot be read: {why}")


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return NO_ACCESS
    if "Credentials" in type(error).__name__:
        return "no credentials were found, or they are not whole"
    return f"{NO_ANSWER} ({type(error).__name__})"


def object_facts(url: str) -> FoundFile | None:
    """Size and dates of an object; None if it is not there.

    Raises:
        RootUnreadable: that cannot be known now.
        MissingExtra: the package that reads such stores is not installed.
    """
    try:
        with _asked(url) as system:
            told = system.info(url)
            return _found(url, told) if told.get("type") == "file" else None
    except Absent:
        return None


def fetch(part: Part, most: int) -> bytes:
    """The bytes of a part of an object, at most ``most`` of them; and one more, which tells that the object has grown.

    Raises:
        Absent: it is not there.
        RootUnreadable: it cannot be read.
    """
    if part.length is None:
        found = object_facts(part.source)
        if found is None:
            raise Absent(part.source)
        part = part._replace(length=found.size_bytes - part.offset)
    if not part.length:  # of which a store has no range
        return b""
    wanted = min(part.length or 0, most) + 1
    with _asked(part.source) as system:
        return bytes(system.cat_file(part.source, start=part.offset, end=part.offset + wanted))


class OpenedObject(io.RawIOBase):
    """An object as a file that can be sought in. Opening and reading raise as ``fetch``."""

    def __init__(self, url: str) -> None:
        self._url = url
        with _asked(url) as system:
            self._file = system.open(url, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, place: int, whence: int = 0) -> int:
        return int(self._file.seek(place, whence))

    def readinto(self, buffer: Any) -> int:
        with _asked(self._url):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def objects_below(url: str) -> Iterator[tuple[str, FoundFile]]:
    """The names below a prefix, and their objects, in no order. All are asked for before the first is given.

    Raises:
        Absent, RootUnreadable: as ``fetch``.
    """
    with _asked(url) as system:
        start = str(system._strip_protocol(url)).rstrip("/") + "/"
        told = system.find(url, detail=True)
    for name, facts in told.items():
        if name.startswith(start) and facts.get("type") == "file" and not name.endswith("/"):
            yield name[len(start) :], _found(f"{url}/{name[len(start) :]}", facts)


def _found(url: str, facts: dict[str, Any]) -> FoundFile:
    size, date = int(facts.get("size") or 0), _date_ns(facts)
    tag = next((str(facts[name]) for name in TAGS if facts.get(name)), None)
    return FoundFile(url, size, date, date if tag is None else tag_ns(tag), Part(url, 0, size))


def tag_ns(tag: str) -> int:
    """A store's tag of a content as a number of 62 bits, which an index compares where a file has its change time."""
    return xxhash.xxh3_64_intdigest(tag.strip('"').encode()) >> 2


def _date_ns(facts: dict[str, Any]) -> int:
    """Whole seconds: listings and single answers of a store may differ in what follows."""
    date = next((facts[name] for name in DATES if facts.get(name)), None)
    if isinstance(date, str):
        date = datetime.fromisoformat(date.replace("Z", "+00:00"))
    seconds = date.timestamp() if isinstance(date, datetime) else float(date or 0)
    return int(seconds) * 10**9


@dataclass(frozen=True)
class Store:
    """All objects below a prefix, such as s3://bucket/photos. An object is read when it is needed, and not kept."""

    address: str

    def check(self) -> None:
        try:
            with _asked(self.address) as system:
                is_there = system.exists(self.address)
        except Absent:
            is_there = False
        if not is_there:
            raise PathError(f"{self.address} has no objects: there is no such bucket or folder")

    def is_there(self, folder: str) -> bool:
        try:
            Store(folder).check()
        except (PathError, RootUnreadable, MissingExtra):
            return False
        return True

    def find(self, folder: str, looking: Looking) -> list[FoundFile]:
        try:
            objects = list(objects_below(folder))
        except Absent:
            objects = []
        if not objects:  # a store has no empty folders: this one is gone, or was never there
            raise RootUnreadable(f"{folder} has no objects")
        for name, _ in objects:
            if not has_path(name):
                report_name(looking.tally, folder, name)
        files = sorted((file for name, file in objects if has_path(name)), key=lambda file: name_order(file.path))
        return list(shown(self.address, files, folder, looking, _read))

    def facts(self, paths: Sequence[str]) -> list[FoundFile | None]:
        if len(paths) <= MOST_ASKED:
            return [self.at(path) for path in paths]
        try:
            found = {file.path: file for _, file in objects_below(self.address)}
        except Absent:
            found = {}
        return [found.get(path) for path in paths]

    def at(self, path: str) -> FoundFile | None:
        return object_facts(path)

    @property
    def in_place(self) -> bool:
        return False

    def read(self, part: Part, most: int) -> bytes:
        return fetch(part, most)


def _read(path: str) -> bytes | None:
    try:
        return fetch(Part(path), MOST_BYTES)
    except Absent:
        return None

"""How an index names the places that hold pictures: by the path of a folder or of an archive, or by a URL of a store.

A URL is text. What it leads to, and whether that can be read, is known to whoever reads pictures.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)
RegionKind = Literal["faces", "tiles"]
"""Regions of pictures in files of this machine: ``faces:/`` before an absolute path begins their addresses."""

REGION_KINDS: tuple[RegionKind, ...] = get_args(RegionKind)
BOX_MARK = "#xywh=percent:"  # before the box of a region, after the address of its picture
BOX_LETTERS = "0123456789.,"
NO_PART = frozenset(["", os.curdir, os.pardir])


def is_url(path: str) -> bool:
    """Whether a path is one of a store. A path of a folder in its normal spelling is none: it has no double slash."""
    return URL.match(path) is not None


def region_kind(path: str) -> RegionKind | None:
    """Which regions an address stands for; None for another path."""
    return next((kind for kind in REGION_KINDS if path.startswith(f"{kind}://")), None)


def is_sane_url(text: str) -> bool:
    """Whether ``text`` is a URL in the one normal spelling, without a user, a password, a query or parts that lead up.

    Addresses of HTTP are those of served indexes.
    """
    found = URL.match(text)
    if found is None or text.startswith(("http://", "https://")):
        return False
    parts = text[found.end() :].split("/")
    if region_kind(text):
        return NO_PART.isdisjoint(parts) and "\0" not in text
    return "@" not in parts[0] and NO_PART.isdisjoint(parts) and "\0" not in text and "::" not in text


def has_user(text: str) -> bool:
    """Whether a URL names a user, and so perhaps a password."""
    try:
        return "@" in urlsplit(text).netloc
    except ValueError:
        return True


def normal(path: str) -> str:
    """A path in its normal spelling; a URL without the slashes at its end."""
    return path.rstrip("/") if is_url(path) else os.path.normpath(path)


def link_to(path: str) -> str:
    """The URL of a file, or of an object of a store."""
    return path if is_url(path) else Path(path).as_uri()


def whole(path: str | os.PathLike[str]) -> str:
    """An absolute path; a URL as it is."""
    text = os.fspath(path)
    return text if is_url(text) else os.path.abspath(text)


def on_this_machine(anchor: str | os.PathLike[str], stored: str) -> str:
    """Where a root is, as it is stored: a path below the folder ``anchor``, an absolute one, or a URL."""
    return stored if is_url(stored) else os.path.normpath(os.path.join(anchor, stored))

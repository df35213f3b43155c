"""Atomic writing of files and folders (``index.atomic``), for rooms that must not import the index."""

from __future__ import annotations

from index.atomic import append, replacing, write
from index.folders import replace as replace_folder

__all__ = ["append", "replace_folder", "replacing", "write"]

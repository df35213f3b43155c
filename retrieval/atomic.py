"""Files and folders that are whole or not there, for rooms that know no index (``index.atomic``)."""

from __future__ import annotations

from index.atomic import replacing, write
from index.folders import replace as replace_folder

__all__ = ["replace_folder", "replacing", "write"]

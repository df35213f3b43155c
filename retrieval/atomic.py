"""Files that are whole or not there, for rooms that know no index (``index.atomic``)."""

from __future__ import annotations

from index.atomic import replacing, write

__all__ = ["replacing", "write"]

"""How long work tells its caller how far it has come."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""

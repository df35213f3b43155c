"""What must be installed to serve."""

from __future__ import annotations

from importlib import import_module

from retrieval.errors import MissingExtra, pip_line

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def check_extra() -> None:
    """Raises MissingExtra: a package of the extra ``web`` cannot be imported."""
    for name in NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtra(f"latent serve needs {name}: {pip_line('web')}") from error

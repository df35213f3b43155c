"""Large arrays for a while: in files without names, of which the system keeps in memory what it has room for."""

from __future__ import annotations

import tempfile

import numpy as np
import numpy.typing as npt


def scratch_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """Zeros.

    Raises:
        OSError: there is no room; it names the folder of scratch files.
    """
    if not all(shape):
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="latent-") as file:
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:  # it names no file, as this one has no name
        raise OSError(error.errno, error.strerror, f"a scratch file in {tempfile.gettempdir()}") from error

"""The encoder as a step of a scikit-learn pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from retrieval.arrays import Floats, Pixels
from retrieval.defaults import DEFAULT_MODEL, Device
from retrieval.errors import MissingExtra, PictureRefused, pip_line
from retrieval.models.encode import encode_files
from retrieval.models.model import Model, load_model

try:
    from sklearn import get_config
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtra(f"CodeTransformer needs scikit-learn: {pip_line('features')}") from error

OnError = Literal["raise", "nan", "drop"]


class CodeTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Pictures -> codes float32 (n, d).

    >>> from sklearn.linear_model import LogisticRegression          # doctest: +SKIP
    >>> from sklearn.pipeline import make_pipeline                   # doctest: +SKIP
    >>> make_pipeline(CodeTransformer(), LogisticRegression()).fit(paths, labels)  # doctest: +SKIP

    Args:
        model: the name of a shipped model, or the folder of a bundle.
        on_error: for a file that is not a picture: ``raise`` an error, return a row of ``nan``, or ``drop`` the row.
        workers: number of worker processes that decode files, by default one per core.
        device: where the encoder runs: auto, cpu or cuda.

    Attributes:
        n_codes_: d, set by ``fit``.
        kept_: int64 (m,), the position in the last input of each returned row.
        refused_: {position in the last input: reason}.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        on_error: OnError = "raise",
        workers: int | None = None,
        device: Device = "auto",
    ) -> None:
        self.model = model
        self.on_error = on_error
        self.workers = workers
        self.device = device

    def fit(self, X: object = None, y: object = None) -> CodeTransformer:  # noqa: N803
        """Open the model. Nothing is learned from X.

        Raises:
            ModelError: there is no such model.
            ValueError: ``on_error`` is not raise, nan or drop.
        """
        if self.on_error not in ("raise", "nan", "drop"):
            raise ValueError(f"on_error must be raise, nan or drop, not {self.on_error!r}")
        self.n_codes_ = self._open().latent_dim
        return self

    def transform(self, X: Sequence[str | os.PathLike[str]] | Pixels) -> Floats:  # noqa: N803
        """Codes float32 (n, d) of n paths, or of uint8 (n, h, w, 3).

        Paths may be a list, a Series, or the one column of a table or of an array (n, 1).
        Where pandas' tables are returned (``set_output``), rows keep their labels.

        Raises:
            PictureRefused: with ``on_error="raise"``, a file is not a picture; the message names it.
            ValueError: X is neither paths nor uint8 (n, h, w, 3).
        """
        check_is_fitted(self, "n_codes_")
        self.refused_: dict[int, str] = {}
        if isinstance(X, np.ndarray) and X.dtype == np.uint8:
            self.kept_ = np.arange(len(X))
            return self._open().encode(X)
        paths = _as_paths(X)
        codes = encode_files(self._open(), paths, partial(self._note_refused, paths), self.workers)
        everything = np.arange(len(paths))
        self.kept_ = everything[[row not in self.refused_ for row in everything]]
        if self.on_error != "drop":
            self.kept_ = everything
        labelled: Floats = self._labelled(X, codes[self.kept_])
        return labelled

    def _labelled(self, X: Any, codes: Floats) -> Any:  # noqa: N803
        """Codes of the rows that were kept. scikit-learn labels a table as if no row could have been dropped."""
        setting = getattr(self, "_sklearn_output_config", {}).get("transform", get_config()["transform_output"])
        if setting != "pandas" or not self.refused_ or self.on_error != "drop":
            return codes
        import pandas

        is_labelled = isinstance(X, pandas.DataFrame | pandas.Series)
        return pandas.DataFrame(codes, index=X.index[self.kept_] if is_labelled else self.kept_)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """``code0``, ``code1`` ..., one for each dimension of a code."""
        check_is_fitted(self, "n_codes_")
        return np.array([f"code{i}" for i in range(self.n_codes_)], dtype=object)

    def _note_refused(self, paths: list[str], row: int, reason: str) -> None:
        if self.on_error == "raise":
            raise PictureRefused(f"{paths[row]}: {reason}")
        self.refused_[row] = reason

    def _open(self) -> Model:
        wanted = (self.model, self.device)
        if getattr(self, "_opened", (None, None))[0] != wanted:
            self._opened = (wanted, load_model(*wanted))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        """The state without the opened model, which is loaded again on first use."""
        state: dict[str, Any] = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_opened"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = False
        tags.no_validation = True
        return tags


def _column(X: Any) -> Any:  # noqa: N803
    """The one column of a table, or of an array (n, 1); what has no columns, as it is."""
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if len(shape) < 2:
        return X
    if len(shape) > 2 or shape[1] != 1:
        raise ValueError(
            f"transform takes one column of paths, or uint8 (n, h, w, 3); not an array or table of {shape}"
        )
    return X.iloc[:, 0] if hasattr(X, "iloc") else X[:, 0]


def _as_paths(X: object) -> list[str]:  # noqa: N803
    if isinstance(X, str | bytes | os.PathLike) or not hasattr(X, "__iter__"):
        raise ValueError("transform takes a list of paths, or uint8 (n, h, w, 3)")
    paths = list(_column(X))
    wrong = next((one for one in paths if not isinstance(one, str | os.PathLike)), None)
    if wrong is not None:
        raise ValueError(f"transform takes a list of paths, or uint8 (n, h, w, 3); not {type(wrong).__name__} in it")
    return [os.fspath(path) for path in paths]

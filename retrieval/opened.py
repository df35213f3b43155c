"""An opened index with its model."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from index.errors import AddressUnknown
from index.forks import watch
from index.many import Many
from index.opening import Address, is_known, open_indexes, place_of
from index.roots import RegionKind, region_kind
from retrieval.defaults import Device
from retrieval.models.kept import model_of
from retrieval.models.model import Model
from retrieval.places import locate_indexes

SearchOn = Literal["cpu", "gpu"]


class Opened:
    """What searching and writing share: the index, opened for reading, and its model, opened on first use."""

    def __init__(
        self,
        folder: Address | Sequence[Address],
        *,
        device: Device = "auto",
        search_on: SearchOn = "cpu",
        strict: bool = False,
        timeout_s: float | None = None,
        model: Model | Address | None = None,
    ) -> None:
        """As ``open``, but ``folder`` is the index itself, or several."""
        if search_on not in ("cpu", "gpu"):
            raise ValueError(f"search_on must be cpu or gpu, not {search_on!r}")
        self.device = device
        self.search_on = search_on
        folders = [folder] if isinstance(folder, str | os.PathLike) else list(folder)
        self.index = open_indexes(folders, on_gpu=search_on == "gpu", strict=strict, timeout_s=timeout_s)
        self._given = model
        self._model: Model | None = None
        self._opening = threading.Lock()
        watch(self)

    @classmethod
    def open(
        cls,
        index: Address | Sequence[Address] | None = None,
        *,
        device: Device = "auto",
        search_on: SearchOn = "cpu",
        strict: bool = False,
        timeout_s: float | None = None,
        model: Model | Address | None = None,
    ) -> Self:
        """Open the index at ``index``, or the nearest one (see ``locate_index``).

        Args:
            index: several indexes of one model, or a text file that names some, are searched as one; each is asked in
                a thread of its own. They can be read only.
            strict: raise PartAbsent if one of several indexes does not answer. Without it, it is left out, and
                ``absent`` says so.
            timeout_s: how long one of several indexes may take to answer, or one that is served elsewhere.
            model: what encodes pictures, in place of the index's own copy: a shipped name, a bundle's folder or an
                opened model. An index that is served elsewhere (http://) brings none; without this one, the shipped
                model of its digest is used.
            device: where the model runs: "auto", "cpu" or "cuda".
            search_on: where codes are searched: "cpu", or "gpu", which needs FAISS's package for GPUs.

        Raises:
            NoIndex: there is none.
            NotTrusted: it belongs to another user, or was not named and is not known (see ``locate_index``).
            IndexMismatch: it has a newer schema.
            IndexDamaged: the catalog cannot be read.
            MissingExtra: raised by the first search if ``search_on`` is "gpu" and FAISS can use none.
        """
        folders = locate_indexes(index)
        return cls(folders, device=device, search_on=search_on, strict=strict, timeout_s=timeout_s, model=model)

    def open_again(self) -> None:
        """Open the index anew, after it has become one of another model."""
        address = self.index.address
        self.index.close()
        self.index = open_indexes([address], on_gpu=self.search_on == "gpu")
        self._model = None
        self.__dict__.pop("latent_dim", None)

    @property
    def absent(self) -> dict[str, str]:
        """Those of several indexes that did not answer, by their addresses, and why."""
        return dict(self.index.absent) if isinstance(self.index, Many) else {}

    @property
    def folder(self) -> Path:
        """The folder of the index.

        Raises:
            AddressUnknown: it is on a server, at ``index.address``.
        """
        place = place_of(self.index.address)
        if isinstance(place, str):
            raise AddressUnknown(f"{place} is on a server, and has no folder")
        return place

    @property
    def is_known(self) -> bool:
        """Whether this user's program made the index here, or this user trusts it."""
        return is_known(self.index.address)

    @property
    def model(self) -> Model:
        """The index's own copy of its model, or the given one.

        Raises:
            ModelError: the copy is damaged, or the index is served elsewhere and its model is not known here.
            IndexMismatch: it is another model.
        """
        with self._opening:
            if self._model is None:
                self._model = model_of(self.index, self._given, self.device)
            return self._model

    def holds(self, kind: RegionKind) -> bool:
        """Whether such regions of pictures are indexed."""
        return kind in map(region_kind, self.index.rows.roots().values())

    @cached_property
    def latent_dim(self) -> int:
        """d, the number of dimensions of a code."""
        return self.index.rows.meta().latent_dim

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index.address!r})"

    def __len__(self) -> int:
        """The number of pictures that can be found."""
        return self.index.rows.meta().found

    def after_fork(self) -> None:
        self._opening = threading.Lock()

    def close(self) -> None:
        """Close the index. Hits stay valid."""
        self.index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

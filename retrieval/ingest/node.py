"""What a node of a cluster does: files to outcomes, by an encoder and a decoder that it holds. Ray is not needed here.

Inputs and outputs can be pickled. Nothing here depends on where the program or the model lies on the other machines.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from retrieval.atomic import write
from retrieval.defaults import Device
from retrieval.errors import DISTRIBUTION, LatentError
from retrieval.ingest.encode import Encoder, Outcome, ToRead
from retrieval.models.model import Model

DECIDING = (DISTRIBUTION, "Pillow", "pillow-heif", "numpy", "onnxruntime", "xxhash")
"""Packages that decide what a picture's code and facts are."""


@dataclass(frozen=True)
class Parcel:
    """What a node needs once: the files of a bundle by name, the ``versions`` that its packages must have, the hashes
    of contents that need not be encoded, and how many processes decode for it.
    """

    bundle: Mapping[str, bytes]
    device: Device
    known: frozenset[bytes]
    workers: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """The ``outcomes`` of some files, in order, or why ``node`` can give none: its ``fault``."""

    node: str
    outcomes: tuple[Outcome, ...] = ()
    fault: str | None = None


def deciding_versions() -> dict[str, str]:
    """The versions of the packages that decide what codes and facts are. One that is not installed has none."""
    return {"Python": platform.python_version(), **{name: _version(name) for name in DECIDING}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def packed_bundle(model: Model) -> dict[str, bytes]:
    """The files of a model's bundle by name, without the generator.

    Raises:
        ModelError: the bundle is damaged.
    """
    with TemporaryDirectory(prefix="latent-model-") as folder:
        model.write_to(Path(folder), generator=False)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


class NodeEncoder:
    """Reads and encodes files on this machine. An error is part of its replies: its caller is elsewhere."""

    def __init__(self, parcel: Parcel) -> None:
        self._node, self._fault = socket.gethostname(), _differing(parcel.versions)
        self._encoder: Encoder | None = None
        if self._fault is None:
            try:
                self._encoder = Encoder(_unpacked(parcel), parcel.known, parcel.workers)
            except LatentError as error:
                self._fault = str(error)

    def reply(self, files: Sequence[ToRead]) -> Reply:
        if self._encoder is None:
            return Reply(self._node, fault=self._fault)
        try:
            batches = self._encoder.batches(files)
            return Reply(self._node, tuple(outcome for batch in batches for outcome in batch))
        except LatentError as error:
            return Reply(self._node, fault=str(error))

    def close(self) -> None:
        """End the processes that decode."""
        if self._encoder is not None:
            self._encoder.close()


def _differing(wanted: Mapping[str, str]) -> str | None:
    """Which packages of this machine would make other codes, in words."""
    found = deciding_versions()
    differing = [f"{name} {found.get(name)}, not {one}" for name, one in wanted.items() if found.get(name) != one]
    return f"its codes could differ: it has {'; '.join(differing)}" if differing else None


def _unpacked(parcel: Parcel) -> Model:
    """The model, loaded for one thread: there is an encoder for each core."""
    with TemporaryDirectory(prefix="latent-model-") as folder:
        for name, content in parcel.bundle.items():
            write(Path(folder) / name, content)
        model = Model(Path(folder), parcel.device, threads=1)
        model.open_encoder()
    return model

"""Encode a collection anew with another model, beside the index that is in use, and then put the codes into it.

The new codes are gathered in an index of their own (``staging``), by an ordinary build: it can be stopped and goes on
where it was. When it stands, one transaction gives the rows of the index their new codes. Rows keep their ids, and what
the user noted stays, except directions: they were of the old codes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from index import successor
from index.door import IndexWriter
from index.opening import exists, write_index
from index.records import Meta
from retrieval.defaults import Device
from retrieval.errors import ModelError
from retrieval.ingest.commit import Summary
from retrieval.ingest.places_of_work import Ingest
from retrieval.ingest.survey import Reading
from retrieval.models.kept import keep_model
from retrieval.models.model import Model, load_model
from retrieval.places import all_scopes, claim_all
from retrieval.progress import OnProgress
from retrieval.roots.opening import is_gone, is_missing


@dataclass(frozen=True)
class Migrated:
    """What a migration did: the model before it, what was read with the new one, and the directions that are gone."""

    model_before: str
    summary: Summary | None
    directions_lost: tuple[str, ...] = ()


def migrate(
    writer: IndexWriter,
    model: Model,
    ingest: Ingest,
    reading: Reading,
    device: Device,
    workers: int | None = None,
    report: OnProgress | None = None,
) -> Migrated:
    """Make the index one of ``model``. Killed at any moment, it is whole, of the old model or of the new one.

    Raises:
        IndexMismatch: pictures cannot be read now, and would be lost.
        IndexBusy: another process works on a folder of the index.
        ModelError: the model has no encoder.
    """
    facts = writer.rows.meta()
    generator = _paints(writer)
    if (facts.model_digest, facts.latent_dim) == (model.digest, model.latent_dim):
        keep_model(writer, model, generator)  # the encoder is the same: perhaps a generator is new
        writer.refresh_caches()
        writer.clear_staging()
        return Migrated(facts.model_name, None)
    claim_all(writer.rows, set(writer.rows.roots()))
    with suppress(ModelError):  # if the old model's copy is lost, files that were renamed meanwhile get new rows
        old = load_model(writer.model_folder(), device)
        ingest(writer.rows, old, all_scopes(writer.rows, writer.address, reading), workers, report)
    created = Meta(model.name, model.digest, model.latent_dim, model.standardized)
    _clear_if_of_another(writer, created)
    with write_index(writer.staging(), create=created) as stage:
        successor.begin(writer.rows, stage.rows)
        scopes = all_scopes(stage.rows, writer.address, reading)
        summary = ingest(stage.rows, model, scopes, workers, report)
        lost = tuple(writer.notes.directions())
        writer.change_model(
            created, partial(model.write_to, generator=generator), successor.changes(writer.rows, stage.rows, _is_gone)
        )
    writer.refresh_caches()
    writer.clear_staging()
    return Migrated(facts.model_name, summary, lost)


def _clear_if_of_another(writer: IndexWriter, created: Meta) -> None:
    """A migration to another model may have been stopped here before."""
    if not exists(writer.staging()):
        writer.clear_staging()
        return
    with write_index(writer.staging(), create=created) as stage:
        facts = stage.rows.meta()
    if (facts.model_digest, facts.latent_dim) != (created.model_digest, created.latent_dim):
        writer.clear_staging()


def _is_gone(root: str, path: str) -> bool:
    """Of a root that is not there, or does not answer, nothing is known to be gone."""
    return not is_missing(root) and is_gone(path)


def _paints(writer: IndexWriter) -> bool:
    """Whether the copy of the model may have a generator: an index that was made without one gets none."""
    try:
        own = load_model(writer.model_folder())
    except ModelError:
        return True
    return own.has_generator or own.facts.get("method") == "adopted"

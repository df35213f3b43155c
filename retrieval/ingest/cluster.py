"""The three steps on a cluster of Ray: this process surveys and commits, actors on all nodes encode in between.

Outcomes are committed in the order of the files, in batches of the same files as those of a local build, so the catalog
is the same. Ray Data hands out the files, repeats the work of nodes that die, and does not let the actors run far ahead
of the commits. Work may be done twice; it is committed once.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from index.door import RowsWriter
from retrieval.defaults import Device
from retrieval.errors import ClusterError
from retrieval.ingest.commit import Summary, commit_all
from retrieval.ingest.encode import BATCH_FILES, Encoder, Outcome, ToRead
from retrieval.ingest.joining import joined
from retrieval.ingest.node import NodeEncoder, Parcel, Reply, deciding_versions, packed_bundle
from retrieval.ingest.survey import Scope, Survey, known_contents, survey
from retrieval.models.model import Model
from retrieval.progress import OnProgress

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_FILES, TASKS_PER_ACTOR = 16, 4  # of a task; and of an actor, at least, if there are enough files
CPUS_PER_ACTOR = 0.5  # of those that Ray counts: the rest is for Ray Data itself, and for actors of a node that died
AHEAD_BYTES, AHEAD_BYTES_PER_ACTOR = 32 << 20, 2 << 20  # of outcomes that wait to be committed
REPLY_BYTES = 1 << 20  # what Ray expects of a task before it has seen any: 256 outcomes take 0.4 MB
DEATHS_PER_ACTOR = 3  # one after the other, while it starts

Again = Callable[[str], Outcome]


class Crew(NamedTuple):
    """How many actors encode; ``workers`` decode for each, and each has ``gpus`` of its own."""

    actors: int
    workers: int
    gpus: int


def ingest_on(
    on: str,
    rows: RowsWriter,
    model: Model,
    scopes: Iterable[Scope],
    workers: int | None = None,
    report: OnProgress | None = None,
) -> Summary:
    """As ``local.ingest``, on the cluster ``on``. ``workers`` is the number of processes that decode, on all nodes.

    Raises:
        MissingExtra: Ray is not installed.
        ClusterError: the cluster does not answer, has nothing that ``model.device`` asks for, does not see the files,
            or its nodes would encode differently.
    """
    found = survey(rows, scopes, report)
    files = [item.file.path if item.file.part is None else item.file for item in found.work]
    with Encoder(Model(model.folder, facts=model.facts), workers=1) as here:  # starts no process until it is needed
        if not files:
            return commit_all(rows, found, [], here.again, report)
        with joined(on, workers) as ray:
            crew = crew_of(ray.cluster_resources(), model.device, workers)
            parcel = _parcel(rows, found, model, crew)
            # Closed while Ray is there: an interrupted program would wait for it at its end, for ever.
            with closing(_replies(ray, list(_chunks(files, crew.actors)), parcel, crew)) as replies:
                return commit_all(rows, found, _batches(replies, here.again), here.again, report)


def crew_of(resources: dict[str, float], device: Device, workers: int | None) -> Crew:
    """The actors for a cluster with these ``resources``: one for each GPU, or one for each CPU.

    Raises:
        ClusterError: there is nothing for them to run on.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if not cpus:
        raise ClusterError("the cluster has no CPUs to offer")
    if device == "cuda" and not gpus:
        raise ClusterError("device cuda: the cluster has no GPUs to offer", code="no_cuda")
    if gpus and device != "cpu":
        return Crew(gpus, max(1, (workers or cpus) // gpus), 1)
    return Crew(workers or cpus, 1, 0)


def _parcel(rows: RowsWriter, found: Survey, model: Model, crew: Crew) -> Parcel:
    device: Device = model.device if crew.gpus else "cpu"
    return Parcel(packed_bundle(model), device, known_contents(rows, found), crew.workers, deciding_versions())


def _chunks(files: list[ToRead], actors: int) -> Iterator[list[ToRead]]:
    """The files of each task: few enough that all actors have some."""
    size = min(BATCH_FILES, max(LEAST_FILES, len(files) // (TASKS_PER_ACTOR * actors)))
    return (files[start : start + size] for start in range(0, len(files), size))


class _Actor:
    """What Ray keeps on a node: it turns tables of one pickled cell into such tables."""

    def __init__(self, parcel: Any) -> None:
        import ray

        self._encoder = NodeEncoder(ray.get(parcel))

    def __call__(self, table: pa.Table) -> pa.Table:
        return _table(self._encoder.reply(files) for files in _cells(table))


def _table(values: Iterable[object]) -> pa.Table:
    import pyarrow as pa

    return pa.table({"pickled": pa.array([pickle.dumps(value) for value in values], pa.binary())})


def _cells(table: pa.Table) -> Iterator[Any]:
    return (pickle.loads(cell.as_py()) for cell in table["pickled"])


def _replies(ray: Any, chunks: list[list[ToRead]], parcel: Parcel, crew: Crew) -> Generator[Reply, None, None]:
    """One reply for each of ``chunks``, in order.

    Raises:
        ClusterError: Ray gave up.
    """
    data = ray.data.from_arrow([_table([chunk]) for chunk in chunks]).map_batches(
        _Actor,
        fn_constructor_args=(ray.put(parcel),),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=min(crew.actors, len(chunks))),
        num_cpus=CPUS_PER_ACTOR * crew.workers,
        num_gpus=crew.gpus,
    )
    _set_up(ray, data.context, crew)
    try:
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            yield from _cells(table)
    except Exception as error:  # Ray raises errors of many kinds, among them those of the actor's own code
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ClusterError(f"Ray gave up: {lines[-1].strip() if lines else type(error).__name__}") from error


def _set_up(ray: Any, context: Any, crew: Crew) -> None:
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = DEATHS_PER_ACTOR * crew.actors
    context.target_max_block_size = REPLY_BYTES
    context.execution_options.preserve_order = True
    ahead = AHEAD_BYTES + crew.actors * AHEAD_BYTES_PER_ACTOR
    context.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=ahead)


def _batches(replies: Iterable[Reply], again: Again) -> Iterator[list[Outcome]]:
    """The outcomes of all replies, in the batches of a local build."""
    outcomes = (outcome for reply in replies for outcome in _trusted(reply, again))
    while batch := list(islice(outcomes, BATCH_FILES)):
        yield batch


def _trusted(reply: Reply, again: Again) -> Iterator[Outcome]:
    """The outcomes of a reply. What a node could not read today is read again here, where the files were seen.

    Raises:
        ClusterError: the node can do no work, or does not see the files at all.
    """
    if reply.fault is not None:
        raise ClusterError(f"node {reply.node} cannot do its part: {reply.fault}")
    blind = all(outcome.passing for outcome in reply.outcomes)
    for outcome in reply.outcomes:
        mine = again(outcome.path) if outcome.passing else outcome
        if blind and not mine.passing:
            raise ClusterError(
                f"node {reply.node} cannot read {outcome.path} ({outcome.reason}), which this machine can; "
                "all nodes must see the pictures under the same paths"
            )
        yield mine

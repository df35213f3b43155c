"""One collection in Milvus: codes under the catalog's ids, and the state that it says it is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from index.local.snapshot import stored_form
from index.milvus.kinds import Kind
from index.milvus.server import ASK_TIMEOUT_S, SHORT_TIMEOUT_S, WORK_TIMEOUT_S, Refused, Server
from index.milvus.state import PROPERTY, State
from index.records import Floats, Ids, Metric

BATCH_CODES = 4000  # in one message, of which Milvus takes 64 MB
BATCH_IDS = 20_000  # in one filter
MOST = 16_384  # hits of a search, or rows of an answer
ID, CODE = "id", "code"


class Collection:
    """A collection. All methods raise IndexUnreachable if Milvus does not answer, and Refused if it cannot do that."""

    def __init__(self, server: Server, name: str, metric: Metric, dim: int) -> None:
        self.server, self.name, self.metric, self.dim = server, name, metric, dim

    def state(self) -> State | None:
        """What it says of itself; None if there is no collection, or nothing readable."""
        try:
            with self.server.asked() as client:
                properties = client.describe_collection(self.name, timeout=SHORT_TIMEOUT_S)["properties"]
        except Refused:
            with self.server.asked() as client:
                if client.has_collection(self.name, timeout=SHORT_TIMEOUT_S):
                    raise
            return None
        return State.read(properties.get(PROPERTY))

    def note(self, state: State) -> None:
        with self.server.asked() as client:
            client.alter_collection_properties(self.name, {PROPERTY: state.written()}, timeout=SHORT_TIMEOUT_S)

    def create(self, state: State) -> None:
        """Make it anew, empty, in ``state``."""
        from pymilvus import DataType

        self.drop()
        with self.server.asked() as client:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field(ID, DataType.INT64, is_primary=True)
            schema.add_field(CODE, DataType.FLOAT_VECTOR, dim=self.dim)
            properties = {PROPERTY: state.written()}
            client.create_collection(
                self.name, schema=schema, properties=properties, consistency_level="Bounded", timeout=ASK_TIMEOUT_S
            )

    def drop(self) -> None:
        with self.server.asked() as client:
            client.drop_collection(self.name, timeout=ASK_TIMEOUT_S)

    def upsert(self, ids: Ids, codes: Floats) -> int:
        """Put codes (n, d) under ``ids`` (n,), in place of older ones. Return Milvus's timestamp of it."""
        stored, last = stored_form(codes, self.metric), 0
        for start in range(0, len(ids), BATCH_CODES):
            part = slice(start, start + BATCH_CODES)
            rows = [{ID: number, CODE: code} for number, code in zip(ids[part].tolist(), stored[part], strict=True)]
            with self.server.asked() as client:  # the client's own method keeps the timestamp to itself
                handler = client._get_connection()
                last = handler.upsert_rows(self.name, rows, timeout=ASK_TIMEOUT_S).timestamp
        return int(last)

    def delete(self, ids: Ids) -> int:
        """Delete those of ``ids`` (n,) that are there. Return Milvus's timestamp of it."""
        last = 0
        for start in range(0, len(ids), BATCH_IDS):
            with self.server.asked() as client:
                handler = client._get_connection()
                wanted = _among(ids[start : start + BATCH_IDS])
                last = handler.delete(self.name, wanted, timeout=ASK_TIMEOUT_S).timestamp
        return int(last)

    def build(self, kind: Kind, count: int) -> None:
        """Have all codes searched by an index of ``kind``, in place of an older one, and load it."""
        with self.server.asked() as client:
            client.flush(self.name, timeout=WORK_TIMEOUT_S)
            client.release_collection(self.name, timeout=ASK_TIMEOUT_S)
            for older in client.list_indexes(self.name):
                client.drop_index(self.name, older, timeout=ASK_TIMEOUT_S)
            wanted = client.prepare_index_params()
            measure = "L2" if self.metric == "euclidean" else "IP"
            parameters = kind.built_with(count)
            wanted.add_index(CODE, index_type=kind.name, metric_type=measure, index_name=CODE, params=parameters)
            client.create_index(self.name, wanted, timeout=WORK_TIMEOUT_S)
            client.load_collection(self.name, timeout=WORK_TIMEOUT_S)

    def load(self) -> None:
        """Have it searched, if it is not: a server may have been started anew."""
        with self.server.asked() as client:
            client.load_collection(self.name, timeout=WORK_TIMEOUT_S)

    def search(self, xq: Floats, k: int, state: State, among: Ids | None = None) -> tuple[Ids, Floats]:
        """Ids (n, k) and scores (n, k) of the ``k`` nearest codes to queries (n, d), best first; -1 where there are
        fewer. ``among``: of these ids alone, at most ``BATCH_IDS``.

        Scores are those of ``metric``: squared distances, or inner products. All changes up to ``state`` are seen.
        """
        ids, scores = np.full((len(xq), k), -1, np.int64), np.zeros((len(xq), k), np.float32)
        asked = state.kind.asked_with(k, state.count, everywhere=among is not None)
        with self.server.asked() as client:
            found = client.search(
                self.name,
                list(stored_form(xq, self.metric)),
                filter="" if among is None else _among(among),
                limit=k,
                output_fields=[ID],
                anns_field=CODE,
                search_params={"params": asked},
                timeout=ASK_TIMEOUT_S,
                **_seeing(state),
            )
        for row, hits in enumerate(found):
            ids[row, : len(hits)], scores[row, : len(hits)] = hits.ids, hits.distances
        return ids, scores

    def count(self, state: State) -> int:
        """The number of codes."""
        with self.server.asked() as client:
            (answer,) = client.query(
                self.name, filter="", output_fields=["count(*)"], timeout=ASK_TIMEOUT_S, **_seeing(state)
            )
        return int(answer["count(*)"])

    def codes(self, after: int, upto: int, state: State) -> tuple[Ids, Floats]:
        """Ids (n,), ascending, and codes (n, d) as they are stored, with after < id <= upto; at most ``MOST``."""
        with self.server.asked() as client:
            rows: Sequence[Any] = client.query(
                self.name,
                filter=f"{ID} > {after} and {ID} <= {upto}",
                output_fields=[ID, CODE],
                limit=MOST,
                timeout=ASK_TIMEOUT_S,
                **_seeing(state),
            )
        rows = sorted(rows, key=lambda row: row[ID])
        codes = np.array([row[CODE] for row in rows], np.float32).reshape(-1, self.dim)
        return np.array([row[ID] for row in rows], np.int64), codes


def _among(ids: Ids) -> str:
    return f"{ID} in [{','.join(map(str, ids.tolist()))}]"


def _seeing(state: State) -> dict[str, Any]:
    """Have an answer see the last change that led to ``state``.

    With Milvus's level "Bounded" it may be missed for seconds; "Strong" would wait for the next tick of Milvus's clock,
    0.2 s, with each query. To ask for the timestamp of the change waits only where it has not been seen yet.
    """
    return {"consistency_level": "Customized", "guarantee_timestamp": max(1, state.timestamp)}

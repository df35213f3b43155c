"""Draw a sample of a catalog's pictures."""

from __future__ import annotations

import math

import numpy as np
from sqlalchemy import Connection, func, select

from index.local.tables import pictures

SPARSE = 4  # ids for each picture that can be found; where there are more, the pictures are listed first


def drawn_ids(connection: Connection, count: int, found: int) -> list[int]:
    """Draw enough ids that about ``count`` of them are of pictures that can be found, of which there are ``found``.

    Numbers in a catalog may be anybody's: neither a huge id nor a wrong count asks for more than some million numbers.
    """
    last = connection.scalar(select(func.max(pictures.c.id))) or 0
    if last <= 0:
        return []
    rng = np.random.default_rng(0)
    if last > SPARSE * found:
        ids = connection.scalars(
            select(pictures.c.id).where(pictures.c.status == "found").order_by(pictures.c.id)
        ).all()
        return [ids[place] for place in rng.choice(len(ids), min(len(ids), count), replace=False)] if ids else []
    wanted = min(last, count * math.ceil(last / found))
    drawn: list[int] = (rng.choice(last, wanted, replace=False) + 1).tolist()
    return drawn

"""Pictures in an order, as ids: found once, and paged through as often as somebody scrolls on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from index.records import Ids

MOST = 8  # orders that are kept, with 8 bytes for each picture


class Orders:
    """Ids of pictures in the orders of one state of a catalog.

    Any thread may ask, inside a transaction of that state.
    """

    def __init__(self) -> None:
        self._reading = threading.Lock()  # its holder is in a transaction already, and waits for nobody
        self._held: OrderedDict[Hashable, Ids] = OrderedDict()

    def of(self, question: Hashable, read: Callable[[], Ids]) -> Ids:
        """The ids (n,) that answer ``question``, read once as long as others do not take their place."""
        with self._reading:
            if question not in self._held:
                self._held[question] = read()
                if len(self._held) > MOST:
                    self._held.popitem(last=False)
            self._held.move_to_end(question)
            return self._held[question]

"""What a server may do besides reading. The person who starts it says so; no request can."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.defaults import Action
from serve.errors import Refused
from serve.records_of_acts import Movement

READ_ONLY = Refused(403, "read_only", "this server only reads")


@dataclass(frozen=True)
class Allowed:
    """``writes``: to the index. ``applies``: plans for copies, by the trash, or into the folder ``move_to``.
    ``tells_paths``: in plans that are downloaded, since they go to the same machine.
    """

    writes: bool = False
    applies: bool = False
    move_to: str | None = None
    tells_paths: bool = False

    @property
    def actions(self) -> tuple[Movement, ...]:
        """What may be done with copies. Nothing of it destroys a file."""
        if not (self.writes and self.applies):
            return ()
        return ("trash",) if self.move_to is None else ("trash", "move")

    def check(self, action: Action | None = None) -> None:
        """Raise Refused if this, or anything at all, may not be done with copies."""
        if not self.writes:
            raise READ_ONLY
        if not self.actions:
            raise Refused(403, "no_apply", "this server carries out no plans; start it with --allow-apply")
        if action is not None and action not in self.actions:
            raise Refused(403, "no_apply", "this server moves no files; start it with --move-to DIR")

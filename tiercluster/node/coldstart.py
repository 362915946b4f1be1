"""What a clean stop left in the cold store: taken over if it is known to be fresh, else wiped."""

from __future__ import annotations

from tiercluster.tiermap import Tier, TierMap

from .doors import Doors
from .messages import ColdAnswer, ColdFailed, ColdOpen, ColdOpened, ColdReady
from .ownership import Ownership
from .shard import Shard

OPEN_TOKEN = 0  # of the first ColdOpen; the shard counts its own from 1


class ColdStart:
    """``node`` is this node's id, ``token`` this process."""

    def __init__(self, node: str, token: str, shard: Shard, ownership: Ownership,
                 doors: Doors) -> None:  # fmt: skip
        self._node = node
        self._token = token
        self._shard = shard
        self._ownership = ownership
        self._doors = doors
        self._map = TierMap()
        self._before = ""  # the process that the map knew under this id before this one joined
        self._opened: ColdOpened | None = None

    def ask(self) -> None:
        """For the store, with the rows in it."""
        self._doors.tell_cold(ColdOpen(OPEN_TOKEN, wipe=False))

    def use_map(self, new: TierMap) -> None:
        self._map = new
        me = new.member(self._node)
        if me is not None and me.process != self._token:
            self._before = me.process

    def takes(self, answer: ColdAnswer, now: float) -> bool:
        """Take the answer to `ask`; False if it is that to something else."""
        if isinstance(answer, ColdOpened) and answer.token == OPEN_TOKEN:
            self._opened = answer
            incarnation, generation = answer.marker or ("", 0)
            keepable = answer.marker is not None
            self._doors.tell_control(ColdReady(keepable, incarnation, generation, None))
        elif isinstance(answer, ColdFailed) and answer.token == OPEN_TOKEN:
            self._doors.tell_control(ColdReady(False, "", 0, answer.failure))
            self._shard.cold_is_missing(answer.failure, now)
        else:
            return False
        return True

    def decide(self, now: float, wall: float) -> None:
        """Once this stint is in the map. The rows are taken over if the process that left them was
        this node's last one and the map kept the generation."""
        opened, me = self._opened, self._map.member(self._node)
        if opened is None or me is None or me.incarnation != self._ownership.incarnation:
            return
        self._opened = None
        # The process matters too: a new cluster begins with the generations of the old one.
        if opened.marker == (self._before, me.tier(Tier.COLD).generation):
            self._shard.adopt_cold(opened.rows, self._ownership.is_mine, now, wall)
        else:
            self._shard.wipe_cold(now)

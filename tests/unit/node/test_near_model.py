"""A shard under random verbs and sick tiers: no near copy that was not recalled is out of date.

The world and the histories are those of `test_shard_model`; here some reads are watched and their
values kept, as a client does that hears all news at once.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, rule

from tests.unit.node.shard_world import key
from tests.unit.node.test_shard_model import KEYS, ShardAgainstHistories, several
from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import Get
from tiercluster.node.watches import Watches

CLIENT = b"near"
NAMES = {key(name): name for name in range(KEYS)}


class NearCopiesAgainstHistories(ShardAgainstHistories):
    def __init__(self) -> None:
        super().__init__()
        self.copies: dict[int, tuple[bytes, float]] = {}  # value, when the entry expires
        self.pending: dict[int, tuple[int, int]] = {}  # reads under way: name, number at the time
        self.last_told: dict[int, int] = {}

    @property
    def watches(self) -> Watches:
        return self.world.shard._holdings.watches

    @rule(chosen=several)
    def get_near(self, chosen: list[int]) -> None:
        if not self.watches.watch(CLIENT, [], []).stint:
            self.watches.renew(CLIENT, CLIENT, 0, self.world.now)
        for name in chosen:
            watching = self.watches.watch(CLIENT, [key(name)], [slot_of(key(name))])
            rid = self.send(Get((key(name),)))
            self.reads[rid] = [(name, len(self.history[name]) - 1, self.world.now)]
            self.pending[rid] = name, watching.seq
        self.settle_answers()

    @rule(chosen=several)
    def get_near_again(self, chosen: list[int]) -> None:
        """Or there would be few copies among so many rules."""
        self.get_near(chosen)

    def settle_answers(self) -> None:
        self.hear()
        for rid in [rid for rid in self.pending if rid in self.world.answers]:
            name, seq = self.pending.pop(rid)
            _, values, body = self.world.answers[rid]
            if values.sizes[0] >= 0 and self.last_told.get(name, 0) <= seq:
                self.copies[name] = body, self.history[name][-1].expires
        super().settle_answers()

    def hear(self) -> None:
        for _, told in self.watches.take():
            for name in (NAMES[k] for k in told.keys):
                self.copies.pop(name, None)
                self.last_told[name] = told.seq

    @rule()
    def slots_were_away(self) -> None:
        super().slots_were_away()
        self.watches.drop_all()  # as the front does
        self.hear()
        self.copies.clear()
        self.pending.clear()

    @invariant()
    def no_copy_is_out_of_date(self) -> None:
        self.hear()
        for name, (value, expires) in self.copies.items():
            last = self.history[name][-1]
            assert (value, expires) == (last.value, last.expires), name


NearCopiesAgainstHistories.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
TestNearCopiesAgainstHistories = NearCopiesAgainstHistories.TestCase

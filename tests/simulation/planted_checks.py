"""Bugs to plant for the judges that others forestall: each demands one invariant by name."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tiercluster.cluster.wire import Values
from tiercluster.node.actions import ProposeFrame, TellShard
from tiercluster.node.coordinator import Coordinator
from tiercluster.node.directory import Directory
from tiercluster.node.front import Front
from tiercluster.node.messages import UseMap
from tiercluster.node.peerbook import PeerBook
from tiercluster.node.streams import Streams
from tiercluster.node.verbs_read import ReadVerbs, _Gathering
from tiercluster.tiermap import apply, decode_command

from .copies import AGREE, KEPT, OLDER
from .planted_copies import NO_WAIT, OWNERS_GO
from .planting import COPIES, GROW, STALE, Bug, all_of, only, set_to, wrapped


def _no_floors(original: Any) -> Any:
    return lambda self, ring_version, floors, *rest: original(
        self, ring_version, [0] * len(floors), *rest
    )


def _same_versions(original: Any) -> Any:
    return lambda self, ring_version, floors, *rest: original(self, 0, [0] * len(floors), *rest)


NO_FLOORS = wrapped(Directory, "set_stint", _no_floors)
SAME_VERSIONS = wrapped(Directory, "set_stint", _same_versions)


def _taken_for_decided(original: Any) -> Any:
    """What a node proposes is in its own map at once."""

    def propose(self: Coordinator, *args: Any) -> None:
        original(self, *args)
        frames = [action.frame for action in self._actions if isinstance(action, ProposeFrame)]
        for frame in frames:
            foreseen = apply(self._state, decode_command(frame))
            self._actions.append(TellShard(UseMap(foreseen)))

    return propose


def _one_version_a_turn(stack: ExitStack) -> None:
    """All that is written in a turn of the shard gets the same version."""
    given: set[Directory] = set()

    def made(original: Any) -> Any:
        def next_version(self: Directory) -> int:
            version: int = self.version if self in given else original(self)
            given.add(self)
            return version

        return next_version

    def ends(original: Any) -> Any:
        def tick(self: Front, now: float) -> None:
            original(self, now)
            shard: Any = self._shard
            given.discard(shard._holdings.directory)

        return tick

    all_of(wrapped(Directory, "next_version", made), wrapped(Front, "tick", ends))(stack)


def _cut_short(original: Any) -> Any:
    """The shortest way of a read leaves out the last byte."""

    def get(self: ReadVerbs, asked: Any, *args: Any) -> Any:
        answered = original(self, asked, *args)
        if answered is None or asked.meta or answered[1].sizes[-1] < 1:
            return answered
        status, values, body = answered
        sizes = (*values.sizes[:-1], values.sizes[-1] - 1)
        return status, Values(sizes, values.flags), body[:-1]

    return get


def _in_another_order(original: Any) -> Any:
    """The values of a batch, the last key's first."""

    def answer(self: _Gathering, now: float) -> Any:
        self.sizes.reverse()
        self.chunks.reverse()
        return original(self, now)

    return answer


def _the_next_best(self: PeerBook, key: bytes) -> str:
    """A node whose cold tier may be out, or that may be out itself."""
    return next((m.id for m in self._map.members if m.id != self._node), "")


def _without_flags(original: Any) -> Any:
    def put(self: Streams, slot: int, key: bytes, version: int, flags: int, *rest: Any) -> None:
        original(self, slot, key, version, 0, *rest)

    return put


CHECK_BUGS: dict[str, Bug] = {
    "what a node proposes is decided for it": Bug(
        wrapped(Coordinator, "_propose", _taken_for_decided), 0, only("one version, one map")),
    "one version for all of a turn": Bug(
        _one_version_a_turn, 1, only("one version, two values"), ("pause",), every_s=0.6),
    "a value cut short": Bug(
        wrapped(ReadVerbs, "get", _cut_short), 1, only("a value nobody wrote")),
    "a batch in another order": Bug(
        wrapped(_Gathering, "answer", _in_another_order), 3, only("one version, two values")),
    "any node stands in": Bug(
        set_to(PeerBook, "stand_in", _the_next_best), 5, only("tiers as the map says"),
        ("disk", "operator")),
    "flags are not copied": Bug(
        wrapped(Streams, "put", _without_flags), 0, only(AGREE), ("pause_client",), every_s=3.0),
    "answers that do not wait, by what is kept": Bug(
        NO_WAIT, 0, only(KEPT), OWNERS_GO, mute=(OLDER,)),
    "answers that do not wait, by what is read": Bug(
        NO_WAIT, 3, only(STALE), ("cut", "one_way", "kill", "flap"), every_s=0.5, spikes=0.1,
        mute=COPIES),
    "no floors, by what is read": Bug(
        NO_FLOORS, 7, only(STALE), ("pause",), ("n2",), 1.0, mute=COPIES),
    "versions start anew, by what is written": Bug(
        SAME_VERSIONS, 0, only(GROW), mute=COPIES),
}  # fmt: skip

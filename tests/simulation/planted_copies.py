"""Bugs of replication to plant, one for each of its invariants (`planted` says how)."""

from __future__ import annotations

from typing import Any

from tiercluster.node import keeping
from tiercluster.node.copies import Copies, _Source
from tiercluster.node.copywatch import CopyWatch
from tiercluster.node.filling import Filling
from tiercluster.node.keeping import Keeping
from tiercluster.node.stopping import Stopping
from tiercluster.node.streams import Streams
from tiercluster.node.verbs_write import WriteVerbs
from tiercluster.tiermap import CopiesApart

from .copies import OLDER
from .planting import COUNTED, EXPIRED, LOST, STALE, WELL, Bug, all_of, only, set_to, wrapped

OWNERS_GO = ("crash", "kill", "pause", "isolate")
CUTS = ("cut", "one_way", "flap", "isolate", "kill")


def _in_any_order(original: Any) -> Any:
    """Whatever comes is taken as the next one."""

    def replicate(self: Copies, request: Any, *rest: Any) -> Any:
        asked = request.fields
        source = self._sources.get(asked.node)
        if source is None or source.epoch != asked.epoch:
            self._sources[asked.node] = _Source(asked.incarnation, asked.epoch, asked.seq - 1)
        elif asked.seq > source.applied:
            source.applied = asked.seq - 1
        return original(self, request, *rest)

    return replicate


def _only_says_filled(self: Filling, node: str, slots: tuple[int, ...], version: int) -> None:
    self._streams.filled(node, slots)


def _from_anybody(original: Any) -> Any:
    def refusal(self: Copies, asked: Any, slots: Any, version: int, mine: str) -> str:
        why: str = original(self, asked, slots, version, mine)
        return "" if "another owner" in why else why

    return refusal


def _same_era(original: Any) -> Any:
    def begin(self: Keeping, slot: int, is_owner: bool) -> None:
        original(self, slot, is_owner)
        self.floors[slot] = 0

    return begin


def _holds_on(original: Any) -> Any:
    """Who keeps a slot no more shows all the same what it has of it."""

    def compare(self: Keeping, before: Any, *more: Any) -> None:
        floors = list(self.floors)
        original(self, before, *more)
        for slot, kept_by in enumerate(self.table):
            if self._node in before[slot] and kept_by and self._node not in kept_by:
                self.floors[slot] = floors[slot]

    return compare


def _as_if_nothing_was_lost(original: Any) -> Any:
    def begin(self: Streams, node: str, to: str, now: float) -> None:
        self._lost.clear()
        original(self, node, to, now)

    return begin


def _drops_what_is_there(original: Any) -> Any:
    def delete(self: WriteVerbs, key: bytes, version: int | None, *rest: Any) -> bool:
        if self._holdings.directory.get(key) is None:
            return False
        found: bool = original(self, key, version, *rest)
        return found

    return delete


def _tells_nothing_when_overtaken(original: Any) -> Any:
    def copy(self: WriteVerbs, key: bytes, version: int, *rest: Any) -> None:
        entry = self._holdings.directory.get(key)
        if entry is None or entry.version == version:
            original(self, key, version, *rest)

    return copy


def _never_called_apart(original: Any) -> Any:
    def desires(self: CopyWatch, *args: Any) -> Any:
        return [d for d in original(self, *args) if not isinstance(d.command, CopiesApart)]

    return desires


NO_WAIT = set_to(Streams, "concerns", lambda self, origin: False)

COPY_BUGS: dict[str, Bug] = {
    "answers that do not wait": Bug(NO_WAIT, 0, only(OLDER), OWNERS_GO),
    "copies taken out of order": Bug(
        wrapped(Copies, "replicate", _in_any_order), 9, only(OLDER), CUTS),
    "copies taken from who owns no more": Bug(
        wrapped(Copies, "_refusal", _from_anybody), 2, only(OLDER), ("crash", "stop"),
        every_s=1.0, replicas=3, spikes=0.1),
    "eras that do not rise": Bug(wrapped(Keeping, "_begin", _same_era), 3, only(OLDER), OWNERS_GO),
    "who is apart keeps its copies": Bug(
        wrapped(Keeping, "_compare", _holds_on), 0, only(OLDER), ("cut",), every_s=1.5),
    "let go, and the peers not told": Bug(
        wrapped(Streams, "_begin", _as_if_nothing_was_lost), 6, only(OLDER), ("pause_many",),
        every_s=1.5, on_quorum_loss="serve"),
    "an absent key is not dropped": Bug(
        wrapped(WriteVerbs, "_delete", _drops_what_is_there), 1, only(OLDER), ("depose",),
        every_s=2.0),
    "a write that was overtaken tells nothing": Bug(
        wrapped(WriteVerbs, "_copy", _tells_nothing_when_overtaken), 37, only(OLDER),
        ("disk",), every_s=0.6, spikes=0.1),
    "a clear is not copied": Bug(
        set_to(Streams, "clear", lambda self, prefix, cursor: None), 0, only(OLDER), ("depose",),
        every_s=2.0),
    "the name of a write is not copied": Bug(
        set_to(Copies, "_remember", lambda self, *args: None), 41, only(COUNTED), ("kill",),
        every_s=3.0, counts=0.6),
    "what another copy may lack is shown": Bug(
        all_of(set_to(keeping, "_may_differ", lambda *args: False),
               set_to(keeping, "unsteady", lambda old, new: frozenset())), 3, only(OLDER),
        ("kill",), every_s=1.0, replicas=3, spikes=0.1),
    "maps passed over are no gap": Bug(
        all_of(set_to(keeping, "kept_in_between", lambda *args: None),
               set_to(keeping, "unsteady", lambda old, new: frozenset())), 33, only(OLDER),
        ("crash", "kill"), ("n3",), every_s=0.6, lags=0.3),
    "a write that moved is said to be done": Bug(
        set_to(Streams, "_give_up_moved", lambda self, is_same_ring: None), 3, only(OLDER),
        ("crash", "kill"), every_s=1.0, spikes=0.1),
    "a touch is not copied": Bug(
        set_to(Streams, "touch", lambda self, *args: None), 114, only(EXPIRED),
        ("kill",), every_s=0.6, touches=True),
    "who has closed its store confirms": Bug(
        set_to(Stopping, "is_closing", property(lambda self: False)), 94, only(STALE),
        ("stop", "stop_all"), every_s=1.0, touches=True, slow_close_s=0.6),
    "said to be filled, and nothing sent": Bug(
        set_to(Filling, "begin", _only_says_filled), 1, only(LOST), is_roomy=True),
    "whole from the start": Bug(
        set_to(Keeping, "is_whole", property(lambda self: True)), 0, only(LOST), is_roomy=True),
    "nobody is ever called apart": Bug(
        wrapped(CopyWatch, "desires", _never_called_apart), 5, only(WELL),
        ("depose",), every_s=2.0, ends_apart=True),
}  # fmt: skip

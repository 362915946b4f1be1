"""The invariants of copies: what was acknowledged is kept, and no copy is older.

A *copy* is an entry that a node would serve if it owned the slot at this moment: in the directory,
above the slot's floor, its tier in service. What a node that owns a slot holds of it counts, too.

Nodes are judged that have applied the newest map: by an older one they may keep what they will let
go of as soon as they learn of it. Answers of nodes that know themselves in a minority prove
nothing here either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tiercluster.cluster.ring import slot_of
from tiercluster.cluster.wire import (
    Count,
    Counter,
    Delete,
    DeletePrefix,
    Flags,
    Get,
    Incr,
    Kind,
    Reply,
    Request,
    Status,
    Stored,
    Values,
)
from tiercluster.node.entry import HOT, Entry
from tiercluster.node.verbs_scan import END
from tiercluster.tiermap import NodeState, TierMap

from .promises import Violation

if TYPE_CHECKING:
    from .node_model import SimNode

EACH = 32  # between two steps of a node at which all of its copies are looked at
KEPT, OLDER, AGREE = "acknowledged means kept", "copies are never older", "copies agree"


class Copies:
    """``keys``: those that are looked at; ``waits`` False: nodes answer without copies
    (``write_ack`` is owner), which promises nothing."""

    def __init__(self, keys: tuple[bytes, ...], waits: bool) -> None:
        self._slots = {key: slot_of(key) for key in keys}
        self._waits = waits
        self.nodes: list[SimNode] = []
        self.newest_map = TierMap()
        # Every visible entry of a key must have this version or a newer one.
        self._least: dict[bytes, int] = {}
        self._asked: dict[tuple[str, int], tuple[Sequence[bytes], int]] = {}
        self._steps: dict[str, int] = {}
        self.judged = 0

    # --- what is acknowledged -------------------------------------------------------------------

    def taken(self, node: SimNode, client: str, request: Request) -> None:
        """A request comes to a node, and has not been looked at there."""
        if not self._waits:
            return
        fields, front = request.fields, _front(node)
        keys: Sequence[bytes]
        match request.kind:
            case Kind.STORE | Kind.GET:
                keys = fields.keys  # type: ignore[union-attr]
            case Kind.INCR:
                assert isinstance(fields, Incr)
                keys = (fields.key,)
            case Kind.DELETE if not request.prior:  # else it may have been applied long ago
                keys = fields.keys  # type: ignore[union-attr]
            case Kind.DELETE_PREFIX:
                keys = self._cleared(node, fields)
            case _:
                return
        if isinstance(fields, Get) and not fields.meta:
            return
        # A repeated request may have been applied when it first came.
        version = front._shard._holdings.directory.version
        if isinstance(fields, Delete) and fields.version is not None:
            version = fields.version  # whatever it finds, it is newer
        self._asked.setdefault((client, request.rid), (keys, version))

    def _cleared(self, node: SimNode, asked: object) -> list[bytes]:
        """A whole clear takes one step in so small a ring."""
        assert isinstance(asked, DeletePrefix)
        is_mine = _front(node)._ownership.is_mine
        keys = [
            k for k, slot in self._slots.items() if k.startswith(asked.prefix) and is_mine(slot)
        ]
        return keys if asked.cursor == 0 else []

    def answered(self, node: SimNode, client: str, reply: Reply, is_weak: bool) -> None:
        """A node tells a client something."""
        asked = self._asked.get((client, reply.rid))
        if asked is None or reply.status is not Status.OK or is_weak:
            return
        keys, before = asked
        fields = reply.fields
        match fields:
            case Stored(versions):
                known = list(versions)
            case Values() if fields.versions:
                known = list(fields.versions)
            case Counter():
                known = [fields.version if fields.found and fields.integer else 0]
            case Flags():
                known = [before + 1] * len(keys)
            case Count(_, cursor):
                known = [before + 1] * len(keys) if cursor == END else []
            case _:
                known = []
        for key, version in zip(keys, known, strict=False):
            if version and key in self._slots:
                self._is_known(node, key, version)

    def _is_known(self, node: SimNode, key: bytes, version: int) -> None:
        """By an answer of this node the key holds this version, or a newer one."""
        if version > self._least.get(key, 0):
            self._least[key] = version
            for other in self.nodes:
                self._judge(other, (key,))
        self._judge_keepers(node, key, version)

    def _judge_keepers(self, node: SimNode, key: bytes, version: int) -> None:
        """Those who keep the slot by the map of the node that answers, and have it too: who has
        an older one may have been apart and together again since."""
        slot, version_of_map = self._slots[key], _front(node)._map.version
        kept_by = _front(node)._shard.keeping.table[slot]
        if kept_by[:1] != (node.name,):
            return  # an answer that was given before, and is repeated
        for other in self.nodes:
            if other is node or other.name not in kept_by or other.front is None:
                continue
            theirs = _front(other)._shard.keeping.table[slot]
            if _front(other)._map.version != version_of_map:
                continue
            if theirs[:1] != (node.name,) or other.name not in theirs:
                continue
            entry = visible(other, key)
            self.judged += 1
            if entry is not None and entry.version < version:
                text = f"{node.name} answers with {key!r} v{version:#x}, {other.name} has {entry}"
                raise Violation(KEPT, text)

    # --- what is held ---------------------------------------------------------------------------

    def looked_at(self, node: SimNode, has_new_map: bool) -> None:
        """A node has done something."""
        if not self._least:
            return
        steps = self._steps[node.name] = self._steps.get(node.name, 0) + 1
        if has_new_map or steps % EACH == 0:
            self._judge(node, self._least)
            self._judge_audit(node)

    def _judge_audit(self, node: SimNode) -> None:
        audit = _front(node)._shard._auditor
        if audit.stale and self._waits:
            raise Violation(OLDER, f"{node.name} has found {audit.stale} by itself")

    def _judge(self, node: SimNode, keys: Iterable[bytes]) -> None:
        if not self._is_up_to_date(node):
            return
        least, now, see = self._least, node.clock(), _front(node)._shard._holdings.visible
        for key in keys:
            entry = see(key, now)
            self.judged += 1
            if entry is not None and entry.version < least[key]:
                raise Violation(OLDER, f"{node.name} has {entry}, and v{least[key]:#x} was told")

    def _is_up_to_date(self, node: SimNode) -> bool:
        front: Any = node.front
        if front is None or front._map.version != self.newest_map.version:
            return False
        me = self.newest_map.member(node.name)
        is_ours = me is not None and me.process == front._ownership._token
        return me is not None and is_ours and me.state is NodeState.UP

    def are_kept_beside(self, victims: tuple[str, ...]) -> bool:
        """Whether the other nodes have copies of all that the victims own, as the newest map wants
        it."""
        if any(victim in m.apart for m in self.newest_map.members for victim in victims):
            return False
        others = [node for node in self.nodes if node.name not in victims]
        return all(
            self._is_up_to_date(node) and _front(node)._shard.keeping.is_whole for node in others
        )

    # --- at the end -----------------------------------------------------------------------------

    def why_not_whole(self) -> str:
        """What keeps copies from being all that they should be; empty if nothing does."""
        for member in self.newest_map.members:
            if member.filling or member.apart:
                return f"{member.id} is filling {member.filling}, apart from {member.apart}"
        for node in self.nodes:
            shard = _front(node)._shard
            if not shard.keeping.is_whole or shard.streams.is_busy:
                return f"{node.name} misses {shard.keeping.missing} slots, or sends"
        return ""

    def compare(self, all_of_them: bool) -> None:
        """Every copy is what its owner has, when nobody writes. ``all_of_them``: and there is one
        wherever one should be, for memory has room for all."""
        by_name = {node.name: node for node in self.nodes}
        for key, slot in self._slots.items():
            owner, *others = _front(self.nodes[0])._shard.keeping.table[slot]
            owners = visible(by_name[owner], key)
            for other in others:
                copy = visible(by_name[other], key)
                if not self._agree(key, owners, copy, all_of_them):
                    raise Violation(AGREE, f"{owner} has {key!r} as {owners}, {other} as {copy}")

    def _agree(self, key: bytes, owners: Entry | None, copy: Entry | None,
               all_of_them: bool) -> bool:  # fmt: skip
        """Who handed the slot over may have a write that it never had confirmed, and that nobody
        was told of."""
        newest = max(self._least.get(key, 0), owners.version if owners is not None else 0)
        if copy is not None and copy.version > newest:
            return True
        if owners is None or copy is None:  # either may have been evicted by itself
            return owners is copy or not all_of_them
        both_in_hot = owners.place == copy.place == HOT
        is_same = (owners.version, owners.flags) == (copy.version, copy.flags)
        return is_same and (not both_in_hot or owners.value == copy.value)


def visible(node: SimNode, key: bytes) -> Entry | None:
    """The entry that the node would serve, did it own the key."""
    found: Entry | None = _front(node)._shard._holdings.visible(key, node.clock())
    return found


def _front(node: SimNode) -> Any:
    return node.front

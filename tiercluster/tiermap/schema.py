"""What stands in each frame of the tier map, in every version that is spoken.

A version only adds: fields at the end of what they belong to in `NEWER_FIELDS`, commands in
`NEWER_COMMANDS`. A value that says nothing of what is newer is written as it always was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from . import commands
from .commands import Command
from .delta import MapDelta
from .forms import (
    COUNT,
    EVIDENCE,
    FLAG,
    NODE_ID,
    NUMBER,
    SHARE,
    WEIGHT,
    Form,
    many,
    record,
    text,
    whole,
    word,
)
from .limits import (
    MAX_ADDRESS_BYTES,
    MAX_EVENTS,
    MAX_ID_BYTES,
    MAX_LEVEL,
    MAX_MEMBERS,
    MAX_OUTCOMES,
    MAX_REASON_BYTES,
    MAX_REPLICAS,
)
from .types import (
    LEVEL,
    TIERS,
    Admin,
    Event,
    Health,
    MapState,
    Member,
    NodeState,
    Outcome,
    OutcomeCode,
    Tier,
    TierMap,
    TierRecord,
    TierRef,
)

OLDEST_VERSION: Final = 1
CODEC_VERSION: Final = LEVEL  # the newest

# The version in which a field or a command came.
NEWER_FIELDS: dict[type[Any], dict[str, int]] = {
    commands.NodeJoined: {"level": 2, "replicas": 2},
    Member: {"level": 2, "filling": 2, "apart": 2, "apart_version": 2},
    TierMap: {"replicas": 2, "copies_since": 2},
    MapDelta: {"replicas": 2, "copies_since": 2},
}
NEWER_COMMANDS: dict[type[Command], int] = {
    commands.LevelRaised: 2,
    commands.NodeFilled: 2,
    commands.CopiesApart: 2,
    commands.CopiesTogether: 2,
}

_ID, _NAME, _REASON = text(MAX_ID_BYTES, 1), text(MAX_ID_BYTES), text(MAX_REASON_BYTES)
_ADDRESS, _TIER, _TIERS = text(MAX_ADDRESS_BYTES), word(Tier), many(word(Tier), len(TIERS))
_MEMBER_IDS, _LEVEL = many(NODE_ID, MAX_MEMBERS), whole(1, MAX_LEVEL)


def _unpack_ref(plain: Any) -> TierRef:
    node, tier = plain if isinstance(plain, list) and len(plain) == 2 else (None, None)
    return TierRef(NODE_ID.unpack(node), _TIER.unpack(tier))


_REF: Form[TierRef] = Form(lambda r: [NODE_ID.pack(r.node), _TIER.pack(r.tier)], _unpack_ref)

_ENVELOPE: dict[str, Form[Any]] = {"id": _ID, "by": _NAME, "time": NUMBER}
_COMMAND_FORMS: dict[str, Form[Any]] = _ENVELOPE | {
    "node": NODE_ID,
    "cluster": _NAME,
    "address": _ADDRESS,
    "raft": _ADDRESS,
    "weight": WEIGHT,
    "expected": _NAME,
    "incarnation": _ID,
    "by_incarnation": _NAME,
    "known": COUNT,
    "keep_cold": FLAG,
    "max_unavailable": SHARE,
    "level": _LEVEL,
    "replicas": whole(1, MAX_REPLICAS),
    "map_digest": _NAME,
    "force": FLAG,
    "keep": FLAG,
    "ref": _REF,
    "tiers": _TIERS,
    "generation": COUNT,
    "reason": _REASON,
    "evidence": EVIDENCE,
}
_KINDS: dict[str, type[Command]] = {
    "node_joined": commands.NodeJoined,
    "node_stopped": commands.NodeStopped,
    "report_unreachable": commands.ReportUnreachable,
    "report_reachable": commands.ReportReachable,
    "remove_node": commands.RemoveNode,
    "tier_failed": commands.TierFailed,
    "tier_recovering": commands.TierRecovering,
    "tier_recovered": commands.TierRecovered,
    "drain": commands.Drain,
    "drained": commands.Drained,
    "restore": commands.Restore,
    "level_raised": commands.LevelRaised,
    "node_filled": commands.NodeFilled,
    "copies_apart": commands.CopiesApart,
    "copies_together": commands.CopiesTogether,
    "barrier": commands.Barrier,
}
NAMES: dict[type[Command], str] = {kind: name for name, kind in _KINDS.items()}

_RECORD = record(
    TierRecord,
    {
        "tier": _TIER,
        "health": word(Health),
        "admin": word(Admin),
        "generation": COUNT,
        "suspect": FLAG,
        "reason": _REASON,
        "by": _NAME,
        "since_version": COUNT,
        "evidence": EVIDENCE,
    },
)
_MEMBER_FORMS: dict[str, Form[Any]] = {
    "id": NODE_ID,
    "address": _ADDRESS,
    "raft": _ADDRESS,
    "weight": WEIGHT,
    "state": word(NodeState),
    "incarnation": _NAME,
    "unreachable_by": _MEMBER_IDS,
    "reason": _REASON,
    "since_version": COUNT,
    "tiers": many(_RECORD, len(TIERS)),
    "level": _LEVEL,
    "filling": FLAG,
    "apart": _MEMBER_IDS,
    "apart_version": COUNT,
}
_HEAD: dict[str, Form[Any]] = {
    "cluster": _NAME,
    "version": COUNT,
    "ring_version": COUNT,
    "digest": _NAME,
    "max_unavailable": SHARE,
    "founded": _NAME,
    "replicas": whole(0, MAX_REPLICAS),
    "copies_since": COUNT,
}
EVENT = record(
    Event,
    {
        "version": COUNT,
        "time": NUMBER,
        "ref": text(MAX_ID_BYTES),
        "from_state": text(16),
        "to_state": text(16),
        "by": _NAME,
        "reason": _REASON,
        "evidence": EVIDENCE,
    },
)
_OUTCOME = record(
    Outcome,
    {"command_id": _ID, "code": word(OutcomeCode), "reason": _REASON, "version": COUNT},
)


@dataclass(frozen=True, slots=True)
class Schema:
    """The forms of one version."""

    commands: Mapping[str, Form[Any]]
    map: Form[TierMap]
    delta: Form[MapDelta]
    state: Form[MapState]


def _schema(version: int) -> Schema:
    def form(kind: type[Any], forms: Mapping[str, Form[Any]]) -> Form[Any]:
        newer = NEWER_FIELDS.get(kind, {})
        return record(kind, forms, without=[n for n, came in newer.items() if came > version])

    members = many(form(Member, _MEMBER_FORMS), MAX_MEMBERS)
    tier_map = form(TierMap, _HEAD | {"members": members})
    base: dict[str, Form[Any]] = {"base_version": COUNT, "base_digest": _NAME}
    return Schema(
        commands={
            name: form(kind, _COMMAND_FORMS)
            for name, kind in _KINDS.items()
            if NEWER_COMMANDS.get(kind, OLDEST_VERSION) <= version
        },
        map=tier_map,
        delta=form(MapDelta, _HEAD | base | {"changed": members, "gone": _MEMBER_IDS}),
        state=record(
            MapState,
            {
                "map": tier_map,
                "events": many(EVENT, MAX_EVENTS),
                "outcomes": many(_OUTCOME, MAX_OUTCOMES),
            },
        ),
    )


SCHEMAS: dict[int, Schema] = {v: _schema(v) for v in range(OLDEST_VERSION, CODEC_VERSION + 1)}
_DEFAULTS: dict[type[Any], dict[str, Any]] = {
    kind: {f.name: f.default for f in fields(kind) if f.name in newer}
    for kind, newer in NEWER_FIELDS.items()
}


def version_of(command: Command) -> int:
    """The lowest that can say all of this command."""
    return max(_said_since(command), NEWER_COMMANDS.get(type(command), OLDEST_VERSION))


def version_of_map(tier_map: TierMap | MapDelta) -> int:
    """The lowest that can say all of this map or difference."""
    members = tier_map.members if isinstance(tier_map, TierMap) else tier_map.changed
    return max(map(_said_since, (tier_map, *members)))


def _said_since(value: Any) -> int:
    """In which version the newest field came that is not at its default."""
    newer = NEWER_FIELDS.get(type(value))
    if newer is None:
        return OLDEST_VERSION
    defaults = _DEFAULTS[type(value)]
    said = (came for name, came in newer.items() if getattr(value, name) != defaults[name])
    return max(said, default=OLDEST_VERSION)

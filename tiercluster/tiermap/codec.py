"""Frames of the tier map: commands, states, maps, events and deltas as canonical CBOR.

A frame is one array ``[CODEC_VERSION, kind, fields...]``, the fields in the order of the dataclass.
Equal values give equal frames. Decoding takes bytes from anywhere and raises ValueError only:
sizes, counts and depths are checked before anything is made (see `cbor`), every field by its form.
Encoding makes the same checks, so what was encoded can be decoded by every member.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from . import cbor, commands
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
    word,
)
from .limits import (
    MAX_ADDRESS_BYTES,
    MAX_EVENTS,
    MAX_ID_BYTES,
    MAX_MEMBERS,
    MAX_OUTCOMES,
    MAX_REASON_BYTES,
)
from .types import (
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

CODEC_VERSION: Final = 1
MAX_COMMAND_BYTES: Final = 64 * 1024
MAX_EVENT_BYTES: Final = 16 * 1024
MAX_STATE_BYTES: Final = 16 * 1024 * 1024

_ID, _NAME, _REASON = text(MAX_ID_BYTES, 1), text(MAX_ID_BYTES), text(MAX_REASON_BYTES)
_ADDRESS, _TIER, _TIERS = text(MAX_ADDRESS_BYTES), word(Tier), many(word(Tier), len(TIERS))
_MEMBER_IDS = many(NODE_ID, MAX_MEMBERS)


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
    "keep_cold": FLAG,
    "max_unavailable": SHARE,
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
    "barrier": commands.Barrier,
}
_COMMANDS: dict[str, Form[Any]] = {
    name: record(kind, _COMMAND_FORMS) for name, kind in _KINDS.items()
}
_NAMES: dict[type[Command], str] = {kind: name for name, kind in _KINDS.items()}

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
_MEMBER = record(
    Member,
    {
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
    },
)
_HEAD: dict[str, Form[Any]] = {
    "cluster": _NAME,
    "version": COUNT,
    "ring_version": COUNT,
    "digest": _NAME,
    "max_unavailable": SHARE,
    "founded": _NAME,
}
_MAP = record(TierMap, _HEAD | {"members": many(_MEMBER, MAX_MEMBERS)})
_DELTA = record(
    MapDelta,
    _HEAD
    | {
        "base_version": COUNT,
        "base_digest": _NAME,
        "changed": many(_MEMBER, MAX_MEMBERS),
        "gone": _MEMBER_IDS,
    },
)
_EVENT = record(
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
_STATE = record(
    MapState,
    {"map": _MAP, "events": many(_EVENT, MAX_EVENTS), "outcomes": many(_OUTCOME, MAX_OUTCOMES)},
)


def _frame(kind: str, fields: list[Any], max_bytes: int) -> bytes:
    frame = cbor.dumps([CODEC_VERSION, kind, *fields])
    if len(frame) > max_bytes:
        raise ValueError(f"{kind} of {len(frame)} bytes; the limit is {max_bytes}")
    return frame


def _fields(frame: bytes, max_bytes: int) -> tuple[str, list[Any]]:
    plain = cbor.loads(frame, max_bytes)
    if not isinstance(plain, list) or len(plain) < 2 or not isinstance(plain[1], str):
        raise ValueError("not a frame of the tier map")
    version, kind, *fields = plain
    if version != CODEC_VERSION or isinstance(version, bool | float):
        raise ValueError(f"codec version {str(version)[:20]}; this member speaks {CODEC_VERSION}")
    return kind, fields


def _fields_of(wanted: str, frame: bytes, max_bytes: int) -> list[Any]:
    kind, fields = _fields(frame, max_bytes)
    if kind != wanted:
        raise ValueError(f"a frame of kind {kind[:40]!r} where {wanted!r} was expected")
    return fields


def encode_command(command: Command) -> bytes:
    """ValueError if a field is outside its limits."""
    name = _NAMES[type(command)]
    return _frame(name, _COMMANDS[name].pack(command), MAX_COMMAND_BYTES)


def decode_command(frame: bytes) -> Command:
    """ValueError for anything but a frame of encode_command."""
    kind, fields = _fields(frame, MAX_COMMAND_BYTES)
    if kind not in _COMMANDS:
        raise ValueError(f"unknown command {kind[:40]!r}")
    command: Command = _COMMANDS[kind].unpack(fields)
    return command


def encode_state(state: MapState) -> bytes:
    """A snapshot; ValueError past MAX_STATE_BYTES."""
    return _frame("state", _STATE.pack(state), MAX_STATE_BYTES)


def decode_state(frame: bytes) -> MapState:
    """ValueError for anything but a frame of encode_state."""
    state = _STATE.unpack(_fields_of("state", frame, MAX_STATE_BYTES))
    _check_members(state.map.members)
    return state


def encode_map(tier_map: TierMap) -> bytes:
    """The map alone, as clients and followers get it."""
    return _frame("map", _MAP.pack(tier_map), MAX_STATE_BYTES)


def decode_map(frame: bytes) -> TierMap:
    """ValueError for anything but a frame of encode_map."""
    tier_map = _MAP.unpack(_fields_of("map", frame, MAX_STATE_BYTES))
    _check_members(tier_map.members)
    return tier_map


def encode_delta(delta: MapDelta) -> bytes:
    """What `delta.diff` found between two maps."""
    return _frame("delta", _DELTA.pack(delta), MAX_STATE_BYTES)


def decode_delta(frame: bytes) -> MapDelta:
    """ValueError for anything but a frame of encode_delta."""
    delta = _DELTA.unpack(_fields_of("delta", frame, MAX_STATE_BYTES))
    _check_members(delta.changed)
    return delta


def encode_event(event: Event) -> bytes:
    """One committed change."""
    return _frame("event", _EVENT.pack(event), MAX_EVENT_BYTES)


def decode_event(frame: bytes) -> Event:
    """ValueError for anything but a frame of encode_event."""
    return _EVENT.unpack(_fields_of("event", frame, MAX_EVENT_BYTES))


def event_to_json(event: Event) -> dict[str, object]:
    """One event as `tiercluster events --json` prints it."""
    return {
        "version": event.version,
        "time": event.time,
        "ref": event.ref,
        "from": event.from_state,
        "to": event.to_state,
        "by": event.by,
        "reason": event.reason,
        "evidence": dict(event.evidence),
    }


def event_from_json(fields: Mapping[str, Any]) -> Event:
    """The inverse of event_to_json; ValueError for anything else."""
    try:
        evidence = list(fields["evidence"].items())
        names = ("version", "time", "ref", "from", "to", "by", "reason")
        return _EVENT.unpack([*(fields[name] for name in names), evidence])
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"no event: {error!r}") from error


def _check_members(members: tuple[Member, ...]) -> None:
    """Order and completeness, which the routing and the deltas rely on."""
    ids = [member.id for member in members]
    if ids != sorted(set(ids)):
        raise ValueError("members are not in the order of their ids")
    if any(tuple(r.tier for r in member.tiers) != TIERS for member in members):
        raise ValueError("a member needs the three tiers in their order")

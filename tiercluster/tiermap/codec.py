"""Frames of the tier map: commands, states, maps, events and deltas as canonical CBOR.

A frame is one array ``[version, kind, fields...]``, the fields in the order of the dataclass. Its
version is the lowest that can say all of the value (`schema`), so that whoever speaks an older one
reads what it can know of, byte for byte as it would write it; equal values give equal frames.
Decoding takes bytes from anywhere and raises ValueError only: sizes, counts and depths are checked
before anything is made (see `cbor`), every field by its form. Encoding makes the same checks, so
what was encoded can be decoded by every member.

``newest`` is the newest version that the reader speaks. What later ones added is left out then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from . import cbor
from .commands import Command
from .delta import MapDelta
from .schema import (
    CODEC_VERSION,
    EVENT,
    NAMES,
    OLDEST_VERSION,
    SCHEMAS,
    version_of,
    version_of_map,
)
from .types import TIERS, Event, MapState, Member, TierMap

MAX_COMMAND_BYTES: Final = 64 * 1024
MAX_EVENT_BYTES: Final = 16 * 1024
MAX_STATE_BYTES: Final = 16 * 1024 * 1024


def _frame(version: int, kind: str, fields: list[Any], max_bytes: int) -> bytes:
    frame = cbor.dumps([version, kind, *fields])
    if len(frame) > max_bytes:
        raise ValueError(f"{kind} of {len(frame)} bytes; the limit is {max_bytes}")
    return frame


def _fields(frame: bytes, max_bytes: int) -> tuple[int, str, list[Any]]:
    plain = cbor.loads(frame, max_bytes)
    if not isinstance(plain, list) or len(plain) < 2 or not isinstance(plain[1], str):
        raise ValueError("not a frame of the tier map")
    version, kind, *fields = plain
    if type(version) is not int or version not in SCHEMAS:
        spoken = f"{OLDEST_VERSION} to {CODEC_VERSION}"
        raise ValueError(f"codec version {str(version)[:20]}; this member speaks {spoken}")
    return version, kind, fields


def _fields_of(wanted: str, frame: bytes, max_bytes: int) -> tuple[int, list[Any]]:
    version, kind, fields = _fields(frame, max_bytes)
    if kind != wanted:
        raise ValueError(f"a frame of kind {kind[:40]!r} where {wanted!r} was expected")
    return version, fields


def encode_command(command: Command, newest: int = CODEC_VERSION) -> bytes:
    """ValueError if a field is outside its limits, or ``newest`` has no such command."""
    version, name = min(version_of(command), newest), NAMES[type(command)]
    form = SCHEMAS[version].commands.get(name)
    if form is None:
        raise ValueError(f"{name} cannot be said in version {version}")
    return _frame(version, name, form.pack(command), MAX_COMMAND_BYTES)


def decode_command(frame: bytes) -> Command:
    """ValueError for anything but a frame of encode_command."""
    version, kind, fields = _fields(frame, MAX_COMMAND_BYTES)
    form = SCHEMAS[version].commands.get(kind)
    if form is None:
        raise ValueError(f"unknown command {kind[:40]!r}")
    command: Command = form.unpack(fields)
    # A member of an older version would pass it over, so it must not mean what that could read.
    if version != version_of(command):
        raise ValueError(f"a command in version {version} that {version_of(command)} can say")
    return command


def encode_state(state: MapState) -> bytes:
    """A snapshot; ValueError past MAX_STATE_BYTES."""
    version = version_of_map(state.map)
    return _frame(version, "state", SCHEMAS[version].state.pack(state), MAX_STATE_BYTES)


def decode_state(frame: bytes) -> MapState:
    """ValueError for anything but a frame of encode_state."""
    version, fields = _fields_of("state", frame, MAX_STATE_BYTES)
    state = SCHEMAS[version].state.unpack(fields)
    _check_members(state.map.members)
    return state


def encode_map(tier_map: TierMap, newest: int = CODEC_VERSION) -> bytes:
    """The map alone, as clients and followers get it."""
    version = min(version_of_map(tier_map), newest)
    return _frame(version, "map", SCHEMAS[version].map.pack(tier_map), MAX_STATE_BYTES)


def decode_map(frame: bytes) -> TierMap:
    """ValueError for anything but a frame of encode_map."""
    version, fields = _fields_of("map", frame, MAX_STATE_BYTES)
    tier_map = SCHEMAS[version].map.unpack(fields)
    _check_members(tier_map.members)
    return tier_map


def encode_delta(delta: MapDelta, newest: int = CODEC_VERSION) -> bytes:
    """What `delta.diff` found between two maps."""
    version = min(version_of_map(delta), newest)
    return _frame(version, "delta", SCHEMAS[version].delta.pack(delta), MAX_STATE_BYTES)


def decode_delta(frame: bytes) -> MapDelta:
    """ValueError for anything but a frame of encode_delta."""
    version, fields = _fields_of("delta", frame, MAX_STATE_BYTES)
    delta = SCHEMAS[version].delta.unpack(fields)
    _check_members(delta.changed)
    return delta


def encode_event(event: Event) -> bytes:
    """One committed change."""
    return _frame(OLDEST_VERSION, "event", EVENT.pack(event), MAX_EVENT_BYTES)


def decode_event(frame: bytes) -> Event:
    """ValueError for anything but a frame of encode_event."""
    return EVENT.unpack(_fields_of("event", frame, MAX_EVENT_BYTES)[1])


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
        return EVENT.unpack([*(fields[name] for name in names), evidence])
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"no event: {error!r}") from error


def _check_members(members: tuple[Member, ...]) -> None:
    """Order and completeness, which the routing and the deltas rely on."""
    ids = [member.id for member in members]
    if ids != sorted(set(ids)):
        raise ValueError("members are not in the order of their ids")
    if any(tuple(r.tier for r in member.tiers) != TIERS for member in members):
        raise ValueError("a member needs the three tiers in their order")

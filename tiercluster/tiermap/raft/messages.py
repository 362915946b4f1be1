"""What members say to each other: one CBOR array for each message, every field checked.

    [1, "hello", cluster, sender, session, echo, term, last_index, applied, digest]
    [2, "hello", cluster, sender, session, echo, term, last_index, applied, digest, oldest, newest]
    [version, "raft", sender's session, receiver's session, kind, field, ...]

A hello of version 2 says which versions its sender speaks; who sends one of version 1 speaks that,
as far as is known. Raft messages are the same in both.

``decode`` answers with a message or raises ValueError; the fields of a Raft message have the types
that the library relies on, so a hostile one cannot make it raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any

from . import cbor
from .settings import MAX_MESSAGE_BYTES

OLDEST, NEWEST = 1, 2
MAX_TEXT = 256
MAX_COUNT = 2**63 - 1

Body = dict[str, Any]  # a message as pysyncobj makes and takes it


@dataclass(frozen=True, slots=True)
class Hello:
    """Sent to each peer when something is new and every ``keep_warm_s``. A session is one life of
    one process (or less); ``echo`` is the receiver's session as the sender knows it, 0 if it does
    not. ``applied`` and ``digest`` let members compare their states. ``oldest`` and ``newest`` are
    the versions that the sender speaks."""

    cluster: str
    sender: str
    session: int
    echo: int
    term: int
    last_index: int
    applied: int = 0
    digest: str = ""
    oldest: int = 1
    newest: int = 1


@dataclass(frozen=True, slots=True)
class Raft:
    """A message of the consensus, valid only between these two sessions."""

    session: int
    to_session: int
    body: Body


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _optional_count(value: object) -> bool:
    return value is None or _count(value)


def _text(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT


def _flag(value: object) -> bool:
    return type(value) is bool


def _bytes(value: object) -> bool:
    return type(value) is bytes


def _entry(value: object) -> bool:
    return (
        type(value) is list
        and len(value) == 3
        and _bytes(value[0])
        and len(value[0]) > 0
        and _count(value[1])
        and _count(value[2])
    )


def _entries(value: object) -> bool:
    """Log entries with consecutive indices."""
    return (
        type(value) is list
        and all(_entry(entry) for entry in value)
        and all(b[1] == a[1] + 1 for a, b in pairwise(value))
    )


def _chunk(value: object) -> bool:
    if value is None:
        return True
    return (
        type(value) is list
        and len(value) == 3
        and _bytes(value[0])
        and _flag(value[1])
        and _flag(value[2])
    )


Check = Callable[[object], bool]

# kind on the wire -> (type in the library, fields in their order)
SHAPES: dict[str, tuple[str, dict[str, Check]]] = {
    "pre_vote": (
        "pre_vote",
        {"round": _count, "last_log_index": _count, "last_log_term": _count},
    ),
    "pre_vote_answer": ("pre_vote_answer", {"round": _count, "term": _count, "granted": _flag}),
    "request_vote": (
        "request_vote",
        {"term": _count, "last_log_index": _count, "last_log_term": _count},
    ),
    "response_vote": ("response_vote", {"term": _count}),
    "append": (
        "append_entries",
        {
            "term": _count,
            "commit_index": _count,
            "entries": _entries,
            "prevLogIdx": _optional_count,
            "prevLogTerm": _optional_count,
        },
    ),
    "snapshot": ("append_entries", {"term": _count, "commit_index": _count, "serialized": _chunk}),
    "next": (
        "next_node_idx",
        {"next_node_idx": _count, "reset": _flag, "success": _flag, "term": _count},
    ),
    "command": ("apply_command", {"command": _bytes}),
    "command_asked": ("apply_command", {"command": _bytes, "request_id": _count}),
    "command_taken": (
        "apply_command_response",
        {"request_id": _count, "log_idx": _count, "log_term": _count},
    ),
    "command_refused": ("apply_command_response", {"request_id": _count, "error": _count}),
}

_KIND_OF = {
    (library_type, frozenset(fields)): kind for kind, (library_type, fields) in SHAPES.items()
}

_HELLO: tuple[Check, ...] = (_text, _text, _count, _count, _count, _count, _count, _text)
_HELLOS: dict[int, tuple[Check, ...]] = {1: _HELLO, 2: (*_HELLO, _count, _count)}


def encode_hello(hello: Hello) -> bytes:
    """In version 1 if its sender speaks no other."""
    version = 1 if hello.newest == 1 else 2
    return cbor.dumps([version, "hello", *astuple(hello)[: len(_HELLOS[version])]])


def encode_raft(session: int, to_session: int, body: Body, version: int = OLDEST) -> bytes:
    """KeyError for a message of the library that this protocol does not know."""
    kind = _KIND_OF[body["type"], frozenset(body) - {"type"}]
    fields = [body[name] for name in SHAPES[kind][1]]
    return cbor.dumps([version, "raft", session, to_session, kind, *fields])


def decode(data: bytes) -> Hello | Raft:
    """ValueError for whatever is not exactly a message of a version that is spoken here."""
    match cbor.loads(data, MAX_MESSAGE_BYTES):
        case [int(version), "hello", *rest] if version in _HELLOS:
            return Hello(*_checked(rest, _HELLOS[version]))
        case [int(version), "raft", session, to_session, str(kind), *rest] if (
            OLDEST <= version <= NEWEST and kind in SHAPES
        ):
            _checked([session, to_session], (_count, _count))
            library_type, fields = SHAPES[kind]
            values = _checked(rest, tuple(fields.values()))
            return Raft(
                session,
                to_session,
                {"type": library_type, **dict(zip(fields, values, strict=True))},
            )
        case [int(version), str(_), *_] if version > NEWEST:
            raise ValueError(f"version {version}; this node speaks {OLDEST} to {NEWEST}")
        case _:
            raise ValueError("no message of this protocol")


def _checked(values: list[Any], checks: tuple[Check, ...]) -> list[Any]:
    if len(values) != len(checks):
        raise ValueError(f"{len(values)} fields, {len(checks)} are needed")
    for value, check in zip(values, checks, strict=True):
        if not check(value):
            raise ValueError(f"a field is wrong: {check.__name__}")
    return values

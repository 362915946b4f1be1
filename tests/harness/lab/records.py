"""What the clients of a laboratory were asked to do and what they were told: plans and histories.

All processes of a machine share one monotonic clock, so calls of several clients can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cbor2

from tiercluster.checks.lincheck import Op

OWN, SHARED = "own", "shared"  # keys with one writer each, keys that all write


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """What one client process does. ``own`` are the keys it alone writes, ``all_own`` those of all
    clients, which it reads; ``shared`` are written by all. ``pause_s``: between the calls of one
    thread."""

    name: str
    nodes: str
    keys: str
    out: str
    seed: int
    own: tuple[str, ...]
    all_own: tuple[str, ...]
    shared: tuple[str, ...]
    counters: tuple[str, ...]
    value_bytes: int
    threads: int
    pause_s: float
    timeout_s: float

    def save(self, path: Path) -> None:
        path.write_bytes(cbor2.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> ClientPlan:
        fields = cbor2.loads(path.read_bytes())
        lists = ("own", "all_own", "shared", "counters")
        return cls(**fields | {name: tuple(fields[name]) for name in lists})


class Call(NamedTuple):
    """A call about a key with one writer. ``number``: what was written or found, None for a miss;
    ``error``: the exception's name, empty if it was answered; ``stored``: for a write."""

    key: str
    f: str  # "r", "w" or "d"
    number: int | None
    start: float
    end: float
    error: str
    stored: bool


@dataclass(slots=True)
class ClientHistory:
    """All calls of one client process; ``owners``: who owned its keys at the start."""

    name: str
    calls: list[Call] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def count(self, error: str) -> None:
        self.errors[error] = self.errors.get(error, 0) + 1

    def save(self, path: Path) -> None:
        path.write_bytes(cbor2.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> ClientHistory:
        fields: dict[str, Any] = cbor2.loads(path.read_bytes())
        ops = [Op(*_hashable(op)) for op in fields.pop("ops")]
        calls = [Call(*call) for call in fields.pop("calls")]
        return cls(**fields, calls=calls, ops=ops)


def _hashable(op: Sequence[Any]) -> list[Any]:
    return [tuple(value) if isinstance(value, list) else value for value in op]

"""What a replica tells its node: frozen events, delivered from the replica's own thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Applied(Generic[S]):
    """The applied state has changed since the last tick, by entries or by a snapshot."""

    state: S


@dataclass(frozen=True, slots=True)
class Standing:
    """Who leads, as far as this member can tell. ``quorum``: a leader and a majority were heard of
    each other within the fallback time; act on leadership only with it. ``level``: the newest
    version that a majority of the voters speak, this one included."""

    leader: str | None
    is_leader: bool
    quorum: bool
    term: int
    level: int = 1


@dataclass(frozen=True, slots=True)
class Counted:
    """What has been counted since the start of the process; told when it has changed."""

    denied: int = 0  # connections with an unknown key
    refused: int = 0  # messages that were none, or not for this member
    digest_mismatches: int = 0  # states of other members that differ after the same entry
    failed_frames: int = 0  # entries that raised, hence had no effect

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            self.denied + other.denied,
            self.refused + other.refused,
            self.digest_mismatches + other.digest_mismatches,
            self.failed_frames + other.failed_frames,
        )


@dataclass(frozen=True, slots=True)
class BarrierDone:
    """``ok``: what was committed before the barrier was asked for has been applied here."""

    token: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Sick:
    """This member is out of voting; ``reason`` says what happened and what to do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Healed:
    """This member takes part again."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """The replica's loop has not come round for long (its disk hangs), or does so again. Told by
    who watches it."""

    is_stalled: bool


ReplicaEvent = Applied[S] | Standing | Counted | BarrierDone | Sick | Healed | Stalled

"""Term and vote in a small file that is durable before any vote is answered.

The commit index stands there too, as a hint written about once a second: with it a restart applies
what it knows to be committed before it has found a leader, and damage at the journal's end that
reaches below it is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import cbor
from .files import REJOIN, DamagedError, read_file, replace_durably, seal, unseal_plain

MAGIC = b"tcV1"
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Vote:
    term: int = 0
    voted_for: str | None = None
    commit: int = 1


def read_vote(path: Path) -> Vote | None:
    """None when there is no such file; DamagedError when it cannot be trusted."""
    data = read_file(path, MAX_BYTES)
    if data is None:
        return None
    match unseal_plain(path, MAGIC, data, MAX_BYTES):
        case [int(term), (str() | None) as voted_for, int(commit)]:
            return Vote(term, voted_for, commit)
        case _:
            raise DamagedError(f"{path} holds no vote; {REJOIN}")


def write_vote(path: Path, vote: Vote, fsync: bool) -> None:
    """JournalError if it could not be made durable."""
    body = cbor.dumps([vote.term, vote.voted_for, vote.commit])
    replace_durably(path, seal(MAGIC, body), fsync)

"""The replicated state machine as the replica sees it: pure functions of immutable states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Machine(Generic[S]):
    """``apply`` is deterministic and does not raise; ``decode`` raises ValueError for bad bytes."""

    initial: S
    apply: Callable[[S, bytes], S]
    encode: Callable[[S], bytes]
    decode: Callable[[bytes], S]
    digest: Callable[[S], str]
    version: Callable[[S], int]
    level: Callable[[S], int] = lambda state: 1  # members that speak less are refused

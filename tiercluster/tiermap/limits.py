"""The limits of what the map may hold, and how texts and evidence are made to fit them."""

from __future__ import annotations

import math

from .types import Evidence

MAX_MEMBERS = 1024  # LEFT ones included; the longest gone makes room for a new one
MAX_EVENTS = 1000
MAX_OUTCOMES = 1024
MAX_NODE_ID_CHARS = 64
MAX_ID_BYTES = 128  # command ids, incarnations, proposers, cluster ids
MAX_ADDRESS_BYTES = 255
MAX_REASON_BYTES = 512
MAX_EVIDENCE_ITEMS = 16
MAX_EVIDENCE_BYTES = 1024  # all keys and values of one evidence together
MAX_COUNT = 2**62  # versions and generations; far from where CBOR needs big numbers
MIN_WEIGHT = 1e-3
MAX_WEIGHT = 1e6
MAX_REPLICAS = 3
MAX_LEVEL = 1000


def brief(text: str, limit: int = MAX_REASON_BYTES) -> str:
    """``text`` cut to ``limit`` bytes of UTF-8, with an ellipsis where something is missing."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"


def evidence(**facts: str | int | float) -> Evidence:
    """Facts as evidence that every codec accepts: long texts are cut, what is no finite number
    becomes text, and what goes past the limits is left out."""
    kept: list[tuple[str, str | int | float]] = []
    room = MAX_EVIDENCE_BYTES
    for key, value in list(facts.items())[:MAX_EVIDENCE_ITEMS]:
        fact = (brief(key, 64), _fitting(value))
        room -= fact_bytes(*fact)
        if room < 0:
            break
        kept.append(fact)
    return tuple(kept)


def fact_bytes(key: str, value: str | int | float) -> int:
    """What one fact counts against MAX_EVIDENCE_BYTES."""
    return len(key.encode()) + (len(value.encode()) if isinstance(value, str) else 9)


def _fitting(value: str | int | float) -> str | int | float:
    if isinstance(value, str):
        return brief(value, 256)
    return value if math.isfinite(value) and abs(value) <= MAX_COUNT else brief(str(value), 32)

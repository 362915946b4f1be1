"""Forms: how one kind of value becomes plain lists and back, checked in both directions.

A form packs to what CBOR can carry and unpacks with the same checks; both raise ValueError.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from .limits import (
    MAX_COUNT,
    MAX_EVIDENCE_BYTES,
    MAX_EVIDENCE_ITEMS,
    MAX_NODE_ID_CHARS,
    MAX_WEIGHT,
    MIN_WEIGHT,
    fact_bytes,
)

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Fact = tuple[str, str | int | float]

_NODE_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NODE_ID_CHARS - 1}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """``pack`` a value to plain data, ``unpack`` plain data to a value."""

    pack: Callable[[T], Any]
    unpack: Callable[[Any], T]


def same(check: Callable[[Any], T]) -> Form[T]:
    """The form of a value that is plain already."""
    return Form(check, check)


def text(max_bytes: int, min_bytes: int = 0) -> Form[str]:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"a text was expected, not {type(value).__name__}")
        if not min_bytes <= len(value.encode()) <= max_bytes:
            raise ValueError(f"text of {len(value)} characters; {min_bytes} to {max_bytes} bytes")
        return value

    return same(check)


def _check_node_id(value: Any) -> str:
    if not isinstance(value, str) or not _NODE_ID.fullmatch(value):
        raise ValueError(
            f"{str(value)[:80]!r} is no node id: 1 to {MAX_NODE_ID_CHARS} letters, digits, . _ -"
        )
    return value


def _check_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false was expected, not {type(value).__name__}")
    return value


def _check_count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise ValueError("a count from 0 was expected")
    return value


def _check_number(value: Any) -> float:
    if not isinstance(value, int | float) or not -MAX_COUNT <= value <= MAX_COUNT:
        raise ValueError("a finite number was expected")
    return float(value)


def _check_weight(value: Any) -> float:
    number = _check_number(value)
    if not MIN_WEIGHT <= number <= MAX_WEIGHT:
        raise ValueError(f"weight {number}; {MIN_WEIGHT} to {MAX_WEIGHT}")
    return number


def _check_share(value: Any) -> float:
    number = _check_number(value)
    if not 0 <= number <= 1:
        raise ValueError(f"share {number}; 0 to 1")
    return number


def whole(least: int, most: int) -> Form[int]:
    """A whole number within limits."""

    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most} was expected")
        return value

    return same(check)


NODE_ID = same(_check_node_id)
FLAG = same(_check_flag)
COUNT = same(_check_count)
NUMBER = same(_check_number)
WEIGHT = same(_check_weight)
SHARE = same(_check_share)


def word(enum: type[E]) -> Form[E]:
    """One word of an enum."""
    return Form(lambda value: enum(value).value, enum)


def many(form: Form[T], limit: int) -> Form[tuple[T, ...]]:
    """A tuple of up to ``limit`` values of one form."""

    def pack(values: tuple[T, ...]) -> list[Any]:
        return [form.pack(value) for value in _at_most(limit, values, tuple)]

    def unpack(plain: Any) -> tuple[T, ...]:
        return tuple([form.unpack(value) for value in _at_most(limit, plain, list)])

    return Form(pack, unpack)


def _at_most(limit: int, values: Any, kind: type[list[Any]] | type[tuple[Any, ...]]) -> Any:
    if not isinstance(values, kind) or len(values) > limit:
        raise ValueError(f"a list of up to {limit} was expected")
    return values


def _check_fact(plain: Any) -> Fact:
    key, value = plain if isinstance(plain, list | tuple) and len(plain) == 2 else (None, None)
    if not isinstance(key, str) or not isinstance(value, str | int | float):
        raise ValueError("evidence is made of texts and numbers")
    if not isinstance(value, str) and not (math.isfinite(value) and abs(value) <= MAX_COUNT):
        raise ValueError(f"evidence {key[:80]!r} is no finite number")
    return key, value


_FACTS: Form[tuple[Fact, ...]] = many(
    Form(lambda fact: list(_check_fact(fact)), _check_fact), MAX_EVIDENCE_ITEMS
)


def _limited(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    if sum(fact_bytes(*fact) for fact in facts) > MAX_EVIDENCE_BYTES:
        raise ValueError(f"evidence larger than {MAX_EVIDENCE_BYTES} bytes")
    return facts


EVIDENCE: Form[tuple[Fact, ...]] = Form(
    lambda facts: _FACTS.pack(_limited(_FACTS.unpack(list(facts)))),
    lambda plain: _limited(_FACTS.unpack(plain)),
)


def record(kind: type[T], forms: Mapping[str, Form[Any]], without: Collection[str] = ()) -> Form[T]:
    """A dataclass as the list of its fields, in their order; each field needs its form. Those
    ``without`` are not written, and have their defaults when read."""
    names = tuple(field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]
    fields = tuple((name, forms[name]) for name in names if name not in without)

    def pack(value: T) -> list[Any]:
        return [form.pack(getattr(value, name)) for name, form in fields]

    def unpack(plain: Any) -> T:
        if not isinstance(plain, list) or len(plain) != len(fields):
            raise ValueError(f"{kind.__name__} has {len(fields)} fields")
        return kind(**{n: form.unpack(p) for (n, form), p in zip(fields, plain, strict=True)})

    return Form(pack, unpack)

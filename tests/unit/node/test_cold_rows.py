"""Rows that are not what the cold store writes, in a file that SQLite can read."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.tiers.cold import ColdStore, Opened


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE identity SET id = 'text'",
        "UPDATE identity SET id = 4000000000000",
        "DELETE FROM identity",
        "UPDATE marker SET generation = 'text'",
        "UPDATE marker SET incarnation = x'00'",
        "UPDATE entries SET flags = -1",
        "UPDATE entries SET flags = 'text'",
        "UPDATE entries SET version = 'text'",
        "UPDATE entries SET version = -128",
        "UPDATE entries SET expires_wall = 'text'",
    ],
)
def test_rows_of_another_kind_are_damage_and_the_store_is_set_aside(
    tmp_path: Path, damage: str
) -> None:
    store = ColdStore(tmp_path)
    store.open(wipe=True)
    store.put(b"\x00k", 1, 1, 0, None, b"v")
    store.close(("i", 1))
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute(damage)
    opened = store.open(wipe=False)
    assert isinstance(opened, Opened)
    assert opened.rows == ()
    assert "set aside" in opened.note
    assert store.probe() is None
    store.close()


def test_a_value_of_another_kind_is_damage(tmp_path: Path) -> None:
    store = ColdStore(tmp_path)
    store.open(wipe=True)
    store.put(b"\x00k", 1, 1, 0, None, b"v")
    store.commit()
    for damage in ("flags = -1", "flags = 2.5", "value = 7", "checksum = 'text'"):
        assert store._db is not None
        store._db.execute(f"UPDATE entries SET {damage}")
        failure = store.get(b"\x00k", 1)
        assert isinstance(failure, Failure), damage
        assert failure.kind is FailureKind.CORRUPT
        store.put(b"\x00k", 1, 1, 0, None, b"v")
    store.close()

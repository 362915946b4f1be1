"""Every verb against every state of every tier: what comes of it, written out.

A key holds ``5`` in the tier of the row (``all``: in hot) and then that tier (``all``: each of the
three) gets into the state of the column. A cell says what the verb answered and, after ``@``, where
the key's value is then. Whatever the cell, the tier then comes back with all its data, and the key
must read as its last acknowledged value or as a miss: the past is never served.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.unit.node.shard_world import OTHER, World, key
from tiercluster.cluster.wire import ColdPut, DeletePrefix, Get, Mode, Peek, Scan, Status, Touch
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.messages import DrainDone
from tiercluster.tiermap import TIERS, Admin, Health, Tier

ROWS: dict[str, tuple[Tier, ...]] = {
    "hot": (Tier.HOT,), "warm": (Tier.WARM,), "cold": (Tier.COLD,), "all": TIERS,
}  # fmt: skip
COLUMNS = ("UP", "DRAINING", "DRAINED", "DOWN", "RECOVERING")

TABLES = """
get        UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        5@hot           5@hot           5@warm          miss            miss
warm       5@warm          5@warm          5@cold          miss            miss
cold       5@cold          5@cold          5@remote        miss            miss
all        5@hot           5@hot           5@remote        miss            miss

set        UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        stored@hot      stored@warm     stored@warm     stored@warm     stored@warm
warm       stored@hot      stored@hot      stored@hot      stored@hot      stored@hot
cold       stored@hot      stored@hot      stored@hot      stored@hot      stored@hot
all        stored@hot      stored@hot      stored@remote   stored@remote   stored@remote

set-below  UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        stored@hot      stored@warm     stored@warm     stored@warm     stored@warm
warm       stored@warm     stored@cold     stored@cold     stored@cold     stored@cold
cold       stored@cold     stored@cold     stored@remote   stored@remote   stored@remote
all        stored@hot      stored@hot      stored@remote   stored@remote   stored@remote

add        UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        refused@hot     refused@hot     refused@warm    stored@warm     stored@warm
warm       refused@warm    refused@warm    refused@cold    stored@hot      stored@hot
cold       refused@cold    refused@cold    refused@remote  stored@hot      stored@hot
all        refused@hot     refused@hot     refused@remote  stored@remote   stored@remote

replace    UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        stored@hot      stored@warm     stored@warm     refused         refused
warm       stored@hot      stored@hot      stored@hot      refused         refused
cold       stored@hot      stored@hot      stored@hot      refused         refused
all        stored@hot      stored@hot      stored@remote   refused         refused

cas        UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        stored@hot      stored@warm     stored@warm     refused         refused
warm       stored@hot      stored@hot      stored@hot      refused         refused
cold       stored@hot      stored@hot      stored@hot      refused         refused
all        stored@hot      stored@hot      stored@remote   refused         refused

delete     UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        deleted         deleted         deleted         absent          absent
warm       deleted         deleted         deleted         absent          absent
cold       deleted         deleted         deleted         absent          absent
all        deleted         deleted         deleted         absent          absent

incr       UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        6@hot           6@warm          6@warm          absent          absent
warm       6@hot           6@hot           6@hot           absent          absent
cold       6@hot           6@hot           6@hot           absent          absent
all        6@hot           6@hot           6@remote        absent          absent

touch      UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        touched@hot     touched@hot     touched@warm    absent          absent
warm       touched@warm    touched@warm    touched@cold    absent          absent
cold       touched@cold    touched@cold    touched@remote  absent          absent
all        touched@hot     touched@hot     touched@remote  absent          absent

peek       UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        seen@hot        seen@hot        seen@warm       absent          absent
warm       seen@warm       seen@warm       seen@cold       absent          absent
cold       seen@cold       seen@cold       seen@remote     absent          absent
all        seen@hot        seen@hot        seen@remote     absent          absent

scan       UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        listed@hot      listed@hot      listed@warm     not-listed      not-listed
warm       listed@warm     listed@warm     listed@cold     not-listed      not-listed
cold       listed@cold     listed@cold     listed@remote   not-listed      not-listed
all        listed@hot      listed@hot      listed@remote   not-listed      not-listed

clear      UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        cleared-1       cleared-1       cleared-1       cleared-0       cleared-0
warm       cleared-1       cleared-1       cleared-1       cleared-0       cleared-0
cold       cleared-1       cleared-1       cleared-1       cleared-0       cleared-0
all        cleared-1       cleared-1       cleared-1       cleared-0       cleared-0

promote    UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        5@hot           5@hot           5@warm          miss            miss
warm       5@hot           5@hot           5@hot           miss            miss
cold       5@hot           5@hot           5@hot           miss            miss
all        5@hot           5@hot           5@remote        miss            miss

demote     UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        5@warm          5@hot           5@cold          miss            miss
warm       5@cold          5@warm          5@cold          miss            miss
cold       miss            5@cold          5@remote        miss            miss
all        5@warm          5@remote        5@remote        miss            miss

hand-off   UP              DRAINING        DRAINED         DOWN            RECOVERING
hot        5@hot           5@warm          5@warm          miss            miss
warm       5@warm          5@cold          5@cold          miss            miss
cold       5@cold          5@remote        5@remote        miss            miss
all        5@hot           5@remote        5@remote        miss            miss
"""

# What a node comes to by itself, before any map says so: a cold tier that takes no writes, and no
# tier left to it, here or elsewhere.
OWN_STATES = {("cold", "READ-ONLY"), ("all", "EMERGENCY")}
OWN_TABLE = """
            cold/READ-ONLY  all/EMERGENCY
get         5@cold          miss
set         stored@hot      not-stored
set-below   not-stored      not-stored
add         refused@cold    refused
replace     stored@hot      refused
cas         stored@hot      refused
delete      deleted         absent
incr        6@hot           absent
touch       touched@cold    absent
peek        seen@cold       absent
scan        listed@cold     not-listed
clear       cleared-1       cleared-0
promote     5@hot           miss
demote      5@cold          miss
hand-off    5@cold          miss
"""


def own_table(text: str) -> dict[tuple[str, str, str], str]:
    """As `table`, with one column for each state."""
    head, *lines = [line.split() for line in text.strip().splitlines()]
    states = [tuple(state.split("/")) for state in head]
    return {
        (verb, row, column): cell
        for verb, *cells in lines
        for (row, column), cell in zip(states, cells, strict=True)
    }


def table(text: str) -> dict[tuple[str, str, str], str]:
    """(verb, row, column) to the cell."""
    cells: dict[tuple[str, str, str], str] = {}
    verb = ""
    for line in text.strip().splitlines():
        words = line.split()
        if not words:
            continue
        if words[1:] == list(COLUMNS):
            verb = words[0]
            continue
        for column, cell in zip(COLUMNS, words[1:], strict=True):
            cells[verb, words[0], column] = cell
    return cells


# --- the key in its tier, the tier in its state ---------------------------------------------------


def world_with_key_in(tier: Tier) -> World:
    world = World()
    above = TIERS[: TIERS.index(tier)]
    for other in above:
        world.fail(other)
    assert world.store("k", b"5")
    for other in above:
        world.recover(other)
    assert world.place("k") == str(tier)
    return world


def bring_into(world: World, tiers: tuple[Tier, ...], state: str) -> None:
    if state in ("READ-ONLY", "EMERGENCY"):
        world.set_tier(Tier.COLD, node=OTHER, health=Health.DOWN)
    if state == "READ-ONLY":
        becomes_read_only(world)
    for tier in tiers:
        if state == "EMERGENCY":
            gone = Failure(FailureKind.GONE)
            world.shard._standing.is_dead_now(TIERS.index(tier), gone, world.now)
        if state in ("DRAINING", "DRAINED"):
            world.set_tier(tier, admin=Admin.DRAINING)
        if state in ("DOWN", "RECOVERING"):
            world.fail(tier)
        if state == "RECOVERING":
            world.set_tier(tier, health=Health.RECOVERING)
    if state == "DRAINED":
        world.tick(0.1, 50)
        assert {r.tiers[0] for r in world.reported(DrainDone)} == set(tiers)
        for tier in tiers:
            world.set_tier(tier, admin=Admin.OUT)


def becomes_read_only(world: World) -> None:
    """By a write that another node asks for."""
    world.cold.failing = FailureKind.READ_ONLY
    world.send(ColdPut(f"{OTHER}/cold@1", key("theirs"), 1, 0, None), b"v")
    world.tick()
    assert world.shard.stats().tiers[TIERS.index(Tier.COLD)].note == "read-only"


def comes_back(world: World, tiers: tuple[Tier, ...], state: str) -> None:
    """With its data, where a tier may keep them: a restored one never may."""
    world.cold.failing = None
    for tier in tiers:
        if state in ("DOWN", "RECOVERING", "READ-ONLY", "EMERGENCY"):
            world.recover(tier, keep=True)
        elif state != "UP":
            world.shard.probe(tier, world.now)
            world.recover(tier)
    world.run()


# --- the verbs ------------------------------------------------------------------------------------


def at(world: World, word: str) -> str:
    """The word and where the key is, if it can be read."""
    versions = world.ask(Peek((key("k"),))).versions
    return f"{word}@{world.place('k')}" if versions[0] else word


def get(world: World, tier: Tier) -> str:
    value = world.get("k")
    return "miss" if value is None else at(world, value.decode())


def set_(world: World, tier: Tier) -> str:
    return at(world, "stored" if world.store("k", b"6") else "not-stored")


def set_below(world: World, tier: Tier) -> str:
    """A SET while the tiers above are DOWN."""
    for above in TIERS[: TIERS.index(tier)]:
        world.fail(above)
    return set_(world, tier)


def add(world: World, tier: Tier) -> str:
    return at(world, "stored" if world.store("k", b"6", Mode.ADD) else "refused")


def replace(world: World, tier: Tier) -> str:
    return at(world, "stored" if world.store("k", b"6", Mode.REPLACE) else "refused")


def cas(world: World, tier: Tier) -> str:
    entry = world.shard._holdings.directory.get(key("k"))
    assert entry is not None
    assert not world.store("k", b"7", Mode.CAS, version=entry.version + 1)
    stored = world.store("k", b"6", Mode.CAS, version=entry.version)
    return at(world, "stored" if stored else "refused")


def delete(world: World, tier: Tier) -> str:
    return at(world, "deleted" if world.delete("k") else "absent")


def incr(world: World, tier: Tier) -> str:
    counter = world.incr("k")
    return at(world, str(counter.value) if counter.found else "absent")


def touch(world: World, tier: Tier) -> str:
    return at(world, "touched" if world.ask(Touch((key("k"),), 60.0)).found[0] else "absent")


def peek(world: World, tier: Tier) -> str:
    return at(world, "seen" if world.ask(Peek((key("k"),))).versions[0] else "absent")


def scan(world: World, tier: Tier) -> str:
    return at(world, "listed" if key("k") in pages(world) else "not-listed")


def pages(world: World) -> list[bytes]:
    keys: list[bytes] = []
    cursor = 0
    while cursor >= 0:
        page = world.ask(Scan(b"\0", cursor, 100))
        keys.extend(page.keys)
        cursor = page.cursor
    return keys


def clear(world: World, tier: Tier) -> str:
    cursor = count = 0
    while cursor >= 0:
        counted = world.ask(DeletePrefix(b"\0", cursor))
        count, cursor = count + counted.count, counted.cursor
    return at(world, f"cleared-{count}")


def promote(world: World, tier: Tier) -> str:
    """Three reads in a row."""
    values = [world.get("k") for _ in range(3)]
    return "miss" if values[-1] is None else at(world, values[-1].decode())


def demote(world: World, tier: Tier) -> str:
    """More new values than the tier and those above it hold."""
    noise = random.Random(1)
    for number in range({Tier.HOT: 40, Tier.WARM: 75, Tier.COLD: 260}[tier]):
        world.store(f"other-{number}", noise.randbytes(30_000))
        world.run()
    return get(world, tier)


def hand_off(world: World, tier: Tier) -> str:
    """Time for a drain to end."""
    world.tick(0.1, 50)
    return get(world, tier)


VERBS: dict[str, Callable[[World, Tier], str]] = {
    "get": get, "set": set_, "set-below": set_below, "add": add, "replace": replace, "cas": cas,
    "delete": delete, "incr": incr, "touch": touch, "peek": peek, "scan": scan, "clear": clear,
    "promote": promote, "demote": demote, "hand-off": hand_off,
}  # fmt: skip
CELLS = table(TABLES) | own_table(OWN_TABLE)
# The newest value after this outcome; else it is 5. A SET that is not stored ends the old value.
NEWEST = {"stored": b"6", "6": b"6", "not-stored": b"6"}


def outcome(verb: str, row: str, column: str) -> tuple[World, str]:
    tiers = ROWS[row]
    world = world_with_key_in(tiers[0])
    bring_into(world, tiers, column)
    return world, VERBS[verb](world, tiers[0])


def test_every_verb_stands_against_every_state_of_every_tier() -> None:
    of_the_map = {(row, column) for row in ROWS for column in COLUMNS}
    assert set(CELLS) == {(v, r, c) for v in VERBS for r, c in of_the_map | OWN_STATES}


@pytest.mark.parametrize(("verb", "row", "column"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_verb_by_state(verb: str, row: str, column: str) -> None:
    world, found = outcome(verb, row, column)
    assert found == CELLS[verb, row, column]
    comes_back(world, ROWS[row], column)
    status, values, body = world.answers[world.send(Get((key("k"),)))]
    assert status is Status.OK
    if values.sizes[0] >= 0:
        assert verb not in ("delete", "clear"), "a deleted value came back"
        newest = NEWEST.get(found.partition("@")[0], b"5")
        assert body == newest, "an old value came back"

"""Faults of processes and machines: kills, freezes, restarts, power cuts, wrong clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tests.harness.cluster import wait_until
from tests.harness.mounts import Ext4Disk, fill, mount_tmpfs
from tiercluster.tiermap import Command, Drain, Restore, TierRef

from .preload import WrongClock
from .stage import Fault, Stage

HOUR_S = 3600.0
OFF_S = 3.0  # a node, before it is started again
JOURNAL_BYTES = "512k"
ROLL_S = 30.0
NOBODY: frozenset[str] = frozenset()


@contextmanager
def killed(stage: Stage) -> Iterator[frozenset[str]]:
    stage.cluster.kill(stage.victim)
    yield NOBODY
    stage.cluster.restart(stage.victim)


@contextmanager
def wiped(stage: Stage) -> Iterator[frozenset[str]]:
    """Killed, and back with an empty disk."""
    stage.cluster.kill(stage.victim)
    stage.cluster.wipe(stage.victim)
    yield NOBODY
    stage.cluster.restart(stage.victim)


@contextmanager
def frozen(stage: Stage) -> Iterator[frozenset[str]]:
    stage.cluster.freeze(stage.victim)
    yield NOBODY
    stage.cluster.thaw(stage.victim)


@contextmanager
def all_killed(stage: Stage) -> Iterator[frozenset[str]]:
    stage.cluster.kill(*stage.cluster.ids)
    stage.cluster.start_all()
    yield NOBODY


@contextmanager
def rolling(stage: Stage) -> Iterator[frozenset[str]]:
    """Each node in turn stopped cleanly and started again, the next when all is well."""
    for node in stage.cluster.ids:
        code = stage.cluster.stop(node)
        assert code == 0, f"{node} ended with {code}"
        stage.cluster.restart(node)
        stage.cluster.wait_whole(ROLL_S)
    yield NOBODY


# --- power --------------------------------------------------------------------------------------


def on_a_disk(stage: Stage) -> None:
    """All data directories on one ext4 of their own."""
    disk = Ext4Disk(stage.directory / "disk.img", stage.cluster.directory / "data")
    stage.put("disk", disk)


@contextmanager
def powerless(stage: Stage) -> Iterator[frozenset[str]]:
    """All at one moment; only what was synced is there afterwards."""
    disk = stage.get("disk", Ext4Disk)
    disk.cut_power()
    stage.cluster.kill(*stage.cluster.ids)
    disk.unplug()
    disk.plug_in()
    stage.cluster.start_all()
    yield NOBODY


# --- a full journal -----------------------------------------------------------------------------


def on_a_small_journal(stage: Stage) -> None:
    mount_tmpfs(stage.cluster.data(stage.victim) / "raft", JOURNAL_BYTES)


@contextmanager
def journal_full(stage: Stage) -> Iterator[frozenset[str]]:
    """The disk below the victim's Raft log fills up while the others decide things; then there is
    space again, and the node is restarted, as the documentation says."""
    cluster, victim = stage.cluster, stage.victim
    filler = fill(cluster.data(victim) / "raft")
    kinds: tuple[Callable[..., Command], ...] = (partial(Drain, force=True), Restore)
    ref = TierRef.parse(f"{stage.others(victim)[0]}/warm")
    with cluster.admin(*stage.others(victim)) as admin:
        for number, kind in enumerate(kinds * 3):
            name, now = f"journal-full-{number}", time.time()
            admin.propose(kind(id=name, by="test", time=now, node=ref.node, tiers=(ref.tier,)))
    yield NOBODY
    assert cluster.is_alive(victim), "the node did not survive a full journal"
    filler.unlink()
    cluster.kill(victim)
    cluster.restart(victim)


# --- clocks -------------------------------------------------------------------------------------


def with_a_wrong_clock(stage: Stage) -> None:
    clock = WrongClock(stage.directory / "clock")
    stage.put("clock", clock)
    stage.cluster.extra[stage.victim] = clock.env()


def clock_jumps(offset_s: float) -> Fault:
    """The victim's wall clock, and back. What lives two seconds must end, what lives ten minutes
    must not, whoever owns it."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[frozenset[str]]:
        clock = stage.get("clock", WrongClock)
        short, long = [f"short{i}" for i in range(50)], [f"long{i}" for i in range(50)]
        with stage.client() as client:
            assert client.set_many(dict.fromkeys(short, 1), ttl=2) == []
            assert client.set_many(dict.fromkeys(long, 1), ttl=600) == []
            clock.jump(offset_s)
            wait_until(lambda: not client.get_many(short), 4, "an entry outlives its time to live")
            yield NOBODY
            assert len(client.get_many(long)) == len(long), "an entry ends before its time"
            clock.jump(0)

    return fault

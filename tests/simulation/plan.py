"""What a seed stands for: how large the world is, what is in it, and how rough it gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tiercluster.cluster.wire import wire_key
from tiercluster.node.settings import (
    DetectorSettings,
    NodeSettings,
    RecoverySettings,
    SlownessSettings,
    TierSettings,
)

SMALL_TIER_BYTES = 18_000  # a handful of entries: everything moves all the time

# Times are shorter than by default where they only make a world last longer. The detector's are
# those of the product.
RECOVERY = RecoverySettings(probe_interval_s=0.1, successes=2, stable_s=0.3, hold_down_s=0.8,
                            hold_down_max_s=2.0, attempt_timeout_s=1.0)  # fmt: skip

# In every eighth world members compare their disks, and call one slow soon.
HASTY = SlownessSettings(factor=1.5, floor_s=0.0015, pace_window_s=0.5, sustain_s=0.6, samples=2)
QUIET = SlownessSettings(samples=10**9)

NAMESPACES = (b"", b"a", b"users")
FILLERS = 30  # keys a node that nobody cares about: they push the others out of memory
PAUSES_S = (0.05, 0.3, 0.7, 1.5, 4.0)  # how long a process is stopped by a signal
FAULTS = (
    ("crash", 10), ("pause", 14), ("isolate", 8), ("cut", 8), ("one_way", 10), ("halves", 4),
    ("cut_client", 6), ("slow", 6), ("depose", 5), ("disk", 10), ("stop", 5), ("operator", 22),
    ("pause_client", 2), ("kill_all", 1), ("pause_many", 2), ("past", 4), ("kill", 10), ("two", 3),
    ("flap", 5),
)  # fmt: skip
OF_ONE_NODE = ("crash", "pause", "isolate", "stop", "cut_client", "kill")
ALL_STOP = (*FAULTS, ("stop_all", 10))
SICK_DISKS = tuple((name, 60 if name == "disk" else weight) for name, weight in FAULTS)


@dataclass(frozen=True, slots=True)
class Plan:
    """One world. Times in virtual seconds."""

    seed: int
    nodes: int
    clients: int
    keys: tuple[bytes, ...]
    on_quorum_loss: str
    rough_s: float  # how long faults are injected
    fault_every_s: float
    call_every_s: float  # a client, on average
    uses_wire: bool  # peers' messages are encoded too
    spikes: float
    faults: tuple[tuple[str, int], ...] = FAULTS  # with their weights
    victims: tuple[str, ...] = ()  # nodes that crash, stop and pause; none: all
    compares: bool = False  # members compare their disks
    replicas: int = 2
    write_ack: str = "all"
    counts: float = 0.25  # share of calls on counters, fillers apart
    ends_apart: bool = False  # with two nodes that do not reach each other
    is_roomy: bool = False  # memory has room for all, and only one node is ever out
    lags: float = 0.03  # probability that a member's replica is late with a command
    touches: bool = False  # clients touch, and delete what they have seen
    slow_close_s: float = 0.0  # for up to so long a store is being closed

    @property
    def fillers(self) -> tuple[bytes, ...]:
        return tuple(wire_key(b"f", b"f%d" % i) for i in range(FILLERS * self.nodes))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"n{i + 1}" for i in range(self.nodes))


def plan_of(seed: int) -> Plan:
    """The same plan for the same seed."""
    random = Random(f"plan {seed}")
    nodes = random.choices((1, 3, 5), (6, 84, 10))[0]
    keys = tuple(
        wire_key(random.choice(NAMESPACES), f"k{i}".encode()) for i in range(random.randint(8, 20))
    )
    plan = Plan(
        seed=seed,
        nodes=nodes,
        clients=random.choice((2, 3)),
        keys=keys,
        on_quorum_loss=random.choices(("fence", "serve", "read_only"), (5, 3, 1))[0],
        rough_s=random.uniform(2.0, 5.0),
        fault_every_s=random.choice((0.3, 0.6, 1.2)),
        call_every_s=random.choice((0.03, 0.08)),
        uses_wire=random.random() < 0.1,
        spikes=random.choice((0.0, 0.0, 0.002, 0.02)),
    )
    return _special(plan, seed)


def _special(plan: Plan, seed: int) -> Plan:
    """What is alike in every so many-th world."""
    replicas = Random(f"copies {seed}").choices((1, 2, 3), (2, 6, 3))[0]
    plan = replace(plan, replicas=replicas)
    if seed % 8 == 7:
        return replace(plan, compares=True, rough_s=8.0, faults=SICK_DISKS)
    if seed % 16 == 3:
        return roomy_plan(plan)
    if seed % 16 == 5 and plan.nodes > 1:
        return replace(plan, ends_apart=True)
    if seed % 8 == 1:
        return replace(plan, touches=True, slow_close_s=0.6, faults=ALL_STOP)
    if seed % 16 == 11:
        return replace(plan, replicas=max(2, replicas), write_ack="owner")
    return plan


def roomy_plan(plan: Plan) -> Plan:
    """The same world, in which nothing that was written may be missed: there is room for all, and
    whatever happens, happens to one node."""
    return replace(plan, nodes=3, replicas=max(2, plan.replicas), on_quorum_loss="fence",
                   rough_s=6.0, spikes=0.0, lags=0.0, is_roomy=True, victims=("n2",),
                   faults=tuple(f for f in FAULTS if f[0] in OF_ONE_NODE))  # fmt: skip


def rough_plan(seed: int, *faults: str, victims: tuple[str, ...] = ()) -> Plan:
    """A world in which much goes wrong (only ``faults``, if any are named) and everybody wants the
    same few keys."""
    weights = tuple(fault for fault in ALL_STOP if fault[0] in faults) or FAULTS
    return replace(
        plan_of(seed),
        nodes=3,
        clients=3,
        keys=tuple(wire_key(b"", b"k%d" % i) for i in range(6)),
        on_quorum_loss="fence",
        rough_s=8.0,
        fault_every_s=0.3,
        call_every_s=0.03,
        uses_wire=False,
        compares=False,
        replicas=2,
        write_ack="all",
        is_roomy=False,
        touches=False,
        slow_close_s=0.0,
        faults=weights,
        victims=victims,
    )


def settings_of(plan: Plan, name: str) -> NodeSettings:
    """The settings of one node of this world."""
    others = tuple((n, f"raft:{n}") for n in plan.names if n != name)
    tiers = [TierSettings(2**20, trip, window_s=2.0, cooldown_s=0.3) for trip in (2, 3, 3)]
    if not plan.is_roomy:
        tiers = [_small(tier) for tier in tiers]
    return NodeSettings(
        id=name,
        listen=f"sim:{name}",
        raft=f"raft:{name}",
        cluster="sim",
        peers=others,
        allow_faults=True,
        on_quorum_loss=plan.on_quorum_loss,
        replicas=plan.replicas,
        write_ack=plan.write_ack,
        stop_grace_s=0.5,
        hot=tiers[0],
        warm=tiers[1],
        cold=tiers[2],
        recovery=RECOVERY,
        detector=DetectorSettings(),
        slowness=HASTY if plan.compares else QUIET,
    )


def _small(settings: TierSettings) -> TierSettings:
    """A tier below the least size that a user may set."""
    settings = replace(settings)
    object.__setattr__(settings, "capacity_bytes", SMALL_TIER_BYTES)
    return settings

"""The prober: a tier comes back when it has earned it, and a flapping one ever more slowly."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiercluster.node.prober import (
    PROBE_TIMEOUT_S,
    AskProbe,
    Phase,
    Prober,
    WantFailed,
    WantRecovered,
    WantRecovering,
    Wish,
)
from tiercluster.node.settings import RecoverySettings
from tiercluster.tiermap import Admin, Health, Tier, TierRecord

RULES = RecoverySettings(jitter=0.0)
TICK = 0.05


class World:
    """A cold tier, its disk, and a map that grants every wish at once."""

    def __init__(self, rules: RecoverySettings = RULES) -> None:
        self.prober = Prober(rules)
        self.now = 0.0
        self.record = TierRecord(Tier.COLD)
        self.is_tripped = False
        self.disk_works = True
        self.answers = True
        self.hits = 0
        self.probes: list[float] = []
        self.recovered: list[float] = []
        self.tick()

    def change(self, **changes: object) -> None:
        version = self.record.since_version + 1
        self.record = replace(self.record, since_version=version, **changes)  # type: ignore[arg-type]

    def fail(self) -> None:
        self.change(health=Health.DOWN, evidence=(("failures", 5),))

    def tick(self) -> None:
        self.prober.use_record(self.record, self.is_tripped, self.now, 0.5)
        for wish in self.prober.tick(self.now, 0.5):
            self.grant(wish)

    def grant(self, wish: Wish) -> None:
        match wish:
            case AskProbe(tier):
                self.probes.append(self.now)
                if self.answers:
                    failure = "" if self.disk_works else "EIO"
                    self.prober.probed(tier, failure, self.now, 0.5)
            case WantRecovering():
                self.change(health=Health.RECOVERING, evidence=(("probe", "ok"),))
            case WantRecovered():
                self.recovered.append(self.now)
                self.is_tripped = False
                self.change(health=Health.UP, suspect=False)
            case WantFailed():
                self.fail()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = round(self.now + TICK, 6)
            self.tick()

    @property
    def phase(self) -> Phase:
        return self.prober.phase(Tier.COLD)


def test_a_healed_tier_comes_back_after_hold_down_successes_and_stable_time() -> None:
    world = World()
    world.fail()
    world.run(0.95)
    assert not world.probes
    world.run(5)
    assert len(world.probes) >= RULES.successes
    assert len(world.recovered) == 1
    assert world.recovered[0] >= world.probes[0] + RULES.stable_s
    assert world.phase is Phase.IN_USE


def test_a_sick_tier_is_probed_at_the_pace_of_the_hold_down_and_stays_out() -> None:
    world = World()
    world.disk_works = False
    world.fail()
    world.run(30)
    assert not world.recovered
    assert 15 <= len(world.probes) <= 30
    assert world.record.health is Health.DOWN


def test_a_tier_that_only_this_node_avoids_is_probed_too() -> None:
    world = World()
    world.is_tripped = True
    world.change(suspect=True)
    world.run(5)
    assert len(world.recovered) == 1
    assert not world.record.suspect


def test_each_relapse_doubles_the_hold_down() -> None:
    world = World()
    waits = []
    for _ in range(4):
        world.fail()
        failed_at, before = world.now, len(world.probes)
        world.run(30)
        waits.append(round(world.probes[before] - failed_at))
    assert waits == [1, 2, 4, 8]


def test_time_alone_does_not_shrink_the_hold_down_but_successful_reads_do() -> None:
    world = World()
    for _ in range(3):
        world.fail()
        world.run(30)
    assert world.prober.hold_down_s(Tier.COLD) == 4.0
    for _ in range(60):
        world.prober.traffic(Tier.COLD, world.hits, world.now)
        world.run(10)
    assert world.prober.hold_down_s(Tier.COLD) == 4.0
    for _ in range(60):
        world.hits += 10
        world.prober.traffic(Tier.COLD, world.hits, world.now)
        world.run(1)
    assert world.prober.hold_down_s(Tier.COLD) == 1.0


def test_a_probe_that_fails_after_a_success_takes_the_tier_down_again() -> None:
    world = World()
    world.fail()
    world.run(1.2)
    assert world.record.health is Health.RECOVERING
    world.disk_works = False
    world.run(1)
    assert world.record.health is Health.DOWN
    assert world.prober.hold_down_s(Tier.COLD) == 2.0


def test_too_many_relapses_latch_until_an_operator_restores() -> None:
    world = World(replace(RULES, latch_relapses=3))
    for _ in range(5):
        world.fail()
        world.run(60)
    assert world.phase is Phase.LATCHED
    probes = len(world.probes)
    world.run(1000)
    assert len(world.probes) == probes
    world.change(health=Health.RECOVERING, evidence=())
    world.run(TICK)
    assert len(world.probes) == probes + 1, "not probed at once"
    world.run(5)
    assert world.record.health is Health.UP
    assert world.prober.hold_down_s(Tier.COLD) == 1.0


def test_relapses_of_another_hour_do_not_latch() -> None:
    world = World(replace(RULES, latch_relapses=2, latch_window_s=100.0))
    for _ in range(6):
        world.fail()
        world.run(120)
    assert world.phase is Phase.IN_USE


def test_a_suspect_tier_is_never_latched_for_no_operator_could_restore_it() -> None:
    world = World(replace(RULES, latch_relapses=1))
    for _ in range(4):
        world.is_tripped = True
        world.change(suspect=True, health=Health.UP)
        world.run(60)
    assert len(world.recovered) == 4


def test_a_restore_is_answered_by_a_probe_at_once_even_in_the_hold_down() -> None:
    world = World()
    world.disk_works = False
    for _ in range(2):
        world.fail()
        world.run(0.5)
    world.change(health=Health.RECOVERING, evidence=())
    world.run(2 * TICK)
    assert len(world.probes) == 1
    assert world.record.health is Health.DOWN


def test_our_own_recovering_that_comes_late_is_no_restore() -> None:
    world = World()
    world.disk_works = False
    world.fail()
    world.run(2.5)
    world.change(health=Health.RECOVERING, evidence=(("probe", "ok"),))
    probes = len(world.probes)
    world.run(TICK)
    assert len(world.probes) == probes
    assert world.record.health is Health.DOWN


def test_what_an_operator_drained_is_not_probed() -> None:
    world = World()
    world.fail()
    world.change(admin=Admin.OUT)
    world.run(60)
    assert not world.probes
    world.change(admin=Admin.IN, health=Health.RECOVERING, generation=2, evidence=())
    world.run(5)
    assert len(world.recovered) == 1


def test_a_probe_without_an_answer_has_failed_and_the_next_one_goes() -> None:
    world = World()
    world.answers = False
    world.fail()
    world.run(1 + PROBE_TIMEOUT_S + 3)
    assert len(world.probes) == 2
    world.answers = True
    world.run(10)
    assert len(world.recovered) == 1


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    world = World(replace(RULES, successes=6, stable_s=0.1))
    world.fail()
    world.run(1.1)
    assert world.phase is Phase.PROBING
    for _ in range(10):
        world.prober.probed(Tier.COLD, "", world.now, 0.5)
    world.run(0.9)
    assert not world.recovered


def test_a_probe_that_was_denied_goes_when_the_breaker_is_half_open_and_is_no_relapse() -> None:
    world = World()
    world.answers = False
    world.fail()
    world.run(1.05)
    assert len(world.probes) == 1
    world.prober.denied(Tier.COLD, 0.7, world.now)
    world.answers = True
    world.run(0.65)
    assert len(world.probes) == 1
    world.run(0.1)
    assert len(world.probes) == 2
    world.run(3)
    assert len(world.recovered) == 1
    assert world.prober.hold_down_s(Tier.COLD) == RULES.hold_down_s


def test_successes_before_a_denied_probe_do_not_count() -> None:
    world = World()
    world.fail()
    world.run(1.6)
    assert len(world.probes) == 2
    world.answers = False
    world.run(0.5)
    world.prober.denied(Tier.COLD, 0.2, world.now)
    world.answers = True
    again = world.now + 0.2
    world.run(5)
    assert world.recovered[0] >= again + RULES.stable_s


def test_successes_count_only_over_the_stable_time() -> None:
    world = World(replace(RULES, stable_s=20.0))
    world.fail()
    world.run(19)
    assert len(world.probes) > RULES.successes
    assert not world.recovered
    world.run(3)
    assert len(world.recovered) == 1


@settings(max_examples=60)
@example([("fail", 2.1), ("fail", 1.0)])
@given(st.lists(st.tuples(st.sampled_from(["break", "heal", "fail", "restore"]),
                          st.floats(0.05, 8.0)), max_size=12))  # fmt: skip
def test_no_flapping_beyond_the_hold_down(steps: list[tuple[str, float]]) -> None:
    world = World()
    restored_at = [-100.0]
    out_at: list[float] = []
    began_at: list[float] = []  # of each recovery: when the tier had gone out
    for step, seconds in steps:
        match step:
            case "break" | "heal":
                world.disk_works = step == "heal"
            case "fail" if world.record.health is Health.UP:
                out_at.append(world.now)
                world.fail()
            case "restore" if world.record.health is Health.DOWN:
                restored_at.append(world.now)
                world.change(health=Health.RECOVERING, evidence=())
        world.run(round(seconds / TICK) * TICK)
        # Now, as a later failure may come at the very time of the recovery.
        began_at += out_at[-1:] * (len(world.recovered) - len(began_at))
    for back, began in zip(world.recovered, began_at, strict=True):
        if not any(began <= t <= back for t in restored_at):
            assert back - began >= RULES.hold_down_s + RULES.stable_s - 2 * TICK
        probes = [t for t in world.probes if began <= t <= back]
        assert len(probes) >= RULES.successes
    world.disk_works = True
    if world.phase is not Phase.LATCHED:
        world.run(2 * RULES.hold_down_s * 2 ** len(out_at) * 4 + 10)
        assert world.record.health is Health.UP, "a healthy tier never came back"


def test_an_outage_that_began_between_two_maps_is_held_down_like_any_other() -> None:
    """The map brought it back and failed it again before this node looked."""
    world = World()
    world.fail()
    while not world.recovered:
        world.run(TICK)
    world.fail()  # its UP was never seen here
    began = world.now
    world.run(20)
    again = world.recovered[1] - began
    assert again >= 2 * RULES.hold_down_s + RULES.stable_s - 2 * TICK
    assert world.record.health is Health.UP

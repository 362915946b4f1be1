"""The table of all scenarios, by name."""

from __future__ import annotations

from dataclasses import replace

from . import disk_faults as disk
from . import network_faults as net
from . import process_faults as process
from .emulator import Link
from .network import BadLinks
from .process_faults import HOUR_S
from .stage import ON_DISK, Scenario

FENCE = ("--on-quorum-loss=fence",)

SPLITS = (
    Scenario("partition", net.one_alone),
    Scenario("partition_unheard", net.unheard),
    Scenario("partition_deaf", net.deaf),
    Scenario("flapping_link", net.flapping, hold_s=0.0),
    Scenario("leader_alone", net.leader_alone),
)
STRICT = (
    Scenario("partition_one_pair", net.one_pair),
    Scenario("partition_one_pair_fence", net.one_pair, flags=FENCE),
    Scenario("partition_two_of_five_fence", net.two_of_five, nodes=5, flags=FENCE),
    Scenario("leader_without_peers_fence", net.leader_without_peers, flags=FENCE),
)
LINKS = (
    Scenario("loss_5_percent", net.bad_links(Link(loss=0.05))),
    Scenario("delay_200_ms_round_trip", net.bad_links(Link(delay_s=0.1, jitter_s=0.01))),
    Scenario("delay_200_ms_each_way", net.bad_links(Link(delay_s=0.2, jitter_s=0.02))),
    Scenario(
        "duplicate_and_reorder",
        net.bad_links(Link(duplicate=0.2, reorder=0.2, delay_s=0.002, jitter_s=0.002)),
    ),
)
PROCESSES = (
    Scenario("kill_9", process.killed, hold_s=3.0),
    Scenario("sigstop", process.frozen),
    Scenario("kill_9_of_all", process.all_killed, hold_s=0.0),
    Scenario("rolling_restart", process.rolling, hold_s=0.0),
    Scenario("wiped_disk", process.wiped, hold_s=3.0),
    Scenario("power_cut_of_all", process.powerless, prepare=process.on_a_disk, hold_s=0.0),
    Scenario("journal_full", process.journal_full, prepare=process.on_a_small_journal, hold_s=3.0),
    Scenario(
        "clock_plus_1_h",
        process.clock_jumps(HOUR_S),
        prepare=process.with_a_wrong_clock,
        hold_s=3.0,
    ),
    Scenario(
        "clock_minus_1_h",
        process.clock_jumps(-HOUR_S),
        prepare=process.with_a_wrong_clock,
        hold_s=3.0,
    ),
)
DISKS = tuple(
    Scenario(name, disk.sick(spoil), prepare=disk.with_a_sick_disk, load=ON_DISK)
    for name, spoil in {
        "disk_eio": disk.errors,
        "disk_full": disk.full,
        "disk_corrupt": disk.flipped,
        "disk_torn": disk.torn,
        "disk_slow": disk.slow,
    }.items()
)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *(replace(split, is_excused=True) for split in SPLITS),
        *(replace(split, name=f"{split.name}_fence", flags=FENCE) for split in SPLITS),
        *STRICT,
        *(replace(links, network=BadLinks) for links in LINKS),
        *PROCESSES,
        *DISKS,
    )
}

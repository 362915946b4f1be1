"""What the demo says while it runs, and its account at the end."""

from __future__ import annotations

import time
from typing import Any

import click

from .demo_ledger import PHASES, Findings
from .rendering import print_table

_LABELS = {
    "break_to_first_error": "fault to its first error",
    "first_error_to_commit": "first error to the committed failover",
    "first_error_to_last_client": "first error to the last client routed around it",
    "healed_to_enabled": "healed to in service again",
}


class Teller:
    """One line for each thing that happens, with the seconds since the start; on stderr where
    stdout is for a JSON document."""

    def __init__(self, *, to_stderr: bool) -> None:
        self._began = time.monotonic()
        self._to_stderr = to_stderr

    def say(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self._began:6.1f} s  {text}", err=self._to_stderr)


def account(findings: Findings) -> None:
    """The figures, for people."""
    document = findings.document()
    print_table(
        ("phase", "#seconds", "#reads", "#reads/s", "#hit ratio", "#p50", "#p99"),
        [_phase_row(name, document["phases"][name]) for name in PHASES],
    )
    click.echo()
    print_table(("measured", "#"), _rows(findings, document))
    click.echo()
    for problem in findings.problems():
        click.echo(f"NOT GOOD: {problem}")
    if findings.is_good:
        click.echo("No read failed, none was stale; the tier failed over and came back.")


def _phase_row(name: str, phase: dict[str, Any]) -> tuple[object, ...]:
    return (
        name, phase["seconds"], phase["reads"], phase["reads_per_s"],
        f"{phase['hit_ratio']:.1%}", f"{phase['read_p50_us']} us", f"{phase['read_p99_us']} us",
    )  # fmt: skip


def _rows(findings: Findings, document: dict[str, Any]) -> list[tuple[object, ...]]:
    counts: list[tuple[object, ...]] = [
        ("failed reads", document["failed_reads"]),
        ("stale reads", document["stale_reads"]),
        ("reads, writes", f"{document['reads']}, {document['writes']}"),
        ("writes that had to be tried again", document["failed_writes"]),
    ]
    times = [
        (_LABELS[name], "never" if seconds is None else f"{seconds:.3f} s")
        for name, seconds in findings.moments.figures(findings.clients).items()
    ]
    return counts + list(times)

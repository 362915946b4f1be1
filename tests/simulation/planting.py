"""How a bug is planted in the real cores, and what the world is like in which it shows soon."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from inspect import isfunction, signature
from typing import Any, NamedTuple
from unittest.mock import patch

from .checkers import Checkers
from .copies import AGREE, KEPT, OLDER, Copies
from .plan import Plan, roomy_plan, rough_plan

Plant = Callable[[ExitStack], None]

OWNER, STALE, GROW = "one owner at a time", "stale read", "versions grow"
COUNTED, CAS, EXPIRED = "counted once", "cas sees the newest", "expired read"
LOST, WELL = "nothing is lost", "gets well"
COPIES = (OLDER, KEPT, AGREE)
# Those that find a bug of copies, or of owners, before any client is told what it should not be.
JUDGES: dict[str, tuple[tuple[type, str], ...]] = {
    OLDER: ((Copies, "_judge"), (Copies, "_judge_audit")),
    KEPT: ((Copies, "_judge_keepers"),),
    AGREE: ((Copies, "compare"),),
    OWNER: ((Checkers, "_judge_owners"),),
}


def set_to(owner: Any, name: str, value: Any) -> Plant:
    """TypeError if a function does not take what the original takes: it would not be this bug."""
    if isfunction(value):
        signature(value).bind(*signature(getattr(owner, name)).parameters)
    return lambda stack: stack.enter_context(patch.object(owner, name, value))


def wrapped(owner: Any, name: str, made: Callable[[Any], Any]) -> Plant:
    """``made`` takes the original and returns what stands in its place."""
    return lambda stack: stack.enter_context(patch.object(owner, name, made(getattr(owner, name))))


def all_of(*plants: Plant) -> Plant:
    def plant(stack: ExitStack) -> None:
        for each in plants:
            each(stack)

    return plant


def only(*invariants: str) -> frozenset[str]:
    return frozenset(invariants)


def muted(*invariants: str) -> Plant:
    """Nobody looks whether these hold (`JUDGES`)."""
    judges = [judge for invariant in invariants for judge in JUDGES[invariant]]
    return all_of(*[set_to(owner, name, lambda *told: None) for owner, name in judges])


class Bug(NamedTuple):
    """``seed``: a world that has found it; ``found``: the invariants that it breaks; ``mute``:
    those that would be found broken before; the others say what is special about the rough world
    in which it shows soon."""

    plant: Plant
    seed: int
    found: frozenset[str]
    faults: tuple[str, ...] = ()
    victims: tuple[str, ...] = ()
    every_s: float = 0.3
    lags: float = 0.03
    replicas: int = 2
    on_quorum_loss: str = "fence"
    spikes: float | None = None
    is_roomy: bool = False
    ends_apart: bool = False
    counts: float = 0.25
    touches: bool = False
    slow_close_s: float = 0.0
    mute: tuple[str, ...] = ()

    def plan(self, seed: int) -> Plan:
        plan = rough_plan(seed, *self.faults, victims=self.victims)
        plan = replace(plan, fault_every_s=self.every_s, lags=self.lags, replicas=self.replicas,
                       on_quorum_loss=self.on_quorum_loss, ends_apart=self.ends_apart,
                       counts=self.counts, touches=self.touches,
                       slow_close_s=self.slow_close_s)  # fmt: skip
        if self.spikes is not None:
            plan = replace(plan, spikes=self.spikes)
        return roomy_plan(plan) if self.is_roomy else plan

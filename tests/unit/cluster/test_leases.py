"""Leases at the client: what counts is the time since it was asked for, not since the answer."""

from __future__ import annotations

from typing import Any

import pytest

from tiercluster.cluster import api as api_module
from tiercluster.cluster import leases as leases_module
from tiercluster.cluster.api import Api, Make, Pause
from tiercluster.cluster.keys import Space
from tiercluster.cluster.leases import Lease
from tiercluster.cluster.options import make_options
from tiercluster.cluster.plan import DeleteOp, GetOp, OnceStoreOp
from tiercluster.cluster.swallow import Swallowed


class Owner:
    """Answers scripts as the owner of all keys would; ``late_s``: how late its answers come."""

    def __init__(self) -> None:
        self.now = 100.0
        self.late_s = 0.0
        self.held: dict[bytes, tuple[int, float]] = {}  # version and end of each lease
        self.store: dict[bytes, bytes] = {}
        self.versions = 0
        self.made: list[str] = []
        self.deleted: list[bytes] = []

    def answer(self, step: Any) -> None:
        match step:
            case OnceStoreOp():
                self._lease(step)
            case GetOp():
                step.datas = [self.store.get(key) for key in step.keys]
            case DeleteOp():
                version, _ = self.held.get(step.keys[0], (0, 0.0))
                step.found = [version == step.version]
                if version == step.version:
                    self.deleted.append(step.keys[0])
                    del self.held[step.keys[0]]
            case Make():
                self.made.append(step.function())
            case Pause(seconds):
                self.now += seconds
        self.now += self.late_s

    def _lease(self, add: OnceStoreOp) -> None:
        key = add.keys[0]
        if self.held.get(key, (0, 0.0))[1] <= self.now:
            self.versions += 1
            self.held[key] = self.versions, self.now + (add.ttl or 0.0)
            add.versions = [self.versions]

    def run(self, script: Any, result: Any = None) -> Any:
        """To its end; ``result``: of the step that it waits for."""
        try:
            while True:
                step = script.send(result)
                self.answer(step)
                result = self.made[-1] if isinstance(step, Make) else None
        except StopIteration as end:
            return end.value


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    owner = Owner()
    for module in (api_module, leases_module):
        monkeypatch.setattr(module, "monotonic", lambda: owner.now)
    return owner


def calls() -> Api:
    return Api(
        make_options("127.0.0.1:1", "", None, "cbor", 1.0, "raise", 0), Space(b""), Swallowed()
    )


def test_a_lease_whose_answer_came_after_its_end_makes_nothing(owner: Owner) -> None:
    """Another may have it by now: two would make the value."""
    first, second = (calls().get_or_set("k", lambda: "made", None, 0.5) for _ in range(2))
    owner.answer(next(first))  # a miss
    add = first.send(None)
    owner.answer(add)
    assert add.versions == [1]
    owner.now += 0.55
    making = steps_until(Make, owner, second)
    step = first.send(None)  # the answer to the ADD of the first comes only now
    while not isinstance(step, Pause):
        assert not isinstance(step, Make), "two makers at once"
        owner.answer(step)
        step = first.send(None)
    assert not owner.deleted, "what the other holds is not touched"
    owner.answer(making)
    assert owner.run(second, owner.made[-1]) == "made"
    assert owner.made == ["made"]


def steps_until(kind: type, owner: Owner, script: Any) -> Any:
    step = next(script)
    while not isinstance(step, kind):
        owner.answer(step)
        step = script.send(None)
    return step


def test_a_maker_whose_answers_come_in_time_makes_it_once(owner: Owner) -> None:
    owner.late_s = 0.1
    assert owner.run(calls().get_or_set("k", lambda: "a", None, 0.5)) == "a"
    assert owner.made == ["a"]
    assert not owner.held, "its lease is given back"


def test_a_lock_that_ended_before_its_answer_came_is_not_held(owner: Owner) -> None:
    lock = Lease(calls(), "x", 0.5)
    owner.late_s = 0.6
    assert not owner.run(lock.acquire(0))
    assert lock.version == 0
    owner.late_s = 0.0
    assert owner.run(lock.acquire(0))
    owner.late_s = 0.6
    assert not owner.run(lock.extend(None))


def test_a_second_acquire_that_fails_forgets_nothing(owner: Owner) -> None:
    lock = Lease(calls(), "x", 30)
    assert owner.run(lock.acquire(0))
    assert not owner.run(lock.acquire(0))
    assert lock.version == 1
    assert owner.run(lock.release())
    assert not owner.held

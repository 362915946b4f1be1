"""A client host: several threads on one `Client`, every call recorded. Ends on SIGTERM.

python -m tests.harness.lab.client_process PLAN
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.harness.traffic import value_number
from tiercluster import Client
from tiercluster.checks.lincheck import INF, Op
from tiercluster.errors import TierclusterError

from .records import Call, ClientHistory, ClientPlan

BULK = 16  # keys of a bulk call
FIRST_MAP_S = 20.0  # the time-out of what is asked before the work begins
COUNTER_STEP = 1_000_000  # between the values at which counters start: no count reaches the next


class OwnKeys:
    """One thread that writes 1, 2, 3, ... to its keys and reads those of all. Half of its calls are
    about keys of the node beside it: all that it reaches when the network is split."""

    def __init__(
        self, plan: ClientPlan, number: int, client: Client, owners: dict[str, str]
    ) -> None:
        self._plan, self._client = plan, client
        self._rng = random.Random(f"{plan.seed}/{plan.name}/own/{number}")
        self._own = plan.own[number :: plan.threads]
        self._numbers = dict.fromkeys(self._own, 0)
        beside = {key for key, owner in owners.items() if owner[1:] == plan.name[1:]}
        self._near_own = [key for key in self._own if key in beside] or self._own
        self._near = sorted(beside) or plan.all_own
        self.calls: list[Call] = []

    def step(self) -> None:
        kinds = (self._read, self._write, self._read_many, self._write_many, self._delete)
        self._rng.choices(kinds, (50, 30, 8, 4, 3))[0]()

    def fill(self) -> None:
        for start in range(0, len(self._own), BULK):
            self._write_these(list(self._own[start : start + BULK]))

    def _one_of(self, near: Sequence[str], all_: Sequence[str]) -> str:
        return self._rng.choice(near if self._rng.random() < 0.5 else all_)

    def _read(self) -> None:
        key = self._one_of(self._near, self._plan.all_own)
        self._made("r", {key: None}, lambda: {key: value_number(self._client.get(key))})

    def _read_many(self) -> None:
        keys = self._rng.sample(self._plan.all_own, BULK)

        def call() -> dict[str, int | None]:
            found = self._client.get_many(keys)
            return {key: value_number(found.get(key)) for key in keys}

        self._made("r", dict.fromkeys(keys), call)

    def _write(self) -> None:
        key = self._one_of(self._near_own, self._own)
        self._write_one(key, self._next(key))

    def _write_one(self, key: str, number: int) -> None:
        def call() -> dict[str, int | None]:
            return {key: number} if self._client.set(key, self._value(number)) else {}

        self._made("w", {key: number}, call)

    def _write_many(self) -> None:
        self._write_these(self._rng.sample(self._own, min(BULK, len(self._own))))

    def _write_these(self, keys: list[str]) -> None:
        numbers = {key: self._next(key) for key in keys}

        def call() -> dict[str, int | None]:
            lost = self._client.set_many({k: self._value(n) for k, n in numbers.items()})
            return {key: numbers[key] for key in keys if key not in set(lost)}

        self._made("w", dict(numbers), call)

    def _delete(self) -> None:
        """Answered at all is as good as done: afterwards the key is not there."""
        key = self._rng.choice(self._own)
        number = self._next(key)

        def call() -> dict[str, int | None]:
            self._client.delete(key)
            return {key: number}

        self._made("d", {key: number}, call)

    def _next(self, key: str) -> int:
        self._numbers[key] += 1
        return self._numbers[key]

    def _value(self, number: int) -> list[Any]:
        return [number, self._rng.randbytes(self._plan.value_bytes)]

    def _made(
        self, f: str, asked: dict[str, int | None], call: Callable[[], dict[str, int | None]]
    ) -> None:
        start, error = time.monotonic(), ""
        told: dict[str, int | None] = {}
        try:
            told = call()
        except TierclusterError as raised:
            error = type(raised).__name__
        end = time.monotonic()
        for key, number in asked.items():
            known = told.get(key) if f == "r" else number
            self.calls.append(Call(key, f, known, start, end, error, key in told))


class SharedKeys:
    """One thread that sets, gets, deletes, compares-and-sets and counts on the keys of all."""

    def __init__(self, plan: ClientPlan, number: int, client: Client, thread: int) -> None:
        self._plan, self._client, self._thread = plan, client, thread
        self._rng = random.Random(f"{plan.seed}/{plan.name}/shared/{number}")
        self._count = 0
        self.ops: list[Op] = []
        self.errors: list[str] = []

    def step(self) -> None:
        if self._rng.random() < 0.3:
            self._step_counter(self._rng.choice(self._plan.counters))
        else:
            self._step_value(self._rng.choice(self._plan.shared))

    def _step_counter(self, key: str) -> None:
        match self._rng.choices("rid", (3, 6, 1))[0]:
            case "r":
                self._made(key, "r", None, lambda: self._client.get(key))
            case "i":
                first = self._fresh() * COUNTER_STEP
                self._made(key, "i", (1, first), lambda: self._client.incr(key, initial=first))
            case _:
                self._made(key, "d", None, lambda: self._client.delete(key))

    def _step_value(self, key: str) -> None:
        new = self._fresh()
        match self._rng.choices("rwcd", (5, 4, 2, 1))[0]:
            case "r":
                self._made(key, "r", None, lambda: self._client.get(key))
            case "w":
                self._made(key, "w", new, lambda: self._client.set(key, new) or None)
            case "c":
                self._compare_and_set(key, new)
            case _:
                self._made(key, "d", None, lambda: self._client.delete(key))

    def _compare_and_set(self, key: str, new: int) -> None:
        versions: list[int] = []

        def read() -> Any:
            item = self._client.gets(key)
            versions.extend([item.version] if item else [])
            return item.value if item else None

        old = self._made(key, "r", None, read)
        if versions:
            cas = (old, new)
            self._made(key, "c", cas, lambda: self._client.cas(key, new, versions[0]))

    def _fresh(self) -> int:
        """A number that no other call of any client uses."""
        self._count += 1
        return self._count * 1000 + self._thread

    def _made(self, key: str, f: str, arg: Any, call: Callable[[], Any]) -> Any:
        start, out, error = time.monotonic(), None, ""
        try:
            out = call()
        except TierclusterError as raised:
            error = type(raised).__name__
            self.errors.append(error)
        # a set that is not stored says nothing of what is there now
        unknown = bool(error) or (f == "w" and out is None)
        end = INF if unknown else time.monotonic()
        self.ops.append(Op(self._thread, key, f, arg, out, start, end))
        return out


class Host:
    """The threads of this process. An error that is none of the client's own makes it fail."""

    def __init__(self, plan: ClientPlan) -> None:
        self._plan, self._stopping = plan, threading.Event()
        # the first map may take longer than any call later on
        with Client(plan.nodes, keys=plan.keys, timeout=FIRST_MAP_S) as early:
            self._owners = {key: early.explain(key).owner for key in plan.all_own}
        self._client = Client(plan.nodes, keys=plan.keys, timeout=plan.timeout_s)
        first = int(plan.name[1:]) * 10
        self._own = [OwnKeys(plan, i, self._client, self._owners) for i in range(plan.threads)]
        self._shared = [SharedKeys(plan, i, self._client, first + i) for i in range(plan.threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(step, i))
            for i, step in enumerate([w.step for w in self._own] + [w.step for w in self._shared])
        ]
        self._failed: list[BaseException] = []

    def run(self) -> ClientHistory:
        for own in self._own:
            own.fill()
        for thread in self._threads:
            thread.start()
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        if self._failed:
            raise self._failed[0]
        return self._history()

    def _history(self) -> ClientHistory:
        history = ClientHistory(self._plan.name, owners=self._owners)
        for own in self._own:
            history.calls += own.calls
        for shared in self._shared:
            history.ops += shared.ops
            for error in shared.errors:
                history.count(error)
        # the keys of one bulk call share its start, and its error counts once
        for _, error in {(c.start, c.error) for c in history.calls if c.error}:
            history.count(error)
        return history

    def _work(self, step: Callable[[], None], number: int) -> None:
        pause = random.Random(f"{self._plan.seed}/{self._plan.name}/pause/{number}")
        try:
            while not self._stopping.is_set():
                step()
                self._stopping.wait(self._plan.pause_s * pause.uniform(0.5, 1.5))
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            self._failed.append(error)


def main(path: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads, for sigwait
    plan = ClientPlan.load(Path(path))
    Host(plan).run().save(Path(plan.out))


if __name__ == "__main__":
    main(sys.argv[1])

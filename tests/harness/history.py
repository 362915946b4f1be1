"""Records what clients asked and were told, for the linearizability checker.

Each thread takes a `Recorder` of its own from one `History`; an operation that is still open when
the run ends, or that raised, enters with ``ret=INF``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tiercluster.checks import INF, Op, check

T = TypeVar("T")


@dataclass(slots=True)
class Recorder:
    """The operations of one client, in the order in which it made them."""

    client: int
    ops: list[Op] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    _open: Op | None = None

    def record(self, key: str, f: str, arg: Any, call: Callable[[], T]) -> T | None:
        """Makes the call. An exception is kept and None returned: its outcome is unknown."""
        start = time.monotonic()
        self._open = Op(self.client, key, f, arg, None, start, INF)
        try:
            out = call()
        except Exception as error:  # noqa: BLE001 - whatever it was, the history goes on
            self.errors.append(error)
            self.ops.append(self._open)
            self._open = None
            return None
        done = time.monotonic()
        self.ops.append(Op(self.client, key, f, arg, out, start, done))
        self._open = None
        return out

    def all_ops(self) -> list[Op]:
        return self.ops if self._open is None else [*self.ops, self._open]


@dataclass(slots=True)
class History:
    """All recorders of one run."""

    recorders: list[Recorder] = field(default_factory=list)

    def recorder(self) -> Recorder:
        recorder = Recorder(len(self.recorders))
        self.recorders.append(recorder)
        return recorder

    def ops(self) -> list[Op]:
        return [op for recorder in self.recorders for op in recorder.all_ops()]

    def clash(self) -> tuple[str | int, list[Op]] | None:
        """None if all that was told is explained by a cache that forgets but never lies."""
        return check(self.ops())

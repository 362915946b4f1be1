"""Threads that work beside a test until it has seen enough.

crew = Crew(write, read, read)  # each looks at crew.over from time to time
with crew:
    cluster.kill("n2")
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Crew:
    """Each of ``works`` runs in a thread of its own. What ended one of them too early is raised at
    the end."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self.over = threading.Event()
        self._failures: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._do, args=(work,), daemon=True) for work in works
        ]

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in the test
            self._failures.append(error)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()
        if self._failures and kind is None:  # else the test has failed for a reason of its own
            raise self._failures[0]

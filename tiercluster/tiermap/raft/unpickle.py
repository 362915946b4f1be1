"""Pickle tamed: whatever pysyncobj unpickles may hold plain values and no global at all.

Log entries are pickled inside the library (method id, arguments). Our transport speaks CBOR and our
snapshots are CBOR, so nothing else is ever unpickled. Protocol 4 writes byte strings natively (the
library's protocol 2 needs a global for them), hence the allow-list is empty: numbers, texts, byte
strings and containers pass, and no class, function or module can be named.
"""

from __future__ import annotations

import io
import pickle
from typing import IO, Any, NoReturn

import pysyncobj.journal
import pysyncobj.pickle

PROTOCOL = 4


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a log entry")

    def persistent_load(self, pid: Any, /) -> NoReturn:
        raise pickle.UnpicklingError("persistent ids have no place in a log entry")


def load(file: IO[bytes]) -> Any:
    """Plain values from a file; pickle.UnpicklingError (or what torn bytes raise) otherwise."""
    return _PlainUnpickler(file).load()


def loads(data: bytes | str) -> Any:
    """Plain values from bytes; pickle.UnpicklingError (or what torn bytes raise) otherwise."""
    return load(io.BytesIO(data if isinstance(data, bytes) else data.encode()))


def dumps(value: object, protocol: int | None = None) -> bytes:
    """As the library calls it; the protocol is ours whatever is asked for."""
    return pickle.dumps(value, PROTOCOL)


def install() -> None:
    """From here on the library unpickles plain values only. Its modules call these functions
    through the module object, so one place is enough (journal.py keeps a name of its own, but its
    classes are not used)."""
    pysyncobj.pickle.load = load
    pysyncobj.pickle.loads = loads
    pysyncobj.pickle.dumps = dumps
    pysyncobj.journal.loads = loads

"""Pickle tamed: whatever pysyncobj unpickles may hold plain values and no global at all.

Log entries are pickled inside the library (method id, arguments). Our transport speaks CBOR and our
snapshots are CBOR, so nothing else is ever unpickled. Protocol 4 writes byte strings natively (the
library's protocol 2 needs a global for them), hence the allow-list is empty: no class, function or
module can be named.

Before anything is unpickled its few steps are looked at. Only those that make small numbers, texts,
byte strings and tuples pass: a memo of four billion places, a dictionary whose keys take an hour to
hash and a string that is longer than what is there are refused.
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import IO, Any, NoReturn

import pysyncobj.journal
import pysyncobj.pickle

PROTOCOL = 4
MAX_STEPS = 64  # a call of the one replicated method takes nine

# What follows a step's own byte: so many bytes, or a length of so many bytes and then that many.
_PLAIN = {
    pickle.PROTO: 1, pickle.FRAME: 8, pickle.STOP: 0, pickle.MARK: 0, pickle.MEMOIZE: 0,
    pickle.NONE: 0, pickle.NEWTRUE: 0, pickle.NEWFALSE: 0,
    pickle.BININT: 4, pickle.BININT1: 1, pickle.BININT2: 2, pickle.BINFLOAT: 8,
    pickle.EMPTY_TUPLE: 0, pickle.TUPLE: 0, pickle.TUPLE1: 0, pickle.TUPLE2: 0, pickle.TUPLE3: 0,
}  # fmt: skip
_COUNTED = {
    pickle.SHORT_BINBYTES: struct.Struct("<B"), pickle.BINBYTES: struct.Struct("<I"),
    pickle.SHORT_BINUNICODE: struct.Struct("<B"), pickle.BINUNICODE: struct.Struct("<I"),
    pickle.LONG1: struct.Struct("<B"),
}  # fmt: skip


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a log entry")

    def persistent_load(self, pid: Any, /) -> NoReturn:
        raise pickle.UnpicklingError("persistent ids have no place in a log entry")


def load(file: IO[bytes]) -> Any:
    """Plain values from a file; pickle.UnpicklingError otherwise."""
    return loads(file.read())


def loads(data: bytes | str) -> Any:
    """Plain values from bytes; pickle.UnpicklingError otherwise."""
    plain = data if isinstance(data, bytes) else data.encode()
    check(plain)
    try:
        return _PlainUnpickler(io.BytesIO(plain)).load()
    except Exception as error:
        raise pickle.UnpicklingError(f"no log entry: {error}") from error


def check(data: bytes) -> None:
    """pickle.UnpicklingError unless it is made of a few plain steps, and all that they declare is
    there."""
    at = 0
    for _ in range(MAX_STEPS):
        step = data[at : at + 1]
        at = _after(data, step, at + 1)
        if at > len(data):
            raise pickle.UnpicklingError("cut short")
        if step == pickle.STOP:
            return
    raise pickle.UnpicklingError(f"more than {MAX_STEPS} steps")


def _after(data: bytes, step: bytes, at: int) -> int:
    """Where the next step is."""
    if step in _PLAIN:
        return at + _PLAIN[step]
    form = _COUNTED.get(step)
    if form is None:
        raise pickle.UnpicklingError(f"step {step!r} has no place in a log entry")
    if at + form.size > len(data):
        raise pickle.UnpicklingError("cut short")
    return at + form.size + int(form.unpack_from(data, at)[0])


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

"""The warm tier: values in memory, compressed, each with a checksum that is verified on read."""

from __future__ import annotations

import zstandard
from xxhash import xxh3_64_intdigest

from tiercluster.node.entry import OVERHEAD_BYTES, WARM, Entry
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.policy import Policy
from tiercluster.node.settings import TierSettings

from .resident import Residents

LEVEL = 1
SMALLEST_PACKED = 64  # bytes; what is shorter gains nothing
_CHECK_BYTES = 36  # the checksum as a Python integer

_TOO_LARGE = Failure(FailureKind.TOO_LARGE)


class Packer:
    """Compresses where that shrinks. One a thread: zstandard's objects are not shared."""

    __slots__ = ("_packer", "_unpacker")

    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor(level=LEVEL)
        self._unpacker = zstandard.ZstdDecompressor()

    def pack(self, value: bytes) -> tuple[bytes, bool]:
        """The bytes to keep, and whether they are compressed."""
        if len(value) < SMALLEST_PACKED:
            return value, False
        blob: bytes = self._packer.compress(value)
        return (blob, True) if len(blob) < len(value) else (value, False)

    def unpack(self, blob: bytes, largest: int) -> bytes | Failure:
        """The value of a compressed blob, of at most ``largest`` bytes."""
        try:
            if zstandard.frame_content_size(blob) > largest:
                return Failure(FailureKind.CORRUPT, "a compressed value of impossible size")
            value: bytes = self._unpacker.decompress(blob)
        except zstandard.ZstdError as error:
            return Failure(FailureKind.CORRUPT, f"zstd: {error}")
        return value


class WarmTier(Residents):
    """Holds the values of entries whose place is WARM."""

    place = WARM

    __slots__ = ("packer",)

    def __init__(
        self, settings: TierSettings, packer: Packer, policy: Policy | None = None
    ) -> None:
        super().__init__(settings, policy)
        self.packer = packer

    def store(
        self, entry: Entry, value: bytes, proven: bool = False, pack: bool = True
    ) -> Failure | None:
        """Take in an entry that is in no tier; ``pack`` False saves the time to compress it."""
        if len(value) > self.largest:
            return _TOO_LARGE
        failure = self.faults.on_write()
        if failure is None:
            blob, entry.packed = self.packer.pack(value) if pack else (value, False)
            entry.place = WARM
            entry.value = blob
            entry.size = len(value)
            entry.check = xxh3_64_intdigest(blob)
            entry.cost = len(blob) + len(entry.key) + OVERHEAD_BYTES + _CHECK_BYTES
            self.policy.add(entry, proven)
        return failure

    def read(self, entry: Entry) -> bytes | Failure:
        """The value as the user gave it."""
        failure = self.faults.on_read()
        if failure is not None:
            return failure
        blob = entry.value or b""
        if xxh3_64_intdigest(blob) != entry.check:
            return Failure(FailureKind.CORRUPT, "a warm value does not match its checksum")
        return self.packer.unpack(blob, entry.size) if entry.packed else blob

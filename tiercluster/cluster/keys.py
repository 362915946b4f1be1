"""Keys and namespaces: what users write, checked, as the bytes that go over the wire."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import InvalidKey
from .wire import MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, wire_key

Key = str | bytes

# Locks live in a namespace of their own beside each user namespace, so that scans and clears of
# data do not meet them; no user namespace starts with a NUL byte.
LOCKS_MARK = b"\0lock:"
MAX_USER_NAMESPACE_BYTES = MAX_NAMESPACE_BYTES - len(LOCKS_MARK)


def encode_key(key: Key) -> bytes:
    """The bytes of a key, 1 to 1024; InvalidKey says what is wrong with anything else."""
    if isinstance(key, str):
        encoded = encode_text(key)
    elif isinstance(key, bytes):
        encoded = bytes(key)
    else:
        raise InvalidKey(f"a key is str or bytes, not {type(key).__name__}")
    if not 0 < len(encoded) <= MAX_KEY_BYTES:
        raise InvalidKey(f"a key is 1 to {MAX_KEY_BYTES} bytes long, this one is {len(encoded)}")
    return encoded


def encode_text(text: str) -> bytes:
    """UTF-8; what `decode_text` made of other bytes becomes those bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidKey(f"a key must be encodable as UTF-8: {error.reason}") from None


def decode_text(key: bytes) -> str:
    """A key as scans yield it: bytes that are not UTF-8 become lone surrogates (PEP 383)."""
    return key.decode("utf-8", "surrogateescape")


def encode_prefix(prefix: Key) -> bytes:
    """The start of keys, 0 to 1024 bytes; InvalidKey for anything else."""
    return b"" if prefix in ("", b"") else encode_key(prefix)


def encode_namespace(namespace: str) -> bytes:
    """ValueError for a namespace that cannot be one."""
    if not isinstance(namespace, str):
        raise TypeError(f"a namespace is str, not {type(namespace).__name__}")
    encoded = namespace.encode()
    if len(encoded) > MAX_USER_NAMESPACE_BYTES or encoded.startswith(b"\0"):
        raise ValueError(
            f"a namespace is at most {MAX_USER_NAMESPACE_BYTES} bytes and starts with no NUL"
        )
    return encoded


# Stands between keys while many are encoded in one go; one that holds it is encoded by itself.
_BETWEEN = "\x1e"


class Space:
    """One namespace: puts its prefix before keys, and takes it off again."""

    __slots__ = ("_prefix_text", "name", "prefix")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.prefix = wire_key(name, b"")
        self._prefix_text = _text_or_none(self.prefix)

    def wire(self, key: Key) -> bytes:
        return self.prefix + encode_key(key)

    def wires(self, keys: Sequence[Key]) -> list[bytes]:
        """`wire` of each; texts are encoded and checked together."""
        found = self._wires_of_texts(keys)
        if (
            len(found) == len(keys) > 0
            and min(map(len, found)) > len(self.prefix)
            and max(map(len, found)) <= len(self.prefix) + MAX_KEY_BYTES
        ):
            return found
        return [self.wire(key) for key in keys]

    def _wires_of_texts(self, keys: Sequence[Key]) -> list[bytes]:
        """Of another length than ``keys`` if they are not all texts, or hold `_BETWEEN`."""
        prefix = self._prefix_text
        if prefix is None:
            return []
        try:
            joined = prefix + (_BETWEEN + prefix).join(keys)  # type: ignore[arg-type]
            return joined.encode().split(_BETWEEN.encode())
        except (TypeError, UnicodeEncodeError):  # bytes; lone surrogates, of `decode_text`
            return []

    def starting_with(self, prefix: Key) -> bytes:
        return self.prefix + encode_prefix(prefix)

    def text(self, wire: bytes) -> str:
        """The key of a wire key of this namespace."""
        return decode_text(wire[len(self.prefix) :])

    def locks(self) -> Space:
        """The namespace of this one's locks and leases."""
        return Space(LOCKS_MARK + self.name)


def _text_or_none(prefix: bytes) -> str | None:
    """The prefix as a text, if it is one that can be put before keys in bulk."""
    try:
        text = prefix.decode()
    except UnicodeDecodeError:  # the length of a long namespace is no UTF-8
        return None
    return None if _BETWEEN in text else text

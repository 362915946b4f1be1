"""Every decoder that takes bytes from elsewhere, as a function that raises only what is a bug."""

from __future__ import annotations

import contextlib
import io
import pickle
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tiercluster.cli.config import ConfigError, combine, from_env, from_toml
from tiercluster.cluster.api import report_of
from tiercluster.cluster.codec import (
    decode_plain,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from tiercluster.cluster.errors import InvalidKey, ProtocolError, SerializationError
from tiercluster.cluster.feed import Feed
from tiercluster.cluster.keys import decode_text, encode_text
from tiercluster.cluster.keys_files import read_pair, read_public
from tiercluster.cluster.options import arguments_of_url
from tiercluster.cluster.values import Values
from tiercluster.cluster.wire import MAX_VALUE_BYTES, MapUpdate, Report, WireError
from tiercluster.node.failures import Failure, FailureKind
from tiercluster.node.foreign import MARK, parse_outage, row_key
from tiercluster.node.http import _handler
from tiercluster.node.tiers.cold import ColdStore
from tiercluster.node.tiers.warm import Packer
from tiercluster.tiermap import (
    TierRef,
    apply,
    decode_command,
    decode_delta,
    decode_event,
    decode_map,
    decode_state,
    encode_command,
    encode_event,
    encode_map,
    encode_state,
    patch,
)
from tiercluster.tiermap.raft import DamagedError, JournalError, snapshot
from tiercluster.tiermap.raft.files import seal
from tiercluster.tiermap.raft.identity import MAGIC as MARKER_MAGIC
from tiercluster.tiermap.raft.identity import _decode as read_marker
from tiercluster.tiermap.raft.journal import _scan
from tiercluster.tiermap.raft.library import is_append
from tiercluster.tiermap.raft.messages import Hello, decode, encode_hello, encode_raft
from tiercluster.tiermap.raft.unpickle import loads
from tiercluster.tiermap.raft.vote import MAGIC as VOTE_MAGIC
from tiercluster.tiermap.raft.vote import read_vote

from . import seeds

Target = Callable[[bytes], None]
CORPUS = Path(__file__).parent / "corpus"


def frames_of(data: bytes) -> list[bytes]:
    """Up to 255 frames from one string: how many, then their lengths in two bytes, then they; the
    last takes what is left."""
    count, at, frames = (data[0] if data else 0), 1, []
    for number in range(count):
        size = int.from_bytes(data[at : at + 2], "big") if number < count - 1 else len(data)
        frames.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return frames


def packed(frames: list[bytes]) -> bytes:
    """What `frames_of` takes apart."""
    return bytes((len(frames),)) + b"".join(len(f).to_bytes(2, "big") + f for f in frames)


def request(data: bytes) -> None:
    with contextlib.suppress(WireError):
        message = decode_request(frames_of(data))
        assert decode_request(encode_request(message)) == message


def reply(data: bytes) -> None:
    with contextlib.suppress(WireError):
        message = decode_reply(frames_of(data))
        assert decode_reply(encode_reply(message)) == message


def plain(data: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_plain(data)
    with contextlib.suppress(ProtocolError):
        report_of(Report(data))


def command(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decoded = decode_command(data)
        state = apply(seeds.state(), decoded)
        assert encode_command(decode_command(encode_command(decoded))) == encode_command(decoded)
        assert decode_state(encode_state(state)) == state


def state(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decoded = decode_state(data)
        assert decode_state(encode_state(decoded)) == decoded


def tier_map(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decoded = decode_map(data)
        assert decode_map(encode_map(decoded)) == decoded


def delta(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        patch(seeds.state().map, decode_delta(data))


def feed(data: bytes) -> None:
    """What a client takes of a map that is pushed to it; then it routes by it."""
    known = Feed()
    known.take(MapUpdate(0, encode_map(seeds.state().map)), seeds.state().map.version)
    for base in (0, seeds.state().map.version):
        with contextlib.suppress(ProtocolError):
            known.take(MapUpdate(base, data), 2**40)
    assert known.router is not None
    known.router.sole_owner((b"\x00key",))


def event(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decoded = decode_event(data)
        assert decode_event(encode_event(decoded)) == decoded


def raft_message(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        message = decode(data)
        again = (
            encode_hello(message)
            if isinstance(message, Hello)
            else encode_raft(message.session, message.to_session, message.body)
        )
        assert decode(again) == message


def raft_snapshot(data: bytes) -> None:
    for whole in (data, seal(snapshot.MAGIC, data)):
        with contextlib.suppress(DamagedError):
            snapshot.decode(Path("s"), whole)


def raft_entry(data: bytes) -> None:
    is_append(b"\x00" + data)
    with contextlib.suppress(pickle.UnpicklingError):
        loads(data)


def raft_journal(data: bytes) -> None:
    with contextlib.suppress(DamagedError):
        _scan(Path("j"), data)


def _in_file(read: Callable[[Path], object], data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=_directory()) as file:
        file.write(data)
        file.flush()
        read(Path(file.name))


def _directory() -> str:
    return "/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir()


def raft_files(data: bytes) -> None:
    for magic, read in ((VOTE_MAGIC, read_vote), (MARKER_MAGIC, read_marker)):
        for whole in (data, seal(magic, data)):
            with contextlib.suppress(JournalError):
                _in_file(read, whole)


def key_file(data: bytes) -> None:
    for read in (read_public, read_pair):
        with contextlib.suppress(ValueError):
            _in_file(read, data)


def cold_store(data: bytes) -> None:
    """A store whose file is this; rows that it vouches for can be used as the shard uses them."""
    with tempfile.TemporaryDirectory(dir=_directory()) as directory:
        (Path(directory) / "cold.db").write_bytes(data)
        store = ColdStore(Path(directory))
        opened = store.open(wipe=False)
        try:
            if isinstance(opened, Failure):
                return
            for row in opened.rows[:50]:
                assert type(row.key) is bytes
                assert type(row.version) is type(row.flags) is type(row.size) is int
                assert 0 <= row.flags < 256
                assert row.expires_wall is None or type(row.expires_wall) is float
                found = store.get(row.key, row.version)
                assert found is None or isinstance(found, Failure) or type(found[0]) is bytes
            store.put(b"k", 1, 1, 0, None, b"v")
            store.commit()
            store.probe()
        finally:
            store.close(("i", 1))


_PACKER = Packer()


def packed_value(data: bytes) -> None:
    """A row of the disk, or what a peer kept for us; and as an entry of the warm tier, of 1000."""
    for largest in (1000, MAX_VALUE_BYTES):
        value = _PACKER.unpack(data, largest)
        if isinstance(value, Failure):
            assert value.kind is FailureKind.CORRUPT
        else:
            assert type(value) is bytes
            assert len(value) <= largest


def outage(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ValueError):
        ref, generation = parse_outage(text)
        assert TierRef.parse(str(ref)) == ref
        assert generation >= 0
        row, tag = row_key(text, b"\x00key"), text.encode()
        assert row[:2] == MARK + bytes((len(tag),))
        assert row[2:] == tag + b"\x00key"


class _Connection:
    """One that has sent all that it will, and keeps what it is answered."""

    def __init__(self, sent: bytes) -> None:
        self._sent, self.answer = sent, b""

    def settimeout(self, seconds: float) -> None:
        """What it sends is there."""

    def makefile(self, mode: str, buffering: int) -> io.BytesIO:
        return io.BytesIO(self._sent)

    def sendall(self, data: bytes) -> None:
        self.answer += data


_HTTP = _handler(seeds.view)
_STATUS = (200, 400, 404, 408, 414, 431, 501, 505)  # of a node that is ready
_HEADERS = {b"Server", b"Date", b"Connection", b"Content-Type", b"Content-Length"}


def http(data: bytes) -> None:
    """One answer, or none, with nothing in its head that the asker has put there."""
    connection = _Connection(data)
    _HTTP(connection, ("127.0.0.1", 1), None)  # type: ignore[arg-type]
    head, _, _ = connection.answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/"):  # a line without a version is answered without a head
        first, *lines = head.split(b"\r\n")
        version, status, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.0"
        assert int(status) in _STATUS
        assert {line.partition(b":")[0] for line in lines} <= _HEADERS


def config(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ConfigError):
        combine(from_toml(text, "node.toml"))
    name, _, value = text.partition("=")
    with contextlib.suppress(ConfigError):
        combine(from_env({f"TIERCLUSTER_{name.upper()}": value}))
    with contextlib.suppress(ValueError):
        arguments_of_url(f"tier://{text}")


def value(data: bytes) -> None:
    flags, stored = (data[0] if data else 0), data[1:]
    for serializer in ("cbor", "json"):
        with contextlib.suppress(SerializationError):
            # Flags of pickle are refused: nobody here asked for it.
            Values(serializer).decode(stored, flags)


def key(data: bytes) -> None:
    assert encode_text(decode_text(data)) == data
    with contextlib.suppress(InvalidKey):
        encode_text(data.decode("utf-16", "surrogatepass") if len(data) % 2 == 0 else "")


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """``slow``: milliseconds, not microseconds, a run."""

    run: Target
    seeds: tuple[bytes, ...]
    slow: bool = False


def _all() -> dict[str, Fuzzed]:
    return {
        "request": Fuzzed(request, tuple(packed(f) for f in seeds.requests())),
        "reply": Fuzzed(reply, tuple(packed(f) for f in seeds.replies())),
        "plain": Fuzzed(plain, seeds.plains()),
        "command": Fuzzed(command, seeds.commands()),
        "state": Fuzzed(state, seeds.states()),
        "map": Fuzzed(tier_map, seeds.maps()),
        "delta": Fuzzed(delta, seeds.deltas()),
        "feed": Fuzzed(feed, seeds.maps() + seeds.deltas()),
        "event": Fuzzed(event, seeds.events()),
        "raft_message": Fuzzed(raft_message, seeds.raft_messages()),
        "raft_snapshot": Fuzzed(raft_snapshot, seeds.raft_snapshots()),
        "raft_entry": Fuzzed(raft_entry, seeds.raft_entries()),
        "raft_journal": Fuzzed(raft_journal, seeds.raft_journals()),
        "raft_files": Fuzzed(raft_files, seeds.raft_files()),
        "key_file": Fuzzed(key_file, seeds.key_files()),
        "config": Fuzzed(config, seeds.configs()),
        "value": Fuzzed(value, seeds.values()),
        "key": Fuzzed(key, (b"key", b"\xff\xfe", "\U0001f600".encode())),
        "cold_store": Fuzzed(cold_store, seeds.cold_stores(), slow=True),
        "packed_value": Fuzzed(packed_value, seeds.packed_values()),
        "outage": Fuzzed(outage, seeds.outages()),
        "http": Fuzzed(http, seeds.http_requests()),
    }


def kept(name: str) -> tuple[bytes, ...]:
    """What once raised, and more of its kind: `corpus/NAME.hex`, one a line, `zlib HEX` where it is
    long; lines with # are words. FileNotFoundError if there is none: a target has to have some."""
    lines = (CORPUS / f"{name}.hex").read_text(encoding="ascii").splitlines()
    return tuple(_input(line) for line in lines if line and not line.startswith("#"))


def _input(line: str) -> bytes:
    word, _, digits = line.rpartition(" ")
    data = bytes.fromhex(digits)
    return zlib.decompress(data) if word == "zlib" else data


TARGETS: dict[str, Fuzzed] = {
    name: replace(fuzzed, seeds=fuzzed.seeds + kept(name)) for name, fuzzed in _all().items()
}

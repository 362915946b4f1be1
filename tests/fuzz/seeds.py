"""Good bytes of every kind, from which the bad ones are made."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import zstandard

from tiercluster.cluster.codec import encode_reply, encode_request
from tiercluster.cluster.keys_files import make_keys
from tiercluster.cluster.values import Encoding, Values
from tiercluster.cluster.wire import (
    ANSWERED,
    ASKED,
    CLIENT_ID_BYTES,
    VERSION,
    Kind,
    MapUpdate,
    Refusal,
    Replicate,
    Reply,
    Request,
    Status,
)
from tiercluster.node.messages import ShardStats, StandingKnown, TierStats
from tiercluster.node.tiers.cold import ColdStore
from tiercluster.node.tiers.warm import Packer
from tiercluster.node.view import NodeView
from tiercluster.tiermap import (
    TIERS,
    Barrier,
    Command,
    Drain,
    Drained,
    MapState,
    NodeJoined,
    NodeStopped,
    RemoveNode,
    ReportReachable,
    ReportUnreachable,
    Restore,
    Tier,
    TierFailed,
    TierRecovered,
    TierRecovering,
    TierRef,
    apply,
    diff,
    encode_command,
    encode_delta,
    encode_event,
    encode_map,
    encode_state,
)
from tiercluster.tiermap.raft import cbor, snapshot
from tiercluster.tiermap.raft.journal import _record
from tiercluster.tiermap.raft.messages import Hello, encode_hello, encode_raft
from tiercluster.tiermap.raft.unpickle import dumps

_ONE: dict[str, Any] = {
    "i": 1, "u": 2, "f": 1.5, "b": True, "s": "text", "y": b"\x01", "k": b"\x00key",
    "K": (b"\x00a", b"\x00b"), "N": (3, 4), "V": (5, 6),
}  # fmt: skip


def _filled(cls: type[Any]) -> Any:
    """A message whose every field holds something of its kind."""
    codes = cls.shape.split()
    values = [(_ONE[c[0]],) if "*" in c else _ONE[c[0]] for c in codes]
    return cls(**{f.name: v for f, v in zip(fields(cls), values, strict=True)})


def requests() -> list[list[bytes]]:
    client = bytes(CLIENT_ID_BYTES)
    made = [
        Request(kind, 1, 2, 3, client, False, _filled(cls), protocol=VERSION)
        for kind, cls in ASKED.items()
    ]
    return [encode_request(r) for r in made] + [_store(), _replicate()]


def _store() -> list[bytes]:
    head = cbor2.loads(encode_request(_request_of_store())[0])
    return [cbor2.dumps(head), b"abcdefg"]


def _replicate() -> list[bytes]:
    asked = Replicate(
        "n1", "a#1", "b#1", 1, 1, False, b"\x00\x01", (b"\x00a", b"\x00b"), (5, 0), (3, 0),
        b"\x00\x01", (1.5, None), bytes(40), b"\x00", 3, (1, 2),
    )  # fmt: skip
    client = bytes(CLIENT_ID_BYTES)
    return encode_request(
        Request(Kind.REPLICATE, 1, 2, 3, client, False, asked, b"abc", VERSION)
    )  # fmt: skip


def _request_of_store() -> Request:
    kind, cls = next((k, c) for k, c in ASKED.items() if c.__name__ == "Store")
    stored = cls(0, (b"\x00a", b"\x00b"), (3, 4), b"\x01\x01", (None,))
    return Request(kind, 1, 2, 3, bytes(CLIENT_ID_BYTES), False, stored, b"abcdefg")


def replies() -> list[list[bytes]]:
    made = [Reply(kind, 1, 2, 3, Status.OK, _filled(cls)) for kind, cls in ANSWERED.items()]
    kind = next(iter(ANSWERED))
    made.append(Reply(kind, 1, 2, 3, Status.REFUSED, _filled(Refusal)))
    made.append(Reply(kind, 1, 2, 3, Status.STALE_MAP, _filled(MapUpdate)))
    return [encode_reply(r) for r in made]


def plains() -> tuple[bytes, ...]:
    values = ({"leader": "n1", "quorum": True, "tiers": [{"bytes": 1.5}]}, [1, -1, None], "x", {})
    return tuple(map(cbor2.dumps, values))


@functools.cache
def _commands() -> tuple[Command, ...]:
    who: dict[str, Any] = {"by": "n1", "time": 1.5}
    cold = TierRef("n1", Tier.COLD)
    joins = [
        NodeJoined(id=f"j{n}", node=f"n{n}", cluster="c", address=f"h:{n}", raft=f"h:{n + 9}",
                   weight=1.0, expected="", incarnation=f"i{n}", keep_cold=False,
                   max_unavailable=0.4, **who)
        for n in (1, 2, 3)
    ]  # fmt: skip
    facts: dict[str, Any] = {"evidence": (("errors", 5), ("rate", 0.5), ("text", "EIO"))}
    return (
        *joins,
        TierFailed(id="f", ref=cold, generation=1, reason="io", **facts, **who),
        TierRecovering(id="g", ref=cold, generation=1, **facts, **who),
        TierRecovered(id="h", ref=cold, generation=1, keep=False, **facts, **who),
        ReportUnreachable(id="u", node="n3", incarnation="i3", by_incarnation="i1", **facts, **who),
        ReportReachable(id="r", node="n3", incarnation="i3", **who),
        Drain(id="d", node="n2", tiers=TIERS, force=True, **who),
        Drained(id="e", node="n2", tiers=TIERS, incarnation="i2", **facts, **who),
        Restore(id="s", node="n2", tiers=TIERS, **who),
        NodeStopped(id="t", node="n3", incarnation="i3", **who),
        RemoveNode(id="m", node="n3", force=True, **who),
        Barrier(id="b", **who),
    )


def commands() -> tuple[bytes, ...]:
    return tuple(map(encode_command, _commands()))


@functools.cache
def _history() -> tuple[MapState, ...]:
    states = [MapState()]
    for command in _commands():
        states.append(apply(states[-1], command))
    return tuple(states)


def state() -> MapState:
    """After three members have joined and a tier has failed."""
    return _history()[4]


def states() -> tuple[bytes, ...]:
    return tuple(map(encode_state, _history()[::4]))


def maps() -> tuple[bytes, ...]:
    return tuple(encode_map(s.map) for s in _history()[::4])


def deltas() -> tuple[bytes, ...]:
    later = (s.map for s in _history()[5:])
    return tuple(encode_delta(diff(state().map, new)) for new in later)


def events() -> tuple[bytes, ...]:
    return tuple(map(encode_event, _history()[-1].events))


def raft_messages() -> tuple[bytes, ...]:
    bodies: list[dict[str, Any]] = [
        {"type": "pre_vote", "round": 1, "last_log_index": 2, "last_log_term": 3},
        {"type": "pre_vote_answer", "round": 1, "term": 2, "granted": True},
        {"type": "request_vote", "term": 1, "last_log_index": 2, "last_log_term": 3},
        {"type": "response_vote", "term": 4},
        {"type": "append_entries", "term": 1, "commit_index": 2, "prevLogIdx": 3,
         "prevLogTerm": None, "entries": [[b"\x00x", 4, 1], [b"\x01", 5, 1]]},
        {"type": "append_entries", "term": 1, "commit_index": 2,
         "serialized": [b"chunk", True, False]},
        {"type": "next_node_idx", "next_node_idx": 1, "reset": True, "success": False, "term": 1},
        {"type": "apply_command", "command": b"\x00x", "request_id": 5},
        {"type": "apply_command_response", "request_id": 5, "log_idx": 6, "log_term": 1},
    ]  # fmt: skip
    hello = encode_hello(Hello("c", "n1", 5, 6, 1, 2, 3, "digest"))
    return (hello, *(encode_raft(5, 6, body) for body in bodies))


def raft_snapshots() -> tuple[bytes, ...]:
    made = snapshot.Snapshot(encode_state(state()), (b"\x00x", 7, 2), (b"\x00y", 6, 2))
    whole = snapshot.encode(made)
    return whole, whole[8:]  # with and without its seal


def raft_entries() -> tuple[bytes, ...]:
    values = ((0, (b"frame",)), (1, ("text", 1.5, None, True)), 7, (0, (b"x" * 300,)))
    return tuple(map(dumps, values))


def raft_journals() -> tuple[bytes, ...]:
    records = [_record((b"\x00command", index, 1), 60 * index) for index in range(1, 6)]
    return b"".join(records), records[0], b""


def raft_files() -> tuple[bytes, ...]:
    return tuple(map(cbor.dumps, ([3, "n1", 9], [3, None, 9], ["c", "n1", True])))


@functools.cache
def key_files() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as directory:
        make_keys(directory, "k")
        return tuple(file.read_bytes() for file in sorted(Path(directory).iterdir()))


def configs() -> tuple[bytes, ...]:
    return (
        b'id = "n1"\nlisten = "127.0.0.1:7701"\npeers = ["n2=10.0.0.2:7801"]\nhot = "1GiB"\n',
        b'[cold]\nsize = 1048576\ndeadline_s = 0.5\n[detector]\nlease_s = 0.4\n',
        b"hot_size=1GiB", b"peers=n2=h:1,n3=h:2", b"allow_faults=true", b"weight=1.5",
        b"h:1,h:2/ns?timeout=0.2&on_error=miss&default_ttl=none",
    )  # fmt: skip


def values() -> tuple[bytes, ...]:
    cbor_, json_ = Values("cbor"), Values("json")
    made = [cbor_.encode(v) for v in (1, b"x", {"a": [1, None, 2.5]}, {1, 2}, Decimal("1.5"))]
    made += [cbor_.encode(2**100), json_.encode({"a": [1, "x", None]})]
    stored = [bytes((flags,)) + data for data, flags in made]
    return (*stored, bytes((Encoding.PICKLE,)) + b"\x80\x04N.")


@functools.cache
def cold_stores() -> tuple[bytes, ...]:
    """The file of a store that was closed cleanly."""
    with tempfile.TemporaryDirectory() as directory:
        store = ColdStore(Path(directory))
        store.open(wipe=True)
        for number in range(20):
            expires = 2e9 if number % 2 else None
            store.put(b"\x00k%d" % number, number + 1, 1, 1, expires, b"value" * number)
        store.close(("i1", 1))
        return (store.path.read_bytes(),)


def packed_values() -> tuple[bytes, ...]:
    """Of the warm and the cold tier, and frames that zstd can make and a tier does not."""
    text = b"".join(b"%d;" % number for number in range(200))
    made = [Packer().pack(value)[0] for value in (bytes(100), b"ab" * 50_000, text)]
    other = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=False)
    return (*made, other.compress(text), zstandard.ZstdCompressor(level=19).compress(text))


def outages() -> tuple[bytes, ...]:
    return b"n1/cold@1", b"n2/hot@7", b"node-3.example/warm@184467440737"


def view() -> NodeView:
    """Of a node that serves."""
    standing = StandingKnown("n1", True, True, "")
    tiers, breakers = (TierStats(1, 2, 3, 4, 5, note="shrunk"),) * 3, ("closed", "open", "closed")
    stats = ShardStats(tiers, (("reads", 7),), breakers)
    return NodeView("n1", True, True, "lease held", state().map, standing, stats, (("ticks", 1),))


def http_requests() -> tuple[bytes, ...]:
    return (
        b"GET /metrics HTTP/1.1\r\nHost: n1:7901\r\nAccept: text/plain;version=0.0.4\r\n\r\n",
        b"GET /readyz?verbose=1 HTTP/1.0\r\n\r\n",
        b"GET http://n1:7901/healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nExpect: 100-continue\r\nX: a,\r\n b\r\n\r\nGET / HTTP/1.0\r\n",
        b"HEAD /healthz HTTP/1.1\r\n\r\n", b"GET /healthz\r\n",
    )  # fmt: skip

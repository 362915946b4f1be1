"""What the software of version 1 makes of bytes; run with its package by `old.OldSoftware`.

One JSON line in, one out: ``{"do": "decode", "what": "map", "frames": [hex, ...]}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from tiercluster import tiermap
from tiercluster.cluster import codec, wire
from tiercluster.tiermap.raft import journal, messages, snapshot

Answer = dict[str, Any]


def frames_of(kind: str, value: Any) -> list[bytes]:
    """A value of this kind, as the package that is imported writes it."""
    match kind:
        case "request":
            return codec.encode_request(value)
        case "reply":
            return codec.encode_reply(value)
        case "raft":
            if isinstance(value, messages.Hello):
                return [messages.encode_hello(value)]
            return [messages.encode_raft(value.session, value.to_session, value.body)]
        case _:
            return [getattr(tiermap, f"encode_{kind}")(value)]


def value_of(kind: str, frames: list[bytes]) -> Any:
    match kind:
        case "request":
            return codec.decode_request(frames)
        case "reply":
            return codec.decode_reply(frames)
        case "raft":
            return messages.decode(frames[0])
        case _:
            return getattr(tiermap, f"decode_{kind}")(frames[0])


def decode(ask: Answer) -> Answer:
    frames = [bytes.fromhex(frame) for frame in ask["frames"]]
    try:
        value = value_of(ask["what"], frames)
    except ValueError as error:
        return {"error": str(error)}
    again = [frame.hex() for frame in frames_of(ask["what"], value)]
    return {"repr": repr(value), "again": again}


def apply(ask: Answer) -> Answer:
    """The states after each of these entries of the log, as a member would show them."""
    state, said = tiermap.MapState(), []
    for frame in ask["frames"]:
        try:
            command = tiermap.decode_command(bytes.fromhex(frame))
        except ValueError:
            pass
        else:
            state = tiermap.apply(state, command)
        said.append([state.map.version, state.map.digest])
    return {"digests": said, "state": tiermap.encode_state(state).hex()}


def write(ask: Answer) -> Answer:
    """A journal and a snapshot, with these entries."""
    directory = Path(ask["directory"])
    log = journal.Journal(directory, fsync=False)
    for index, frame in enumerate(ask["frames"], 1):
        log.add(bytes.fromhex(frame), index, 3)
    log.sync()
    log.setCurrentTerm(3, "n2")
    log._destroy()
    entries = [(bytes.fromhex(frame), index, 3) for index, frame in enumerate(ask["frames"], 1)]
    saved = snapshot.Snapshot(bytes.fromhex(ask["state"]), entries[-1], entries[-2])
    snapshot.SnapshotStore(directory / "snapshot", fsync=False).write(saved)
    return {}


def read(ask: Answer) -> Answer:
    directory = Path(ask["directory"])
    log = journal.Journal(directory, fsync=False)
    saved = snapshot.SnapshotStore(directory / "snapshot", fsync=False).read()
    assert saved is not None
    answer = {
        "entries": [[command.hex(), index, term] for command, index, term in log[:]],
        "vote": [log.getCurrentTerm(), log.getVotedForNodeId()],
        "state": saved.state.hex(),
        "version": tiermap.decode_state(saved.state).map.version,
    }
    log._destroy()
    return answer


# --- a sample of everything that version 1 says -------------------------------------------------

EVIDENCE = (("failures", 5), ("rate", 0.5), ("path", "/data"))
SAMPLES: dict[str, Any] = {
    "i": 7, "u": 8, "f": 1.5, "b": True, "s": "text", "y": b"bytes", "k": b"\x00key",
    "K": (b"\x00a", b"\x00b"), "N": (3, -1), "V": (2**41, 0),
}  # fmt: skip


def wire_fields(cls: type[Any]) -> Any:
    """One message of this class; STORE needs lists that belong together."""
    if cls is wire.Store:
        return wire.Store(0, (b"\x00a", b"\x00b"), (1, 2), b"\x00\x01", (1.5, None))
    values = []
    for code in cls.shape.split():
        value = SAMPLES[code[0]]
        values.append((value,) * 2 if "*" in code else None if "?" in code else value)
    return cls(*values)


def tier_maps() -> Any:
    record = tiermap.TierRecord(
        tiermap.Tier.COLD, tiermap.Health.DOWN, tiermap.Admin.DRAINING, 4, True, "EIO", "n1", 6,
        EVIDENCE,
    )  # fmt: skip
    tiers = (*tiermap.Member("n", "a:1").tiers[:2], record)
    members = (
        tiermap.Member("n1", "a:1", "a:2", 2.0, incarnation="p#1", reason="joined", tiers=tiers),
        tiermap.Member("n2", "b:1", state=tiermap.NodeState.DOWN, incarnation="q#2"),
        tiermap.Member("n3", "c:1", state=tiermap.NodeState.LEFT, unreachable_by=("n1",)),
    )
    old = tiermap.TierMap("c", 6, 5, members[:2], "d", 0.25, "p#1")
    return old, tiermap.TierMap("c", 7, 6, members, "e", 0.25, "p#1")


def command_of(cls: type[Any]) -> Any:
    known = {
        "id": "c1", "by": "n1", "time": 1.5, "node": "n2", "cluster": "c", "address": "a:1",
        "raft": "a:2", "weight": 2.0, "expected": "p#1", "incarnation": "p#2", "keep_cold": True,
        "max_unavailable": 0.25, "by_incarnation": "q#1", "evidence": EVIDENCE, "force": True,
        "ref": tiermap.TierRef("n2", tiermap.Tier.COLD), "generation": 3, "reason": "EIO",
        "keep": True, "tiers": tiermap.TIERS,
    }  # fmt: skip
    return cls(**{field.name: known[field.name] for field in fields(cls)})


RAFT_FIELDS: dict[str, Any] = {
    "granted": True, "reset": False, "success": True, "entries": [[b"x", 4, 2], [b"y", 5, 2]],
    "serialized": [b"z", True, False], "command": b"\x00x",
}  # fmt: skip


def samples() -> dict[str, tuple[str, Any]]:
    """By name: the kind of frame, and a value."""
    old, new = tier_maps()
    event = tiermap.Event(7, 1.5, "n1/cold", "UP", "DOWN", "n1", "EIO", EVIDENCE)
    outcome = tiermap.Outcome("c1", tiermap.OutcomeCode.REFUSED, "by the guard", 7)
    said: dict[str, tuple[str, Any]] = {
        "map": ("map", new),
        "map of nobody": ("map", tiermap.TierMap()),
        "delta": ("delta", tiermap.diff(old, new)),
        "event": ("event", event),
        "state": ("state", tiermap.MapState(new, (event,), (outcome,))),
        "hello": ("raft", messages.Hello("c", "n1", 5, 6, 7, 8, 9, "digest")),
    }
    for cls in tiermap.Command.__args__:
        said[cls.__name__] = "command", command_of(cls)
    for kind, (library_type, checks) in messages.SHAPES.items():
        body = {name: RAFT_FIELDS.get(name, 3) for name in checks}
        said[f"raft {kind}"] = "raft", messages.Raft(5, 6, {"type": library_type, **body})
    for kind, cls in wire.ASKED.items():
        asked = wire_fields(cls)
        body_ = b"abc" if cls is wire.Store else b""
        said[f"{kind.name} asked"] = (
            "request", wire.Request(kind, 1, 7, 99, b"client-1", True, asked, body_),
        )  # fmt: skip
    for kind, cls in wire.ANSWERED.items():
        said[f"{kind.name} answered"] = (
            "reply", wire.Reply(kind, 1, 7, 99, wire.Status.OK, wire_fields(cls), b"abc"),
        )  # fmt: skip
    for status in wire.Status:
        if status is not wire.Status.OK:
            cls = wire.MapUpdate if status is wire.Status.STALE_MAP else wire.Refusal
            said[f"GET {status.name}"] = (
                "reply", wire.Reply(wire.Kind.GET, 1, 7, 99, status, wire_fields(cls)),
            )  # fmt: skip
    return said


def record(_: Answer) -> Answer:
    """Every sample, as version 1 writes it."""
    return {
        name: {"what": kind, "frames": [frame.hex() for frame in frames_of(kind, value)]}
        for name, (kind, value) in samples().items()
    }


DO: dict[str, Callable[[Answer], Answer]] = {
    "decode": decode,
    "apply": apply,
    "write": write,
    "read": read,
    "record": record,
}

if __name__ == "__main__":
    assert wire.VERSION == messages.VERSION == tiermap.CODEC_VERSION == 1
    for line in sys.stdin:
        print(json.dumps(DO[json.loads(line)["do"]](json.loads(line))), flush=True)

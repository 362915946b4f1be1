"""What `doctor` makes of what it sees: each finding is ok, warn or fail, with what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tiercluster.tiermap import Event, NodeState, TierState

from .view import View, reason_of, state_of

OK, WARN, FAIL = "ok", "warn", "fail"
CLOCK_AHEAD_S = 2.0  # an event from further in the future means that clocks differ
FEW_FILES, ENOUGH_FILES = 1024, 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis; ``advice`` is empty if it is ok."""

    level: str
    check: str
    text: str
    advice: str = ""


def file_limit(limit: int) -> Finding:
    """Each connection needs two descriptors."""
    text = f"{limit} open files allowed"
    if limit < FEW_FILES:
        return Finding(FAIL, "file limit", text, f"ulimit -n {ENOUGH_FILES} before `start`")
    if limit < ENOUGH_FILES:
        return Finding(WARN, "file limit", text, f"ulimit -n {ENOUGH_FILES} for many clients")
    return Finding(OK, "file limit", text)


def cluster(view: View, events: Iterable[Event], now: float) -> Iterator[Finding]:
    """Everything about a cluster that answered."""
    yield _quorum(view)
    yield from _members(view)
    yield _versions(view)
    yield _digests(view)
    yield from _tiers(view)
    yield _clock(events, now)


def _quorum(view: View) -> Finding:
    newest = view.newest
    if newest.get("quorum"):
        return Finding(OK, "quorum", f"yes, leader {newest.get('leader') or 'not known here'}")
    note = f": {newest['note']}" if newest.get("note") else ""
    advice = "start the missing voters; reads and writes go on with the last map meanwhile"
    return Finding(FAIL, "quorum", f"none{note}", advice)


def _members(view: View) -> Iterator[Finding]:
    for member in view.map.members:
        said = view.said.get(member.id)
        check = f"node {member.id}"
        if member.state is NodeState.DOWN:
            text = f"DOWN{': ' + member.reason if member.reason else ''}"
            advice = f"start it again, or `tiercluster node remove {member.id}`"
            yield Finding(FAIL, check, text, advice)
        elif member.state is NodeState.UP and said is None:
            advice = "check its process, its log and the network between here and there"
            yield Finding(FAIL, check, f"UP, but no answer from {member.address}", advice)
        elif member.state is NodeState.UP and said is not None:
            yield _serving(check, bool(said.get("serving")), str(said.get("serving_reason", "")))


def _serving(check: str, serving: bool, reason: str) -> Finding:
    if serving:
        return Finding(OK, check, "UP and serving")
    advice = "wait a moment; if it stays so, look at its log"
    return Finding(WARN, check, f"does not serve: {reason or 'no reason given'}", advice)


def _versions(view: View) -> Finding:
    versions = {node: int(said.get("version", 0)) for node, said in view.said.items()}
    newest = max(versions.values(), default=0)
    behind = [f"{node} at {v}" for node, v in sorted(versions.items()) if v < newest]
    if not behind:
        return Finding(OK, "map version", f"{newest} everywhere")
    advice = "normal for a moment after a change; if it stays so, a member is cut off"
    return Finding(WARN, "map version", f"{newest}, but {', '.join(behind)}", advice)


def _digests(view: View) -> Finding:
    advice = "must never happen: save the data directories and report it"
    seen: dict[int, dict[str, list[str]]] = {}
    for node, said in sorted(view.said.items()):
        if said.get("digest"):
            same_version = seen.setdefault(int(said.get("version", 0)), {})
            same_version.setdefault(str(said["digest"]), []).append(node)
    for version, digests in seen.items():
        if len(digests) > 1:
            parties = " against ".join(", ".join(nodes) for nodes in digests.values())
            return Finding(FAIL, "map digest", f"differs at version {version}: {parties}", advice)
    for node, said in sorted(view.said.items()):
        if said.get("digest_mismatches"):
            text = f"{node} has found {said['digest_mismatches']} that differ since it started"
            return Finding(FAIL, "map digest", text, advice)
    return Finding(OK, "map digest", "the same wherever the version is")


def _tiers(view: View) -> Iterator[Finding]:
    healthy = 0
    for member in view.map.members:
        for record in member.tiers if member.state is NodeState.UP else ():
            state, check = state_of(member, record), f"tier {member.id}/{record.tier}"
            reason = reason_of(member, record)
            if state is TierState.UP and not record.suspect:
                healthy += 1
            elif record.suspect:
                advice = "it fails, and taking it out would leave too little: add capacity"
                yield Finding(WARN, check, f"suspect: {reason}", advice)
            else:
                advice = f"`tiercluster tier why {member.id}/{record.tier}`"
                level = FAIL if state is TierState.DOWN else WARN
                yield Finding(level, check, f"{state}: {reason}", advice)
    yield Finding(OK, "tiers", f"{healthy} UP")


def _clock(events: Iterable[Event], now: float) -> Finding:
    latest = max(events, key=lambda event: event.time, default=None)
    ahead = latest.time - now if latest else 0.0
    if latest is None or ahead < CLOCK_AHEAD_S:
        return Finding(OK, "clock", "no event comes from the future")
    advice = "run NTP on all machines: expiry across restarts and event times rely on it"
    return Finding(WARN, "clock", f"{latest.by} is {ahead:.0f} s ahead of this machine", advice)

"""What clients were promised: no old values, writes applied once, versions that only grow.

Each call is judged when it ends, against all calls that ended before it began. Calls that a node
answered while it knew itself in a minority are outside the promise (``on_quorum_loss`` says so):
their reads prove nothing and their writes count as of unknown outcome.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from itertools import pairwise

from tiercluster.cluster.errors import TierclusterError

UNKNOWN_S = 0.35  # a write may be applied so long after its deadline: it was taken just before, and
# waited for the cold tier
TTL_SLACK_S = 0.25  # delays, and wall clocks that a restart goes by
FIRST = 1  # what INCR starts a counter at
INF = float("inf")


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


@dataclass(slots=True, eq=False)
class Call:
    """One call on one key, or one key's part of a batch. Times are the world's."""

    client: str
    kind: str  # get set add replace cas delete delete_version touch incr
    key: bytes
    value: bytes = b""
    ttl: float | None = None
    expected: int = 0  # the version for cas and delete_version
    began: float = 0.0
    deadline: float = 0.0
    ended: float = INF
    outcome: str = "open"  # ok, unknown
    is_weak: bool = False  # a node in a minority answered
    may_have_died: bool = False  # applied before by a node that went down with all that it had
    version: int = 0  # read or stored; 0: a miss, or not stored, or not asked for
    read: bytes | None = None
    number: int = 0  # of a counter; whether it was there (delete, touch)
    node: str = ""
    error: TierclusterError | None = None
    parts: list[Call] = field(default_factory=list)

    @property
    def latest(self) -> float:
        """When it can have taken effect at the latest."""
        if self.outcome == "ok" and not self.is_weak:
            return self.ended
        return INF if self.outcome == "open" else max(self.deadline, self.ended) + UNKNOWN_S

    def __str__(self) -> str:
        read = self.read if self.read is None else self.read[:12]
        said = {"get": f"read {read!r}", "incr": f"counted {self.number}"}
        what = said.get(self.kind, f"wrote {self.value[:12]!r}" if self.value else "")
        return (
            f"{self.client} {self.kind} {self.key!r} {what} v{self.version:#x} at {self.node} "
            f"[{self.began:.4f}, {self.ended:.4f}] {self.outcome}{' weak' if self.is_weak else ''}"
        )


class _Key:
    """The history of one key."""

    def __init__(self) -> None:
        self.ended: list[float] = []  # of acknowledged writes and deletes, ascending
        self.newest_version: list[tuple[int, Call | None]] = []  # the highest so far
        self.newest_began: list[tuple[float, Call | None]] = []
        self.writes: dict[bytes, Call] = {}
        self.values: dict[int, bytes] = {}
        self.versions: list[tuple[int, Call]] = []  # acknowledged, ascending
        self.swaps: list[Call] = []
        self.counts: list[tuple[int, int]] = []  # (version, number) of acknowledged incr, ascending
        self.count_calls: dict[int, Call] = {}
        self.doubtful: list[Call] = []  # incr that others may have seen without its own answer
        self.removals: list[Call] = []  # deletes, and writes that expire
        self.touches: list[Call] = []

    def add(self, call: Call) -> None:
        highest = self.newest_version[-1] if self.newest_version else (0, None)
        latest = self.newest_began[-1] if self.newest_began else (-INF, None)
        self.ended.append(call.ended)
        self.newest_version.append((call.version, call) if call.version > highest[0] else highest)
        # What was not there was another version, written before or after.
        is_last = call.began > latest[0] and (call.kind != "delete_version" or call.number)
        self.newest_began.append((call.began, call) if is_last else latest)

    def before(self, at: float) -> int:
        """How many acknowledged writes ended before ``at``."""
        return bisect_left(self.ended, at)


class Promises:
    """``judge`` raises Violation. ``loses_nothing``: memory has room for all, and never so many
    nodes are out that an entry could be lost, so that no read may miss what was written."""

    def __init__(self, loses_nothing: bool = False) -> None:
        self._loses_nothing = loses_nothing
        # What was acknowledged before may be lost, by the key (`losses`).
        self.firm_since: dict[bytes, float] = {}
        self._keys: dict[bytes, _Key] = {}
        self.judged: dict[str, int] = {}

    def began(self, call: Call) -> None:
        key = self._keys.setdefault(call.key, _Key())
        if call.value:
            key.writes[call.value] = call
        if call.kind == "incr":
            key.doubtful.append(call)
        if call.kind.startswith("delete") or call.ttl is not None:
            key.removals.append(call)
        if call.kind == "touch":
            key.touches.append(call)

    def judge(self, call: Call) -> None:
        """A call has ended."""
        key = self._keys[call.key]
        if call.outcome != "ok" or call.is_weak:
            return
        self.judged[call.kind] = self.judged.get(call.kind, 0) + 1
        match call.kind:
            case "get":
                self._judge_read(key, call)
            case "delete":
                key.add(call)
            case "delete_version":
                call.version = call.expected + 1  # no older one is read any more
                key.add(call)
            case "touch":
                pass
            case "incr":
                if not call.may_have_died:
                    key.doubtful.remove(call)
                if call.version:
                    self._judge_count(key, call)
                    self._judge_write(key, call)
            case _:
                if call.version:
                    self._judge_write(key, call)

    # --- reads ----------------------------------------------------------------------------------

    def _judge_read(self, key: _Key, call: Call) -> None:
        known = key.before(call.began)
        if call.read is None:
            if known and self._loses_nothing:
                self._judge_miss(key, call, key.newest_began[known - 1][1])
            return
        if known and self._is_firm(key.newest_version[known - 1][1]):
            version, newer = key.newest_version[known - 1]
            if 0 < call.version < version:
                raise Violation("stale read", f"{call}\n  but before it  {newer}")
        self._judge_value(key, call)
        write = key.writes.get(call.read)
        if write is None:
            return
        if known:
            began, newer = key.newest_began[known - 1]
            if newer is not write and began > write.latest and self._is_firm(newer):
                raise Violation("stale read", f"{call}\n  from  {write}\n  but later  {newer}")
        if not _may_live(write, key.touches, call.began):
            touched = "".join(f"\n  then  {touch} with ttl {touch.ttl}" for touch in key.touches)
            text = f"{call}\n  of {write} with ttl {write.ttl}{touched}"
            raise Violation("expired read", text)

    def _is_firm(self, write: Call | None) -> bool:
        """Whether what was acknowledged then can have been lost by no failure."""
        return write is None or write.began >= self.firm_since.get(write.key, -INF)

    def _judge_miss(self, key: _Key, call: Call, write: Call | None) -> None:
        assert write is not None
        if not any(other.latest >= write.began for other in key.removals):
            raise Violation("nothing is lost", f"{call}\n  but before it  {write}")

    def _judge_value(self, key: _Key, call: Call) -> None:
        assert call.read is not None
        same = key.values.setdefault(call.version, call.read) if call.version else call.read
        if same != call.read:
            raise Violation("one version, two values", f"{call}\n  and {same!r}")
        if call.read not in key.writes and not call.read.isdigit():
            raise Violation("a value nobody wrote", str(call))

    # --- writes ---------------------------------------------------------------------------------

    def _judge_write(self, key: _Key, call: Call) -> None:
        known = key.before(call.began)
        floor, newer = key.newest_version[known - 1] if known else (0, None)
        # What is above the version that was deleted is newer than it; a delete has none of its own.
        least = floor if newer is not None and newer.kind == "delete_version" else floor + 1
        if call.version < least:
            raise Violation("versions grow", f"{call}\n  but before it  {newer}")
        if call.value:
            same = key.values.setdefault(call.version, call.value)
            if same != call.value:
                raise Violation("one version, two values", f"{call}\n  and {same!r}")
        key.add(call)
        insort(key.versions, (call.version, call), key=lambda pair: pair[0])
        if call.kind == "cas" and not self.firm_since:
            key.swaps.append(call)
        for swap in key.swaps:
            self._judge_swap(key, swap)

    def _judge_swap(self, key: _Key, swap: Call) -> None:
        at = bisect_left(key.versions, swap.version, key=lambda pair: pair[0])
        if at and key.versions[at - 1][0] > swap.expected:
            between = key.versions[at - 1][1]
            raise Violation("cas sees the newest", f"{swap}\n  passed over  {between}")

    def _judge_count(self, key: _Key, call: Call) -> None:
        pair = (call.version, call.number)
        insort(key.counts, pair)
        key.count_calls[call.version] = call
        at = key.counts.index(pair)
        for first, second in ((at - 1, at), (at, at + 1)):
            if first >= 0 and second < len(key.counts):
                self._judge_step(key, key.counts[first], key.counts[second])

    def judge_counts(self) -> None:
        """When all calls have ended: what was open while a count was judged has its own by now."""
        for key in self._keys.values():
            for low, high in pairwise(key.counts):
                self._judge_step(key, low, high)

    def _judge_step(self, key: _Key, low: tuple[int, int], high: tuple[int, int]) -> None:
        """From one acknowledged count to the next: one more, or anew from FIRST, and between them
        at most as many others as are of unknown outcome."""
        before, after = key.count_calls[low[0]], key.count_calls[high[0]]
        unseen = sum(
            other.began < after.ended and other.latest > before.began for other in key.doubtful
        ) + _counted_again(key, after)
        if self.firm_since:
            return
        goes_on = 0 <= high[1] - low[1] - 1 <= unseen
        starts_anew = 0 <= high[1] - FIRST <= unseen
        if not goes_on and not starts_anew:
            text = f"{before}\n  then  {after}\n  with {unseen} of unknown outcome between"
            raise Violation("counted once", text)


def _counted_again(key: _Key, after: Call) -> int:
    """How many calls that were open when ``after`` ended were answered when the counter had begun
    anew: such a call may have counted before, too. With the counter the names of the calls that
    it had counted were lost, and the call was repeated."""
    again, is_anew, newest = 0, False, after.number
    for version, number in key.counts[bisect_left(key.counts, (after.version + 1, 0)) :]:
        is_anew, newest = is_anew or number <= newest, number
        again += is_anew and key.count_calls[version].began < after.ended
    return again


def _may_live(write: Call, touches: list[Call], at: float) -> bool:
    """Whether what was written may be read by a call that begins ``at``: by the write's own time to
    live, or by that of a touch which no later one is known to have come after."""
    touches = [touch for touch in touches if touch.latest >= write.began]
    return any(
        (call.ttl is None or at <= call.latest + call.ttl + TTL_SLACK_S)
        and not any(_has_replaced(touch, max(call.latest, write.latest), at) for touch in touches)
        for call in (write, *touches)
    )


def _has_replaced(touch: Call, since: float, at: float) -> bool:
    is_known = touch.outcome == "ok" and not touch.is_weak and touch.ended < at
    return is_known and touch.number > 0 and touch.began > since

"""One call, from its first request to its last answer, as a pure machine.

Each part of the operation (the keys of one owner) goes through

    waiting --send--> asked --OK--> done
       ^                |
       |                +-- STALE_MAP: not applied; is planned anew
       |                +-- RETRY: not applied; waits for the node, is planned anew
       |                +-- SHED: not applied; waits a moment, is planned anew (a retry)
       |                +-- the node is DOWN in a newer map: planned anew, as a new request (but
       |                    nothing is counted twice by a node that restarted with what it held)
       +----------------+-- silence, or the connection was lost: the same request again (same id,
                            marked as a retry), to the same node, which applies it once

Retries have a budget (`retries`). Without any left, a call that would have to ask again fails at
once, and one whose answer may still come waits for it.

The shell calls `step` whenever something may have changed; it says what to send now. `answered`
takes replies. Nothing here touches a socket or a clock; times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from tiercluster.tiermap import Member, NodeState, Tier

from .errors import (
    DeadlineExceeded,
    NoQuorum,
    ProtocolError,
    Refused,
    TierclusterError,
    Unauthorized,
    Unavailable,
    UnknownRef,
)
from .plan import LookOp, Operation, Part, fits_one_message, split
from .retries import Retries
from .routing import Router
from .wire import PRIOR_S, Refusal, Reply, Status

MAX_SHED = 3  # answers that a node is overloaded, for one part of a call
BACKOFF_S = 0.004
MAX_BACKOFF_S = 0.06
SILENCE_S = 0.15  # until a request is repeated at the earliest; doubles each time
MAX_SILENCE_S = 1.0

_REFUSALS = frozenset({Status.STALE_MAP, Status.RETRY, Status.SHED})  # by who was asked last

Reach = Callable[[str], int | None]  # epoch of the connection to a node, None: not usable now


class Asking:
    """One part on its way."""

    __slots__ = (
        "cold", "doubt", "epoch", "hopped", "incarnation", "node", "not_before", "part", "polls",
        "prior", "repeat_at", "repeats", "rid", "said", "shed", "stamp", "tries",
    )  # fmt: skip

    def __init__(self, part: Part) -> None:
        self.part = part
        self.node: str | None = None  # asked; None: waiting
        self.incarnation = ""
        self.cold = 0  # generation of the node's cold tier when it was asked
        # Node, incarnation and cold generation that may have applied an earlier request of this
        # part.
        self.doubt: tuple[str, str, int] | None = None
        # The id under which a node that is gone, or owns the key no more, may have applied it.
        self.prior = 0
        self.epoch = 0
        self.hopped = False  # the request ``rid`` went by more than one connection
        self.rid = 0
        self.stamp = 0  # the deadline as first sent, ms on the node's clock
        self.tries = 0
        self.repeats = 0  # how often the request ``rid`` was sent again
        self.repeat_at = 0.0
        self.not_before = 0.0
        self.shed = 0
        self.polls = False  # it waits for a node that was not ready
        self.said = ""  # why the last try was not applied


class Attempt:
    """``asks``: the parts that are not done; ``error``: why the call failed, once it has."""

    __slots__ = (
        "_calls", "_jitter", "_retries", "_silence", "_unplanned", "asks", "began", "deadline",
        "error", "operation", "rerouted", "retries", "rids",
    )  # fmt: skip

    def __init__(
        self,
        operation: Operation,
        began: float,
        deadline: float,
        jitter: Callable[[], float],
        parts: Iterable[Part] | None = None,
        retries: Retries | None = None,
        calls: int = 0,
    ) -> None:
        """``jitter`` draws from 0 to 1; ``parts``: what is to be asked, None for all. ``retries``
        of the session, which has made ``calls`` so far; None: of this call alone."""
        self.operation = operation
        self.began = began
        self.deadline = deadline
        self.rids: list[int] = []  # all that were sent
        if parts is None:
            parts = [tuple(range(len(operation.keys)))] if operation.keys else []
        self.asks = list(map(Asking, parts))
        self.error: TierclusterError | None = None
        self.retries = 0
        self.rerouted = 0
        self._jitter = jitter
        self._retries = retries or Retries()
        self._calls = calls
        # A connection that stands loses nothing, so a slow node is not asked twice in haste.
        self._silence = min(max((deadline - began) / 3, SILENCE_S), MAX_SILENCE_S)
        self._unplanned = bool(self.asks)

    @property
    def is_done(self) -> bool:
        return not self.asks or self.error is not None

    def fail(self, error: TierclusterError) -> None:
        if self.error is None:
            self.error = error

    def resume(self, part: Part, node: str, member: Member | None, rid: int, epoch: int, stamp: int,
               now: float) -> Asking:  # fmt: skip
        """One more part, which has been sent already, outside this machine."""
        ask = Asking(part)
        self.asks.append(ask)
        _note_stint(ask, member)
        ask.node, ask.rid = node, rid
        ask.epoch, ask.stamp, ask.tries = epoch, stamp, 1
        ask.repeat_at = now + self._silence
        self.rids.append(rid)
        return ask

    # --- what to send ---------------------------------------------------------------------------

    def step(self, now: float, router: Router | None, reach: Reach) -> list[Asking]:
        """The parts to send now: ``rid`` 0 wants a new id, another is a retry."""
        if self.is_done:
            return []
        if now >= self.deadline:
            self.fail(self._too_late(router))
            return []
        if router is None or isinstance(self.operation, LookOp):
            return []
        for ask in self.asks:
            if ask.node is not None and self._is_lost(ask, router):
                self._reroute(ask, now, router)
        if self.error is not None:
            return []
        if self._unplanned:
            self._plan(router)
        return [ask for ask in self.asks if self._is_due(ask, now, router, reach)]

    def sent(self, ask: Asking, node: str, rid: int, epoch: int, now: float) -> None:
        """The shell has sent it."""
        ask.repeats = ask.repeats + 1 if rid == ask.rid else 0
        ask.hopped = rid == ask.rid and (ask.hopped or epoch != ask.epoch)
        ask.node, ask.rid, ask.epoch = node, rid, epoch
        ask.tries += 1
        self.rids.append(rid)
        ask.repeat_at = now + self._silence * 2 ** min(ask.tries - 1, 5)
        if ask.tries > 1:
            self.retries += 1

    def target(self, ask: Asking, router: Router) -> str | None:
        """The node to ask."""
        if ask.node is not None:
            return ask.node
        return self.operation.node or router.owner_of(self.operation.keys[ask.part[0]])

    def wake_at(self) -> float:
        """When to step again if nothing happens."""
        times = [a.repeat_at if a.node is not None else a.not_before for a in self.asks]
        return min([self.deadline, *[t for t in times if t > 0]])

    def _is_lost(self, ask: Asking, router: Router) -> bool:
        """Whether the map says that the asked node will not answer."""
        member = router.tier_map.member(ask.node or "")
        if member is None or member.state is not NodeState.UP:
            return True
        if member.incarnation != ask.incarnation:
            return True
        if self.operation.is_write or self.operation.node is not None:
            return False  # it may have been applied there: only its answer, or its end, decides
        return router.owner_of(self.operation.keys[ask.part[0]]) != ask.node

    def _reroute(self, ask: Asking, now: float, router: Router) -> None:
        self.rerouted += 1
        if self.operation.node is not None:
            self.fail(Unavailable(f"{self.operation.node} went down"))
        self._doubt(ask)
        if router.tier_map.copies > 1:
            self._name_prior(ask)
        self._forget(ask, now, "its node went down")

    def _has_copies(self) -> bool:
        router = self.operation.router
        return router is not None and router.tier_map.copies > 1

    def _name_prior(self, ask: Asking) -> None:
        """Who owns the key now may have a copy of what the asked node did, under that request's
        id. One such node can be told; after a second one, nobody knows."""
        operation = self.operation
        if not operation.is_write or len(ask.part) > 1:
            return
        if ask.prior and not operation.is_repeatable:
            self.fail(DeadlineExceeded("it is not known whether this was applied: two nodes that "
                                       "were asked went down"))  # fmt: skip
        ask.prior = ask.rid

    def _doubt(self, ask: Asking) -> None:
        """The asked node may have applied the request, whatever is said of it from now on."""
        ask.doubt = (ask.node or "", ask.incarnation, ask.cold)

    def _is_in_doubt(self, ask: Asking, node: str, member: Member | None) -> bool:
        """Whether the node, asked now, may hold what an earlier process of it did for this part,
        and not know the request: it started anew and its cold tier was kept."""
        if self.operation.is_repeatable or ask.doubt is None or member is None:
            return False
        doubted, incarnation, cold = ask.doubt
        is_anew = doubted == node and incarnation != member.incarnation
        return is_anew and cold == member.tier(Tier.COLD).generation

    def _forget(self, ask: Asking, now: float, why: str, delay: float = 0.0) -> None:
        """Plan it anew, as a new request."""
        ask.node, ask.rid, ask.stamp = None, 0, 0
        ask.not_before = now + delay
        ask.said = why
        self._unplanned = True

    def _plan(self, router: Router) -> None:
        """One part an owner, each small enough for a message."""
        self._unplanned = False
        operation = self.operation
        if operation.node is not None:
            return
        kept = [ask for ask in self.asks if ask.node is not None]
        for ask in self.asks:
            if ask.node is None:
                kept.extend(_pieces(ask, operation, router))
        self.asks = kept

    def _is_due(self, ask: Asking, now: float, router: Router, reach: Reach) -> bool:
        if ask.node is None and now < ask.not_before:
            return False
        node = self.target(ask, router)
        if node is None:
            self._plan_later(ask, now)
            return False
        epoch = reach(node)
        if epoch is None:
            return False
        if ask.node is None:
            return self._may_poll(ask, node, now) and self._may_ask(
                ask, node, router.tier_map.member(node), now
            )
        return self._may_repeat(ask, epoch, now)

    def _may_poll(self, ask: Asking, node: str, now: float) -> bool:
        if ask.polls and not self._retries.may_poll(node, now):
            ask.not_before = self._retries.poll_at(node)
            return False
        return True

    def _may_repeat(self, ask: Asking, epoch: int, now: float) -> bool:
        """The first time by a new connection is none too many: what went by the old one is lost."""
        if epoch != ask.epoch and not ask.repeats:
            return True
        if now < (ask.repeat_at if epoch == ask.epoch else ask.not_before):
            return False
        if self._retries.spend(self._calls, now):
            return True
        ask.repeat_at = ask.not_before = now + self._silence
        return False

    def _may_ask(self, ask: Asking, node: str, member: Member | None, now: float) -> bool:
        is_late = now - self.began > PRIOR_S
        if ask.prior and is_late and not self.operation.is_repeatable:
            self._unknown(ask, now, "its node went down too long ago to ask another about it")
            return False
        if self._is_in_doubt(ask, node, member):
            self._unknown(ask, 0.0, f"{node} restarted, with what it held")
            return False
        _note_stint(ask, member)
        return True

    def _plan_later(self, ask: Asking, now: float) -> None:
        what = "no such member" if self.operation.node else "no member serves"
        self._forget(ask, now, f"{what} in the newest map", MAX_BACKOFF_S)

    # --- what came back -------------------------------------------------------------------------

    def answered(self, ask: Asking, reply: Reply, now: float) -> None:
        """A reply to this part. For STALE_MAP the shell has taken the new map already."""
        if ask not in self.asks:
            return
        status = reply.status
        text = reply.fields.text if isinstance(reply.fields, Refusal) else ""
        if ask.repeats and status is not Status.OK:
            # Another process than the first that was asked may have said this.
            self._doubt(ask)
            if ask.hopped and status in _REFUSALS and self._has_copies():
                # That process may be gone, and its copies not.
                self._name_prior(ask)
        match status:
            case Status.OK:
                self._take(ask, reply)
            case Status.STALE_MAP:
                delay = BACKOFF_S if ask.tries < 2 else self._backoff(ask)
                self._forget(ask, now, "the map was old", 0.0 if ask.tries < 2 else delay)
            case Status.RETRY:
                self._forget(ask, now, text or "not ready", self._backoff(ask))
                ask.polls = True
            case Status.SHED:
                self._shed(ask, now, text)
            case Status.DEADLINE if ask.repeats and self.operation.is_write:
                # It forgets a write at its deadline: the first request may have been in time.
                self._unknown(ask, now, "the retry came too late by the node's clock")
            case Status.DEADLINE if ask.tries < 2:  # its clock is known now
                self._forget(ask, now, "the node's clock says it came too late", BACKOFF_S)
            case Status.DEADLINE:
                self._again(ask, now, "the node's clock says it came too late", BACKOFF_S)
            case Status.UNKNOWN_OUTCOME:
                self._unknown(ask, now, text)
            case Status.MOVED:
                self._moved(ask, now, text)
            case Status.BAD_REQUEST:
                self.fail(self.operation.bad_request(f"{ask.node} refused the request: {text}"))
            case Status.REFUSED:
                self.fail(Refused(text))
            case Status.NO_QUORUM:
                self.fail(NoQuorum(text or "too few voters reach each other"))
            case Status.READ_ONLY:
                self.fail(NoQuorum(text or "quorum is lost; this cluster then only reads"))
            case Status.UNKNOWN_REF:
                self.fail(UnknownRef(text))
            case Status.FORBIDDEN:
                self.fail(Unauthorized(text or f"{ask.node} does not allow this"))
            case _:
                assert_never(status)

    def _take(self, ask: Asking, reply: Reply) -> None:
        left: Part = ()
        try:
            left = self.operation.take(ask.part, reply)
        except ProtocolError as error:
            self.fail(error)
        self.asks.remove(ask)
        if ask.polls and ask.node is not None:
            self._retries.is_ready(ask.node)
        if left:
            self.asks.append(Asking(left))
            self._unplanned = True

    def _shed(self, ask: Asking, now: float, text: str) -> None:
        ask.shed += 1
        why = f"{ask.node} sheds load: {text}" if text else f"{ask.node} sheds load"
        if ask.shed >= MAX_SHED:
            self.fail(Unavailable(why))
        self._again(ask, now, why, self._backoff(ask))

    def _again(self, ask: Asking, now: float, why: str, delay: float) -> None:
        """A retry, if there is one left."""
        if self.error is None and not self._retries.spend(self._calls, now):
            self.fail(Unavailable(f"{why}; no retry left, they are at most a tenth of all calls"))
        self._forget(ask, now, why, delay)

    def _moved(self, ask: Asking, now: float, text: str) -> None:
        """The node had not had it confirmed by others when the key went to one of them."""
        self._doubt(ask)
        self._name_prior(ask)
        self._forget(ask, now, text, self._backoff(ask))

    def _unknown(self, ask: Asking, now: float, text: str) -> None:
        if not self.operation.is_repeatable:
            self.fail(DeadlineExceeded(f"it is not known whether this was applied: {text}"))
        self._again(ask, now, text, self._backoff(ask))

    def _backoff(self, ask: Asking) -> float:
        limit: float = min(BACKOFF_S * 2 ** min(ask.tries, 5), MAX_BACKOFF_S)
        return limit * (0.5 + 0.5 * self._jitter())

    # --- the end --------------------------------------------------------------------------------

    def _too_late(self, router: Router | None) -> TierclusterError:
        if router is None:
            return DeadlineExceeded("no member has told the tier map in time")
        asked = [ask.node for ask in self.asks if ask.node is not None]
        if asked:
            return DeadlineExceeded(f"no answer in time from {', '.join(sorted(set(asked)))}")
        why = next((ask.said for ask in self.asks if ask.said), "")
        if why:
            return Unavailable(f"no member could serve this in time: {why}")
        node = self.target(self.asks[0], router)
        return DeadlineExceeded(f"no connection in time to {node}")


def _note_stint(ask: Asking, member: Member | None) -> None:
    ask.incarnation = member.incarnation if member else ""
    ask.cold = member.tier(Tier.COLD).generation if member else 0


def _pieces(ask: Asking, operation: Operation, router: Router) -> list[Asking]:
    fits = fits_one_message(operation)
    pieces: list[Asking] = []
    for indices in router.by_owner(operation.keys, ask.part).values():
        whole = tuple(indices)
        for part in (whole,) if fits else split(operation, whole):
            piece = Asking(part)
            piece.tries, piece.shed = ask.tries, ask.shed
            piece.not_before, piece.said = ask.not_before, ask.said
            piece.doubt, piece.prior, piece.polls = ask.doubt, ask.prior, ask.polls
            pieces.append(piece)
    return pieces

"""The connections of one thread (or event loop) to the cluster, and the calls on them.

The shell of `attempt` and `feed`: it opens links, greets members, follows the tier map at one of
them, sends what attempts want and hands them the answers. `pump` does all of that without waiting;
who calls it waits on the sockets in its own way (`client`: poll; `aio`: the event loop).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from tiercluster.tiermap import Member

from .attempt import Asking, Attempt
from .codec import encode_request
from .errors import ProtocolError, TierclusterError, Unavailable
from .link import Context, CurveKeys, Link
from .members import HURRIED_RENEW_S, RENEW_S, Members
from .plan import LookOp, Operation, Part
from .retries import Retries
from .routing import Router
from .straight import NOTHING, Answer, Question, ask, await_answer, is_straight, ways_of
from .wire import (
    CLIENT_ID_BYTES,
    PRIOR_SINCE,
    Kind,
    Refusal,
    Reply,
    Request,
    Status,
    WireError,
)

CHORES_S = 0.05  # between looks at all connections while single requests go well
STEP_S = 0.005  # between looks at all waiting calls, unless something happened


@dataclass(slots=True)
class Counts:
    """What a session has seen; only its user writes."""

    calls: int = 0
    hits: int = 0
    misses: int = 0
    retries: int = 0
    retries_denied: int = 0
    rerouted: int = 0
    stale_maps: int = 0
    late_answers: int = 0
    bad_answers: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Session:
    """Not to be used by two threads at once; may be handed over."""

    def __init__(
        self,
        context: Context,
        seeds: tuple[str, ...],
        keys: CurveKeys | None,
        router: Router | None = None,
        opened: Callable[[Link], None] | None = None,
        closing: Callable[[Link], None] | None = None,
    ) -> None:
        """``opened`` and ``closing`` tell who waits on the sockets; ``router`` is a start."""
        self.client = os.urandom(CLIENT_ID_BYTES)
        self._members = Members(context, seeds, keys, self.client, router, opened, closing)
        self.feed = self._members.feed
        self.counts = Counts()
        self._retries = Retries()
        self._keeps_finished = opened is not None
        self._attempts: dict[int, Attempt] = {}  # by id()
        self._asked: dict[int, tuple[Attempt, Asking]] = {}
        self._chores_at = 0.0
        self._step_at = 0.0
        self._fresh: list[Attempt] = []
        self.finished: list[Attempt] = []  # since somebody last emptied it; only if `opened`
        self.is_closed = False

    # --- calls ----------------------------------------------------------------------------------

    def quick(self, operation: Operation, now: float, deadline: float,
              clock: Callable[[], float]) -> Attempt | None:  # fmt: skip
        """The straight path (`straight`): send each owner its part, take the answers in turn. None:
        done; else the call, to be driven on with `pump`."""
        members, router = self._members, self.feed.router
        if (
            router is None
            or router is not members.routed
            or now >= self._chores_at
            or self._attempts
            or not is_straight(operation)
        ):
            return self.begin(operation, now, deadline)
        ways = ways_of(operation, router, members.by_node, deadline - now)
        if not ways:
            return self.begin(operation, now, deadline)
        questions: list[Question] = []
        for link, part in ways:
            members.last_rid += 1
            question = ask(link, operation, part, members.last_rid, router.version, self.client,
                           deadline)  # fmt: skip
            if question is None:
                break
            questions.append(question)
        unsent = [part for _, part in ways[len(questions) :]]
        for at, question in enumerate(questions):
            answer = self._answer_to(question, operation, clock)
            if answer is not None:
                waiting = questions[at:]
                if answer.left:
                    unsent, waiting = [answer.left, *unsent], waiting[1:]
                return self._leave_straight(operation, waiting, unsent, answer, deadline, clock())
        if unsent:
            return self._leave_straight(operation, [], unsent, NOTHING, deadline, clock())
        self._count(operation)
        return None

    def _answer_to(
        self, question: Question, operation: Operation, clock: Callable[[], float]
    ) -> Answer | None:
        """None: it was OK and has been taken; else what came instead."""
        answer = await_answer(question.link)
        reply, link = answer.reply, question.link
        if reply is None:
            return answer
        link.heard(reply.clock_ms, clock())
        is_good = reply.status is Status.OK and reply.kind is operation.kind
        if reply.rid != question.rid or not is_good:
            return answer
        operation.answered_by, operation.router = link.node, self.feed.router
        try:
            left = operation.take(question.part, reply)
        except ProtocolError:
            self.counts.bad_answers += 1
            self._count(operation)
            raise
        if reply.map_version > self.feed.version:
            self._chores_at = 0.0
            self._members.want_map(link)
        return Answer(left=left) if left else None

    def _leave_straight(
        self, operation: Operation, waiting: list[Question], unsent: list[Part], answer: Answer,
        deadline: float, now: float,
    ) -> Attempt:  # fmt: skip
        """Go on with an attempt for what is not answered. ``answer`` is what came from the first
        that waits."""
        attempt = Attempt(operation, now, deadline, random.random, unsent, self._retries,
                          self.counts.calls)  # fmt: skip
        for link, part, rid, epoch, stamp in waiting:
            member = self._member_of(link)
            asking = attempt.resume(part, link.node, member, rid, epoch, stamp, now)
            link.silent_since = link.silent_since or now
            self._asked[rid] = (attempt, asking)
        self._add(attempt)
        if answer.reply is not None:
            self._dispatch(waiting[0].link, answer.reply, now)
        if answer.bad:
            self._bad_answer(waiting[0].link, answer.bad)
        self._first_pump(attempt, now)
        return attempt

    def _member_of(self, link: Link) -> Member | None:
        router = self.feed.router
        return router.tier_map.member(link.node) if router else None

    def begin(
        self, operation: Operation, now: float, deadline: float, *, pumps: bool = True
    ) -> Attempt:
        """Start a call and, if ``pumps``, send what can be sent now. End it with `end`."""
        attempt = Attempt(operation, now, deadline, random.random, None, self._retries,
                          self.counts.calls)  # fmt: skip
        if isinstance(operation, LookOp):
            operation.asked_after = self._members.last_rid
            self._members.renew_at = now
        if not attempt.is_done:
            self._add(attempt)
            if pumps:
                self._first_pump(attempt, now)
        return attempt

    def _first_pump(self, attempt: Attempt, now: float) -> None:
        try:
            self.pump(now)
        except BaseException:
            self.end(attempt)
            raise

    def _add(self, attempt: Attempt) -> None:
        self._attempts[id(attempt)] = attempt
        self._fresh.append(attempt)

    def end(self, attempt: Attempt) -> None:
        """Forget a call; later answers to it are late."""
        self._attempts.pop(id(attempt), None)
        for rid in attempt.rids:
            self._asked.pop(rid, None)
        self.counts.retries += attempt.retries
        self.counts.retries_denied = self._retries.denied
        self.counts.rerouted += attempt.rerouted
        self._count(attempt.operation)

    def _count(self, operation: Operation) -> None:
        counts, hits = self.counts, operation.hits()
        counts.calls += 1
        if hits >= 0:
            counts.hits += hits
            counts.misses += len(operation.keys) - hits

    # --- the pump -------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Take all that has arrived and send all that is due. Never waits."""
        members = self._members
        if not members.links:
            members.open_more()
        for link in members:
            members.look_after(link, now)
            self._read(link, now)
        members.follow(now, self._is_looking)
        self._step(now)
        self._chores_at = now + CHORES_S

    def _is_looking(self) -> bool:
        return any(isinstance(a.operation, LookOp) for a in self._attempts.values())

    def wake_at(self) -> float:
        """When to pump again if nothing arrives."""
        return min(self._step_at, self._members.renew_at)

    def _read(self, link: Link, now: float) -> None:
        while True:
            try:
                reply = link.receive(now)
            except WireError as error:
                self._bad_answer(link, str(error))
                continue
            if reply is None:
                return
            self._dispatch(link, reply, now)

    def _bad_answer(self, link: Link, text: str) -> None:
        """Nobody can tell which question it answers, so all that wait for this member fail."""
        self.counts.bad_answers += 1
        link.refusal = ProtocolError(f"{link.address} says what this client cannot read: {text}")
        for attempt in self._attempts.values():
            if any(ask.node == link.node for ask in attempt.asks):
                attempt.fail(link.refusal)
        self._members.happened = True

    def _dispatch(self, link: Link, reply: Reply, now: float) -> None:
        asked = self._asked.get(reply.rid)
        if asked is not None and not _is_answer_to(asked[0].operation, reply):
            self._bad_answer(link, f"{reply.kind.name} is no answer to what was asked")
            return
        self._asked.pop(reply.rid, None)
        if asked is not None and asked[1].rid == reply.rid:
            self._answered(link, reply, *asked, now)
        elif reply.rid == 0:
            self._pushed(link, reply)
        elif self._members.was_ours(reply.rid):
            self._take_map(link, reply)
            self._looked(link, reply.rid)
        else:
            self.counts.late_answers += 1
        if reply.map_version > self.feed.version:
            self._members.want_map(link)

    def _answered(self, link: Link, reply: Reply, attempt: Attempt, ask: Asking,
                  now: float) -> None:  # fmt: skip
        if reply.status is Status.STALE_MAP:
            self.counts.stale_maps += 1
            self._take_map(link, reply)
        elif reply.status is Status.DEADLINE:
            link.offset_ms = reply.clock_ms - now * 1000
        operation = attempt.operation
        operation.answered_by, operation.router = link.node, self.feed.router
        attempt.answered(ask, reply, now)
        self._fresh.append(attempt)

    def _pushed(self, link: Link, reply: Reply) -> None:
        if isinstance(reply.fields, Refusal):
            self._bad_answer(link, reply.fields.text)
        elif reply.kind is Kind.MAP_PUSH:
            self._take_map(link, reply)

    def _take_map(self, link: Link, reply: Reply) -> None:
        try:
            self._members.take_map(link, reply)
        except ProtocolError as error:
            self._bad_answer(link, str(error))

    def _looked(self, link: Link, rid: int) -> None:
        """A member answered a question of our own; that is a look for those who began before it was
        asked."""
        if self.feed.router is None:
            return
        for attempt in self._attempts.values():
            operation = attempt.operation
            if isinstance(operation, LookOp) and rid > operation.asked_after:
                operation.router = self.feed.router
                operation.answered_by = link.node
                attempt.asks.clear()
        self._members.happened = True

    def links(self) -> Iterator[Link]:
        """All connections, for who waits on their sockets."""
        return iter(self._members)

    # --- attempts -------------------------------------------------------------------------------

    def _step(self, now: float) -> None:
        """Look at the calls that something happened to; at all when it may concern all."""
        self._members.route()
        if self._members.happened or now >= self._step_at:
            self._members.happened = False
            self._fresh.clear()
            attempts = list(self._attempts.values())
            self._step_at = now + RENEW_S
        else:
            attempts = [a for a in self._fresh if id(a) in self._attempts]
            self._fresh.clear()
        for attempt in attempts:
            if not attempt.is_done:
                self._step_one(attempt, now)
            if attempt.is_done and self._keeps_finished:
                self.finished.append(attempt)
        self._step_at = max(self._step_at, now + 0.0005)

    def _step_one(self, attempt: Attempt, now: float) -> None:
        refusal = self._members.nobody(attempt.began)
        if refusal is None and now >= attempt.deadline:
            refusal = self._refusal(attempt)
        if refusal is not None:
            if attempt.operation.is_write and attempt.rids:
                refusal = Unavailable(f"it is not known whether this was applied: {refusal}")
            attempt.fail(refusal)
            return
        for asking in attempt.step(now, self.feed.router, self._members.reach):
            if not self._send(attempt, asking, now):
                self._step_at = min(self._step_at, now + STEP_S)
        self._step_at = min(self._step_at, attempt.wake_at())

    def _refusal(self, attempt: Attempt) -> TierclusterError | None:
        """Why a member that it wants to ask does not talk to us, if one says so."""
        router, links = self.feed.router, self._members.by_node
        if router is None:
            return None
        targets = (attempt.target(ask, router) for ask in attempt.asks)
        refusals = (links[node].refusal for node in targets if node in links)
        return next((refusal for refusal in refusals if refusal is not None), None)

    def _send(self, attempt: Attempt, ask: Asking, now: float) -> bool:
        router = self.feed.router
        assert router is not None
        operation = attempt.operation
        node = attempt.target(ask, router)
        assert node is not None
        link = self._members.by_node[node]
        rid, is_retry = ask.rid, ask.rid != 0
        if not is_retry:
            self._members.last_rid = rid = self._members.last_rid + 1
        if not is_retry:
            # The node forgets a write at its deadline, so a retry keeps it, whatever we think of
            # the node's clock by now.
            ask.stamp = link.stamp(attempt.deadline)
        asked, body = operation.ask(ask.part)
        prior = ask.prior if link.protocol >= PRIOR_SINCE else 0
        request = Request(operation.kind, rid, router.version, ask.stamp, self.client,
                          is_retry or bool(prior), asked, body, link.protocol, prior)  # fmt: skip
        if not link.send(encode_request(request)):
            return False
        attempt.sent(ask, node, rid, link.epoch, now)
        link.silent_since = link.silent_since or now
        self._asked[rid] = (attempt, ask)
        if is_retry:
            self._members.renew_at = min(self._members.renew_at, now + HURRIED_RENEW_S)
        return True

    def close(self) -> None:
        self.is_closed = True
        self._members.close()
        self.fail_all(Unavailable("the client was closed"))

    def fail_all(self, error: TierclusterError) -> None:
        """End every call that waits."""
        for attempt in self._attempts.values():
            attempt.fail(error)
            self.finished.append(attempt)


def _is_answer_to(operation: Operation, reply: Reply) -> bool:
    """Of its kind, or from a node that does not know the kind."""
    is_unknown_there = reply.kind is Kind.HELLO and reply.status is Status.BAD_REQUEST
    return reply.kind is operation.kind or is_unknown_there

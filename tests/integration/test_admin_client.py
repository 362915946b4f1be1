"""Admin against nodes that are in memory: what it returns, and what it raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tiercluster import errors
from tiercluster.cluster.admin import Admin
from tiercluster.cluster.wire import Ack, Decided, Kind, Refusal, Status
from tiercluster.tiermap import Barrier, Event, decode_command

from .fake_cluster import Answer, FakeCluster

COMMAND = Barrier(id="c1", by="test")


@pytest.fixture
def admin(fake: FakeCluster) -> Iterator[Admin]:
    with Admin(fake.address) as admin:
        yield admin


def answer_all(fake: FakeCluster, kind: Kind, answer: Answer) -> None:
    for node in fake.nodes.values():
        node.script(kind, lambda _: answer)


def test_hello_is_the_newest_map_of_any_member(fake: FakeCluster, admin: Admin) -> None:
    assert admin.hello() == fake.map
    fake["n1"].stop()
    fake.down("n1")
    assert admin.hello() == fake.map


def test_no_member_is_unavailable() -> None:
    with Admin("127.0.0.1:9") as admin, pytest.raises(errors.Unavailable):
        admin.hello()


def test_a_command_arrives_as_it_was(fake: FakeCluster, admin: Admin) -> None:
    assert admin.propose(COMMAND) == Decided("done", "", 10)
    (asked,) = [request for node in fake.nodes.values() for request in node.proposed]
    assert decode_command(asked.fields.command) == COMMAND


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.NO_QUORUM, errors.NoQuorum),
        (Status.REFUSED, errors.Refused),
        (Status.UNKNOWN_REF, errors.UnknownRef),
        (Status.FORBIDDEN, errors.Unauthorized),
    ],
)
def test_each_refusal_of_a_command_is_an_error_of_its_own(
    fake: FakeCluster, admin: Admin, status: Status, error: type[Exception]
) -> None:
    answer_all(fake, Kind.PROPOSE, (status, Refusal("because"), b""))
    with pytest.raises(error, match="because"):
        admin.propose(COMMAND)


@pytest.mark.parametrize(
    ("code", "error"), [("refused", errors.Refused), ("unknown", errors.UnknownRef)]
)
def test_a_decision_against_the_command_is_an_error(
    fake: FakeCluster, admin: Admin, code: str, error: type[Exception]
) -> None:
    answer_all(fake, Kind.PROPOSE, (Status.OK, Decided(code, "the guard", 10), b""))
    with pytest.raises(error, match="the guard"):
        admin.propose(COMMAND)


def test_a_member_that_sheds_is_passed_over(fake: FakeCluster, admin: Admin) -> None:
    first = admin._look()[1]
    fake[first].script(Kind.PROPOSE, lambda _: (Status.SHED, Refusal("full"), b""))
    assert admin.propose(COMMAND).code == "done"


def test_status_of_a_member_that_is_away_is_none(fake: FakeCluster, admin: Admin) -> None:
    status = admin.status_of(fake["n2"].address)
    assert status is not None
    assert status["id"] == "n2"
    assert admin.status_of("127.0.0.1:9") is None
    fake["n2"].stop()
    assert admin.status_of(fake["n2"].address) is None


def test_events_after_a_version(fake: FakeCluster, admin: Admin) -> None:
    events = [Event(v, 0.0, "n1/hot", "UP", "DOWN", "n1", "sick") for v in (1, 2, 3)]
    for node in fake.nodes.values():
        node.do(lambda node=node: node.events.extend(events))
    assert admin.events(1) == events[1:]


def test_faults_and_probes_go_to_their_node(fake: FakeCluster, admin: Admin) -> None:
    fake["n2"].script(Kind.FAULT, lambda _: (Status.OK, Ack(), b""))
    admin.fault("n2", "cold", "eio", 0, 0.5)
    assert fake["n2"].asked(Kind.FAULT)[0].fields.rate == 0.5
    assert admin.probe("n3", "hot") == {"ok": True}
    for call in (lambda: admin.fault("n9", "cold", "eio", 0, 1), lambda: admin.probe("n9", "hot")):
        with pytest.raises(errors.UnknownRef):
            call()
    fake["n2"].script(Kind.FAULT, lambda _: (Status.REFUSED, Refusal("--allow-faults"), b""))
    with pytest.raises(errors.Refused, match="allow-faults"):
        admin.fault("n2", "cold", "eio", 0, 1)


def test_faults_of_a_node_go_to_it(fake: FakeCluster, admin: Admin) -> None:
    fake["n2"].script(Kind.NODE_FAULT, lambda _: (Status.OK, Ack(), b""))
    admin.node_fault("n2", "partition", 1500, ["n1", "n3"])
    asked = fake["n2"].asked(Kind.NODE_FAULT)[0].fields
    assert (asked.kind, asked.for_ms, asked.peers) == ("partition", 1500.0, ("n1", "n3"))
    with pytest.raises(errors.UnknownRef):
        admin.node_fault("n9", "kill")


def test_watch_waits_for_a_newer_map(fake: FakeCluster, admin: Admin) -> None:
    assert admin.watch(9, 5).version == 10
    start = time.monotonic()
    assert admin.watch(10, 0.1).version == 10
    assert 0.09 < time.monotonic() - start < 1
    timer = threading.Timer(0.1, lambda: fake.down("n3"))
    timer.start()
    assert admin.watch(10, 5) == fake.map
    timer.join()
    assert time.monotonic() - start < 3

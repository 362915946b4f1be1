"""Every command ends with the code that the contract names, and one line on stderr says why."""

from __future__ import annotations

import pytest

from tiercluster.cluster import errors

from .conftest import Run
from .fakes import UNREACHABLE, FakeClient, FakeCluster, failed

ADMIN_COMMANDS = (
    ("status",),
    ("tier", "list"),
    ("tier", "drain", "n2/cold"),
    ("tier", "restore", "n2/cold"),
    ("tier", "probe", "n2/cold"),
    ("tier", "why", "n2/cold"),
    ("node", "list"),
    ("node", "drain", "n2"),
    ("node", "restore", "n2"),
    ("node", "remove", "n2"),
    ("events",),
    ("fault", "inject", "n2/cold", "--kind", "eio"),
    ("fault", "clear", "n2/cold"),
)
PROPOSALS = (
    ("tier", "drain", "n2/cold"),
    ("tier", "restore", "n2/cold", "--wait"),
    ("node", "drain", "n2"),
    ("node", "remove", "n2", "--force"),
)


@pytest.mark.parametrize("command", ADMIN_COMMANDS, ids=" ".join)
def test_no_member_reachable_is_3(run: Run, cluster: FakeCluster, command: tuple[str, ...]) -> None:
    cluster.trouble = UNREACHABLE
    ran = run(*command)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "error: no member answers at 127.0.0.1:7701\n"


@pytest.mark.parametrize("command", PROPOSALS, ids=" ".join)
def test_no_quorum_is_3(run: Run, cluster: FakeCluster, command: tuple[str, ...]) -> None:
    cluster.trouble_of_proposals = errors.NoQuorum("1 of 3 voters reach each other")
    ran = run(*command)
    assert (ran.code, ran.err) == (3, "error: 1 of 3 voters reach each other\n")


@pytest.mark.parametrize(
    "command",
    [
        ("tier", "drain", "n9/cold"),
        ("tier", "restore", "n9/*"),
        ("tier", "probe", "n9/hot"),
        ("tier", "why", "n9/hot"),
        ("node", "drain", "n9"),
        ("node", "restore", "n9"),
        ("node", "remove", "n9"),
        ("fault", "inject", "n9/cold", "--kind", "eio"),
    ],
    ids=" ".join,
)
def test_what_the_map_does_not_have_is_4_and_the_known_ones_are_named(
    run: Run, command: tuple[str, ...]
) -> None:
    ran = run(*command)
    assert ran.code == 4
    assert ran.err.count("\n") == 1
    assert "n1" in ran.err
    assert "n3" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        ("tier", "drain", "n2"),
        ("tier", "drain", "n2/cool"),
        ("tier", "drain"),
        ("tier", "nonsense"),
        ("nonsense",),
        ("--nonsense",),
        ("status", "--cluster", ","),
        ("status", "--cluster", "host:port"),
        ("fault", "inject", "n2/cold"),
        ("fault", "inject", "n2/cold", "--kind", "fire"),
        ("events", "--since", "-1"),
        ("get", "key", "file"),
        ("set", "key", "value", "--ttl", "soon"),
        ("bench", "--trace", "/nonexistent/trace"),
        ("bench", "--value-size", "1 fathom"),
        ("config", "check", "/nonexistent/node.toml"),
        ("start", "--hot", "much"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_in_one_line(run: Run, command: tuple[str, ...]) -> None:
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_no_command_at_all_shows_the_help_and_is_2(run: Run) -> None:
    ran = run()
    assert (ran.code, ran.out) == (2, "")
    assert "Commands:" in ran.err


def test_what_the_guard_refuses_is_6_with_its_reason(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n1/cold"))
    ran = run("tier", "drain", "n2/cold")
    assert ran.code == 6
    assert "refused by the guard" in ran.err


def test_force_overrules_the_guard(run: Run, cluster: FakeCluster) -> None:
    cluster.apply(failed("n1/cold"))
    assert run("tier", "drain", "n2/cold", "--force").code == 0


def test_removing_a_node_that_is_up_is_6(run: Run) -> None:
    ran = run("node", "remove", "n2")
    assert (ran.code, ran.err) == (
        6,
        "error: n2: n2 is UP: stop it first, or force the removal\n",
    )


def test_faults_without_allow_faults_are_6(run: Run, cluster: FakeCluster) -> None:
    cluster.allows_faults = False
    assert run("fault", "inject", "n2/cold", "--kind", "eio").code == 6


def test_start_off_loopback_without_keys_is_6_and_tells_how_to_make_them(run: Run) -> None:
    ran = run("start", "--listen", "10.0.0.1:7701")
    assert ran.code == 6
    assert "tiercluster keygen --out DIR" in ran.err
    assert "--keys DIR" in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Unavailable("x"), 3),
        (errors.DeadlineExceeded("x"), 3),
        (errors.NoQuorum("x"), 3),
        (errors.UnknownRef("x"), 4),
        (errors.Refused("x"), 6),
        (errors.Unauthorized("x"), 6),
        (errors.InvalidKey("x"), 2),
        (errors.ValueTooLarge("x"), 2),
        (errors.SerializationError("x"), 1),
        (errors.ProtocolError("x"), 1),
        (PermissionError(13, "x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_of_the_tree_has_its_code(
    run: Run, client: FakeClient, error: Exception, code: int
) -> None:
    client.trouble = error
    ran = run("get", "key")
    assert ran.code == code
    assert ran.err.count("\n") == 1


def test_a_bug_is_one_line_with_its_type_and_1(run: Run, client: FakeClient) -> None:
    client.trouble = ZeroDivisionError("a\nb")
    ran = run("get", "key")
    assert ran.code == 1
    assert ran.err.startswith("error: unexpected ZeroDivisionError: a b; please report")
    assert ran.err.count("\n") == 1


def test_debug_shows_the_traceback_of_a_bug(
    run: Run, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERCLUSTER_DEBUG", "1")
    client.trouble = ZeroDivisionError("deliberate")
    ran = run("get", "key")
    assert "Traceback" in ran.err
    assert ran.code == 1


@pytest.mark.parametrize(
    "command",
    [
        ("set", "k", "v", "--ttl", "nan"),
        ("get", "k", "--timeout", "nan"),
        ("tier", "drain", "n2/cold", "--wait", "--timeout", "nan"),
        ("fault", "inject", "n2/cold", "--kind", "slow", "--ms", "nan"),
        ("fault", "inject", "n2/cold", "--kind", "slow", "--rate", "nan"),
        ("top", "--count", "2", "--interval", "nan"),
        ("top", "--count", "2", "--interval", "inf"),
        ("bench", "--seconds", "nan"),
        ("bench", "--requests", "1", "--ttl", "nan"),
        ("bench", "--requests", "1", "--writes", "nan"),
    ],
)
def test_what_is_no_number_is_wrong_usage(run: Run, command: tuple[str, ...]) -> None:
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert command[-2] in ran.err
    assert ran.err.count("\n") == 1

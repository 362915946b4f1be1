"""The load generator: what it plays, what it measures, and that it notices a wrong value."""

from __future__ import annotations

import gzip
import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercluster.cli.latencies import GROWTH, Latencies
from tiercluster.cli.load import Work, play
from tiercluster.cli.workload import batches, share, trace_keys, value_of, zipf_keys, zipf_weights

from .conftest import Run
from .fakes import UNREACHABLE, FakeClient


@given(st.lists(st.floats(min_value=1e-6, max_value=100), min_size=1, max_size=200))
def test_a_percentile_is_never_too_low_and_at_most_a_bucket_too_high(took: list[float]) -> None:
    latencies = Latencies()
    for one in took:
        latencies.record(one)
    for percent in (50, 90, 99, 100):
        exact = sorted(took)[max(0, -(-len(took) * percent // 100) - 1)]
        assert exact <= latencies.percentile(percent) * (1 + 1e-9)
        assert latencies.percentile(percent) <= exact * GROWTH * (1 + 1e-9)


def test_merged_latencies_are_those_of_all() -> None:
    one, other, both = Latencies(), Latencies(), Latencies()
    for took in (0.001, 0.002, 0.5):
        one.record(took)
        both.record(took)
    other.record(0.003)
    both.record(0.003)
    one.merge(other)
    assert [one.percentile(p) for p in (1, 50, 99)] == [both.percentile(p) for p in (1, 50, 99)]
    assert (one.count, one.longest_s) == (4, 0.5)


@given(st.text(min_size=1), st.integers(min_value=0, max_value=5000))
def test_a_value_follows_from_its_key(key: str, size: int) -> None:
    assert value_of(key, size) == value_of(key, size)
    assert len(value_of(key, size)) == size


def test_values_of_different_keys_differ() -> None:
    assert value_of("a", 100) != value_of("b", 100)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_trace_is_read_packed_or_not(tmp_path: Path, pack: object) -> None:
    file = tmp_path / "trace"
    file.write_bytes(pack(b"a\nb\n\n a b \nc"))  # type: ignore[operator]
    assert list(trace_keys(file)) == ["a", "b", "a b", "c"]


def test_workers_share_the_keys_without_overlap() -> None:
    keys = [str(i) for i in range(10)]
    assert sorted(itertools.chain(*(share(keys, w, 3) for w in range(3)))) == sorted(keys)
    assert list(batches(keys, 4)) == [keys[:4], keys[4:8], keys[8:]]


def test_popular_keys_come_often_and_the_same_seed_draws_the_same() -> None:
    weights = zipf_weights(1000, 0.99)
    drawn = list(itertools.islice(zipf_keys(weights, 1), 5000))
    assert drawn == list(itertools.islice(zipf_keys(weights, 1), 5000))
    assert drawn != list(itertools.islice(zipf_keys(weights, 2), 5000))
    assert Counter(drawn).most_common(1)[0][0] == "key:0"


def work(*, looks: int = 10**6, write: bool = False) -> Work:
    """It is over after so many looks at it."""
    ticks, asked = itertools.count(), itertools.count()
    return Work(64, None, lambda: next(ticks) * 0.001, lambda: next(asked) >= looks, lambda: write)


def test_a_miss_is_filled_and_the_next_read_hits() -> None:
    client = FakeClient({})
    tally = play(client, [["a"], ["a"], ["a", "b"]], work())
    assert (tally.hits, tally.misses, tally.writes) == (2, 2, 2)
    assert client.store["a"] == value_of("a", 64)
    assert (tally.reads_took.count, tally.writes_took.count) == (3, 2)


@pytest.mark.parametrize("value", [b"something else", "text", 7])
def test_a_wrong_value_is_noticed(value: object) -> None:
    assert play(FakeClient({"a": value}), [["a"], ["a", "b"]], work()).wrong == 2


def test_errors_are_counted_and_the_play_goes_on() -> None:
    tally = play(FakeClient({}, trouble=UNREACHABLE), [["a"], ["b"]], work())
    assert (tally.errors, tally.operations) == (2, 0)
    assert tally.last_error.startswith("Unavailable: no member answers")


def test_what_was_not_stored_is_counted() -> None:
    client = FakeClient({})
    client.full = True
    tally = play(client, [["a"], ["b", "c"]], work(write=True))
    assert (tally.writes, tally.not_stored, tally.hits) == (3, 3, 0)


def test_it_stops_when_it_is_over() -> None:
    endless = batches(zipf_keys(zipf_weights(10, 1), 1), 1)
    tally = play(FakeClient({}), endless, work(looks=7))
    assert tally.hits + tally.misses == 7


def test_bench_reports_and_clears_what_it_wrote(run: Run, client: FakeClient) -> None:
    ran = run("bench", "--requests", "50", "--threads", "3", "--keys-count", "5", "--json")
    assert ran.code == 0
    document = ran.json
    assert document["hits"] + document["misses"] == 50
    assert document["hit_ratio"] == pytest.approx(document["hits"] / 50)
    assert document["wrong"] == document["errors"] == 0
    assert set(document["read_ms"]) == {"requests", "mean", "p50", "p90", "p99", "p99.9", "max"}
    assert client.store == {}


def test_bench_keeps_a_namespace_that_was_named(run: Run, client: FakeClient) -> None:
    run("bench", "--requests", "5", "--namespace", "mine")
    assert client.store


def test_bench_plays_a_trace_to_its_end(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "keys.gz"
    trace.write_bytes(gzip.compress(b"a\nb\na\nb\nc\n"))
    document = run("bench", "--trace", str(trace), "--threads", "1", "--json").json
    assert (document["hits"], document["misses"]) == (2, 3)
    assert "hit ratio 40.00%" in run("bench", "--trace", str(trace), "--threads", "1").out


def test_bench_without_a_cluster_is_3_at_once(run: Run, client: FakeClient) -> None:
    client.trouble = UNREACHABLE
    ran = run("bench", "--requests", "2", "--namespace", "mine")
    assert (ran.code, ran.out) == (3, "")


def test_bench_that_is_never_answered_is_1(
    run: Run, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(key: str, default: object = None) -> object:
        raise UNREACHABLE

    monkeypatch.setattr(client, "get", get)
    ran = run("bench", "--requests", "2")
    assert ran.code == 1
    assert "last error: Unavailable" in ran.err


def damaged(file: Path, kept: int, more: bytes) -> Path:
    """A gzip of many keys, of which only the beginning is as it was."""
    packed = gzip.compress(b"".join(b"key-%d\n" % (i * 7919) for i in range(20_000)))
    file.write_bytes(packed[:kept] + more)
    return file


@pytest.mark.parametrize("more", [b"", b"\xff" * 4000], ids=["cut off", "spoiled"])
@pytest.mark.parametrize(("kept", "code"), [(12, 2), (30_000, 1)], ids=["at once", "later"])
def test_a_damaged_trace_is_said_to_be_one(
    run: Run, tmp_path: Path, kept: int, more: bytes, code: int
) -> None:
    ran = run("bench", "--trace", str(damaged(tmp_path / "trace.gz", kept, more)))
    assert ran.code == code
    assert "trace.gz is damaged" in ran.err

"""Journal, vote file and marker: what a power cut, a full disk or a bad block may do."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercluster.tiermap.raft import journal as journal_module
from tiercluster.tiermap.raft.files import DamagedError, JournalError
from tiercluster.tiermap.raft.identity import Directory
from tiercluster.tiermap.raft.journal import Journal
from tiercluster.tiermap.raft.vote import Vote, read_vote


def filled(directory: Path, count: int = 5) -> Journal:
    journal = Journal(directory)
    for index in range(1, count + 1):
        journal.add(b"command %d" % index, index, 1)
        journal.sync()
    return journal


def closed(journal: Journal) -> None:
    journal._destroy()


def reopened(directory: Path) -> list[tuple[bytes, int, int]]:
    journal = Journal(directory)
    try:
        return journal[:]
    finally:
        closed(journal)


def test_what_was_added_is_there_after_a_restart(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.setCurrentTerm(7, "n2")
    journal.setRaftCommitIndex(4)
    closed(journal)

    again = Journal(tmp_path)
    assert [entry[1] for entry in again[:]] == [1, 2, 3, 4, 5]
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (7, "n2")
    assert again.getRaftCommitIndex() == 4
    closed(again)


def test_a_vote_is_on_the_disk_when_setting_it_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.setCurrentTerm(3, "n1")
    assert read_vote(tmp_path / "vote") == Vote(3, "n1", 1)
    closed(journal)


@pytest.mark.parametrize("missing", [1, 10, 30])
def test_a_torn_tail_is_cut(tmp_path: Path, missing: int) -> None:
    closed(filled(tmp_path))
    path = tmp_path / "journal"
    os.truncate(path, path.stat().st_size - missing)

    assert [entry[1] for entry in reopened(tmp_path)] == [1, 2, 3, 4]


def test_several_unsynced_entries_may_be_torn_in_any_order(tmp_path: Path) -> None:
    journal = filled(tmp_path, 2)
    hole = journal._end
    journal.extend([(b"x" * 50, 3, 1), (b"y" * 50, 4, 1)])  # one write, no sync
    journal._close()
    data = bytearray((tmp_path / "journal").read_bytes())
    data[hole : hole + 40] = bytes(40)  # the page of the first came late, the second's is there
    (tmp_path / "journal").write_bytes(data)

    assert [entry[1] for entry in reopened(tmp_path)] == [1, 2]


def test_damage_in_what_was_durable_is_refused(tmp_path: Path) -> None:
    closed(filled(tmp_path))
    path = tmp_path / "journal"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(DamagedError, match="in the middle of what was acknowledged"):
        Journal(tmp_path)


def test_damage_in_a_trimmed_log_is_refused_even_in_its_first_entry(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.deleteEntriesTo(2)
    closed(journal)
    path = tmp_path / "journal"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)

    with pytest.raises(DamagedError, match="in the middle"):
        Journal(tmp_path)


def test_a_cut_that_would_reach_below_the_commit_index_is_refused(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.setRaftCommitIndex(5)
    closed(journal)
    path = tmp_path / "journal"
    os.truncate(path, path.stat().st_size - 1)

    with pytest.raises(DamagedError, match="entry 5 was committed"):
        Journal(tmp_path)


def test_a_journal_without_its_vote_file_says_what_to_do(tmp_path: Path) -> None:
    closed(filled(tmp_path))
    (tmp_path / "vote").unlink()

    with pytest.raises(DamagedError, match=r"may have voted already.*move its raft directory away"):
        Journal(tmp_path)


def test_a_vote_file_without_its_journal_is_refused(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.setCurrentTerm(2, None)
    closed(journal)
    (tmp_path / "journal").unlink()

    with pytest.raises(DamagedError, match="is missing"):
        Journal(tmp_path)


def test_a_damaged_vote_is_refused(tmp_path: Path) -> None:
    closed(filled(tmp_path))
    path = tmp_path / "vote"
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    with pytest.raises(DamagedError, match="checksum"):
        Journal(tmp_path)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_full_disk_is_an_error_and_nothing_is_done_with_the_file_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    journal = filled(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, call, no_space)
        with pytest.raises(JournalError, match="No space left"):
            append_and_sync(journal)
    with pytest.raises(JournalError, match="No space left"):
        journal.add(b"x", 7, 1)  # also now that there is room
    with pytest.raises(JournalError, match="No space left"):
        journal.setCurrentTerm(9, None)
    closed(journal)

    healed = Journal(tmp_path, rewrite=True)
    assert [entry[1] for entry in healed[:5]] == [1, 2, 3, 4, 5]
    closed(healed)


def append_and_sync(journal: Journal) -> None:
    journal.add(b"x", 6, 1)
    journal.sync()


def no_space(*args: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_vote_that_cannot_be_written_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        with pytest.raises(JournalError, match="No space left"):
            journal.setCurrentTerm(4, "n3")
    assert journal.getVotedForNodeId() is None
    closed(journal)


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_crash_during_a_trim_leaves_the_old_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    journal = filled(tmp_path)
    with monkeypatch.context() as crash:
        crash.setattr(os, step, no_space)
        with pytest.raises(JournalError):
            journal.deleteEntriesTo(3)
    journal._close()

    assert [entry[1] for entry in reopened(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_trim_fsyncs_the_new_file_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = filled(tmp_path)
    steps: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, real=real, name=name: (steps.append(name), real(*a))[1]
        )
    journal.deleteEntriesTo(3)
    closed(journal)

    assert steps == ["fsync", "fsync", "rename", "fsync"]  # file, directory, name, directory


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_cut_off_only_whole_entries_are_left(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    sizes = data.draw(st.lists(st.integers(1, 80), min_size=1, max_size=6))
    journal = Journal(directory, fsync=False)
    ends = [0]
    for index, size in enumerate(sizes, start=1):
        journal.add(bytes(size), index, 1)
        ends.append(journal._end)
    journal._close()
    length = data.draw(st.integers(0, ends[-1]))
    os.truncate(directory / "journal", length)

    kept = reopened(directory)
    assert len(kept) == sum(end <= length for end in ends[1:])


def test_bytes_that_look_like_a_record_inside_a_command_do_no_harm(tmp_path: Path) -> None:
    journal = filled(tmp_path, 2)
    journal.add(journal_module._record((b"inner", 9, 9), 10**6), 3, 1)
    journal.sync()
    closed(journal)

    assert [entry[1] for entry in reopened(tmp_path)] == [1, 2, 3]


# --- whose directory it is ------------------------------------------------------------------------


def test_a_second_process_cannot_use_the_directory(tmp_path: Path) -> None:
    first = Directory(tmp_path, "c", "n1")
    with pytest.raises(JournalError, match="in use by another process"):
        Directory(tmp_path, "c", "n1")
    first.close()
    Directory(tmp_path, "c", "n1").close()


@pytest.mark.parametrize(("cluster", "node"), [("other", "n1"), ("c", "n2")])
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, cluster: str, node: str) -> None:
    Directory(tmp_path, "c", "n1").close()
    with pytest.raises(DamagedError, match="belongs to node 'n1' of cluster 'c'"):
        Directory(tmp_path, cluster, node)


def test_an_admitted_member_that_lost_a_file_is_refused(tmp_path: Path) -> None:
    directory = Directory(tmp_path, "c", "n1")
    closed(filled(tmp_path))
    directory.admit()
    directory.close()
    for name in ("journal", "vote"):
        (tmp_path / name).unlink()

    with pytest.raises(DamagedError, match="lacks journal and vote"):
        Directory(tmp_path, "c", "n1")


def test_a_log_without_a_marker_is_refused(tmp_path: Path) -> None:
    Directory(tmp_path, "c", "n1").close()
    closed(filled(tmp_path))
    (tmp_path / "member").unlink()

    with pytest.raises(DamagedError, match="no marker of its owner"):
        Directory(tmp_path, "c", "n1")

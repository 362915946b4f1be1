"""Keys that come and go: what `keygen --rotate` does to a directory of keys.

Each folder of keys may have two more in it with files of the same names, ``next/`` and ``old/``.

    start    makes the pairs of next/            (now tell every node: all are let in)
    switch   next/ becomes the present, of which the public keys stay in old/
    finish   removes old/                        (now nobody is let in with them)

A file is replaced in one step, so that whoever reads meanwhile finds a key.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tiercluster.cluster.keys_files import CLIENT, NEXT, OLD, SERVER, make_keys
from tiercluster.node.keyring import CLIENTS, NODES, PUBLIC

START, SWITCH, FINISH = "start", "switch", "finish"
STEPS = (START, SWITCH, FINISH)


class NotNow(Exception):
    """This step does not follow; the text says what to do."""


def stems(out: Path, nodes: Iterable[str], clients: Iterable[str]) -> list[Path]:
    """The key files without suffix of these, or of everybody."""
    named = [out / NODES / node for node in nodes]
    named += [out / CLIENTS / name / CLIENT for name in clients]
    if named:
        return named
    found = (file.with_suffix("") for folder in _folders(out) for file in _keys(folder))
    return [stem for stem in found if stem.name != SERVER or stem.parent == out]


def start(out: Path, wanted: Iterable[Path]) -> list[Path]:
    """Make the next pair of each; the stems of those that were made. NotNow if one does not exist
    yet, or the last rotation is not finished."""
    wanted = list(wanted)
    _refuse_unfinished(out)
    for stem in wanted:
        if not _public(stem).exists():
            raise NotNow(f"there is no {_public(stem)} to be replaced: make it without --rotate")
    made = [stem for stem in wanted if _make_next(stem)]
    server = _public(out / NEXT / SERVER)
    if server.exists():
        for folder in _applications(out):
            (folder / NEXT).mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(server, _public(folder / NEXT / SERVER))
    return made


def switch(out: Path) -> list[Path]:
    """The stems of the keys that are others now."""
    _refuse_unfinished(out)
    changed = []
    for folder in _folders(out):
        for file in _keys(folder / NEXT):
            stem = folder / file.stem
            (folder / OLD).mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(_public(stem), _public(folder / OLD / file.stem))
            for part in (*file.parent.glob(f"{file.stem}{PUBLIC}_secret"), file):
                os.replace(part, folder / part.name)
            changed.append(stem)
        _remove(folder / NEXT)
    if not changed:
        raise NotNow("there are no next keys: begin with `--rotate start`")
    return changed


def finish(out: Path) -> list[Path]:
    """The stems of the keys of which the old ones are gone."""
    gone = []
    for folder in _folders(out):
        gone += [folder / file.stem for file in _keys(folder / OLD)]
        _remove(folder / OLD)
    if not gone:
        raise NotNow("there are no old keys to be removed")
    return gone


def _refuse_unfinished(out: Path) -> None:
    for folder in _folders(out):
        if (folder / OLD).exists():
            raise NotNow(f"{folder / OLD} holds keys of the last rotation: `--rotate finish` first")


def _folders(out: Path) -> Iterator[Path]:
    yield out
    yield out / NODES
    yield from _applications(out)


def _applications(out: Path) -> list[Path]:
    return sorted(path for path in (out / CLIENTS).glob("*") if path.is_dir())


def _keys(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{PUBLIC}"))


def _public(stem: Path) -> Path:
    return stem.with_name(stem.name + PUBLIC)


def _make_next(stem: Path) -> bool:
    folder = stem.parent / NEXT
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        make_keys(folder, stem.name)
    except FileExistsError:
        return False
    return True


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)

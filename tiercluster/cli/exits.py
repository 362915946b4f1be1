"""Exit codes, and which error ends a command with which of them."""

from __future__ import annotations

import os
import sys
from enum import IntEnum

import click

from tiercluster.cluster import errors


class Code(IntEnum):
    """The exit codes of every command; docs/cli.md lists them for scripts."""

    DONE = 0
    FAILED = 1  # or a miss
    USAGE = 2
    UNREACHABLE = 3  # or no quorum
    NOT_FOUND = 4
    TIMED_OUT = 5  # of --wait
    REFUSED = 6


INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Stop(click.ClickException):
    """End the command with this code and this one line on stderr."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


# The first match decides, so a subclass stands above its base.
_CODES: tuple[tuple[type[Exception], Code], ...] = (
    (errors.NoQuorum, Code.UNREACHABLE),
    (errors.Unavailable, Code.UNREACHABLE),
    (errors.DeadlineExceeded, Code.UNREACHABLE),
    (errors.UnknownRef, Code.NOT_FOUND),
    (errors.Refused, Code.REFUSED),
    (errors.Unauthorized, Code.REFUSED),
    (errors.InvalidKey, Code.USAGE),
    (errors.ValueTooLarge, Code.USAGE),
    (errors.SerializationError, Code.FAILED),
    (errors.TierclusterError, Code.FAILED),
    (OSError, Code.FAILED),
)


def code_of(error: Exception) -> Code | None:
    """The code that this error ends a command with; None: nobody expected it."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


def advice_on(error: Exception) -> str:
    """What to do, where the error itself cannot know it."""
    if isinstance(error, errors.Unavailable) and "no member reachable" in str(error):
        return "; start a node, or name a member with --cluster HOST:PORT"
    if isinstance(error, errors.Unauthorized):
        return "; give the operator's keys with --keys DIR"
    return ""


def drop_output() -> None:
    """Nobody reads stdout any more: what is still buffered goes nowhere, or Python would complain
    at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(text: str) -> str:
    """``text`` as one line: what scripts and log collectors keep together."""
    return " ".join(text.split())

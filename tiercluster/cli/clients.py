"""Opens the client that a command of the data path works through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tiercluster import Client

from .exits import Code, Stop
from .session import ClientDoor, Session


def open_client(
    session: Session, namespace: str, timeout_s: float
) -> AbstractContextManager[ClientDoor]:
    """A client of the cluster; closed at the end of the block."""
    if session.make_client is not None:
        return session.make_client(session, namespace, timeout_s)
    return _client(session, namespace, timeout_s)


@contextmanager
def _client(session: Session, namespace: str, timeout_s: float) -> Iterator[ClientDoor]:
    try:
        client = Client(
            session.addresses, namespace=namespace, timeout=timeout_s, keys=session.keys
        )
    except ValueError as error:  # a namespace that cannot be, or keys that cannot be read
        raise Stop(Code.USAGE, str(error)) from error
    try:
        yield client
    finally:
        client.close()

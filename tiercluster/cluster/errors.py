"""The one tree of exceptions that callers see."""

from __future__ import annotations


class TierclusterError(Exception):
    """Root of every error that a client call raises (KeyError of ``incr`` apart)."""


class Unavailable(TierclusterError, ConnectionError):
    """No member could serve this now: unreachable, shedding load, or no usable tier. A write that
    was sent before may or may not have been applied."""


class DeadlineExceeded(TierclusterError, TimeoutError):
    """The call's ``timeout`` ran out; a write may or may not have been applied."""


class NoQuorum(TierclusterError):
    """A decision could not be committed: too few voters reach each other."""


class Refused(TierclusterError):
    """The cluster refused an admin command for safety (the guard); the text says why."""


class UnknownRef(TierclusterError):
    """No such node or tier in the map."""


class InvalidKey(TierclusterError, ValueError):
    """A key that is not 1 to 1024 bytes of str or bytes."""


class ValueTooLarge(TierclusterError, ValueError):
    """A serialized value above the limit."""


class SerializationError(TierclusterError, TypeError):
    """A value that the serializer cannot write, or stored bytes that it cannot read."""


class Unauthorized(TierclusterError):
    """The member does not accept this client's key, or the command needs an admin key."""


class ProtocolError(TierclusterError):
    """A peer said something that this version does not understand."""

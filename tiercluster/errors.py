"""The exceptions that client calls raise."""

from tiercluster.cluster.errors import (
    DeadlineExceeded,
    InvalidKey,
    NoQuorum,
    ProtocolError,
    Refused,
    SerializationError,
    TierclusterError,
    Unauthorized,
    Unavailable,
    UnknownRef,
    ValueTooLarge,
)

__all__ = [
    "DeadlineExceeded",
    "InvalidKey",
    "NoQuorum",
    "ProtocolError",
    "Refused",
    "SerializationError",
    "TierclusterError",
    "Unauthorized",
    "Unavailable",
    "UnknownRef",
    "ValueTooLarge",
]

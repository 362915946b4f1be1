"""Where the node's log lines go: stderr, one line for each decision, key=value or JSON."""

from __future__ import annotations

import logging
import sys

import structlog


def log_to_stderr(level: str = "info", *, as_json: bool = False) -> None:
    """Configure structlog, and the standard logging of the libraries below it. Call once, before
    the workers start. stdout stays free for what scripts read. ValueError for an unknown level."""
    numeric = logging.getLevelNamesMapping().get(level.upper())
    if numeric is None:
        raise ValueError(f"no log level {level!r}")
    render = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.processors.KeyValueRenderer(
            key_order=["timestamp", "level", "event"], repr_native_str=False
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=sys.stderr,
        level=numeric,
        format="timestamp=%(asctime)s level=%(levelname)s event=%(message)s logger=%(name)s",
    )

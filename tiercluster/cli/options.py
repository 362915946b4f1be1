"""The flags that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .session import CLUSTER_META, KEYS_META

F = TypeVar("F", bound=Callable[..., Any])

META = {"cluster": CLUSTER_META, "keys": KEYS_META}
DEFAULT_WAIT_S = 60.0


class Number(click.FloatRange):
    """A number within a range, in which NaN is not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def reach_cluster(function: F) -> F:
    """--cluster and --keys, which also stand before the command's name; read by `session_of`."""
    function = click.option(
        "--keys",
        type=click.Path(path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=_keep,
        help="Directory of keys made by keygen. [env: TIERCLUSTER_KEYS]",
    )(function)
    return click.option(
        "--cluster",
        metavar="HOST:PORT[,HOST:PORT...]",
        expose_value=False,
        callback=_keep,
        help="Any reachable members. [env: TIERCLUSTER_CLUSTER; default: 127.0.0.1:7701]",
    )(function)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if value is not None:
        ctx.meta[META[str(param.name)]] = value
    return value


def wait_flags(function: F) -> F:
    """--wait and --timeout."""
    function = click.option(
        "--timeout",
        type=Number(min=0),
        default=DEFAULT_WAIT_S,
        show_default=True,
        metavar="S",
        help="Seconds to wait; then exit 5.",
    )(function)
    return click.option("--wait", is_flag=True, help="Return only when it is done.")(function)


namespace_flag = click.option(
    "--namespace",
    default="",
    envvar="TIERCLUSTER_NAMESPACE",
    metavar="NAME",
    help="Keys of this namespace. [env: TIERCLUSTER_NAMESPACE]",
)

deadline_flag = click.option(
    "--timeout",
    type=Number(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="S",
    help="Seconds for the whole call.",
)

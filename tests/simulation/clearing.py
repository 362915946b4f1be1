"""Clears: the client's own script, step by step on a simulated client, judged as one call."""

from __future__ import annotations

from tiercluster.cluster.api import Api, Step
from tiercluster.cluster.errors import TierclusterError
from tiercluster.cluster.keys import Space
from tiercluster.cluster.options import make_options
from tiercluster.cluster.plan import Operation
from tiercluster.cluster.swallow import Swallowed

from .checkers import Call, Checkers
from .client_model import SimClient

STEP_S = 1.0  # for each request, as for any call


class Clearing:
    """One `delete_prefix` of a namespace, whose ``keys`` count as deleted when it has ended."""

    def __init__(self, client: SimClient, checkers: Checkers, space: Space,
                 keys: list[bytes]) -> None:  # fmt: skip
        options = make_options("sim:1", "", None, "cbor", STEP_S, "raise", 0)
        self._client, self._checkers = client, checkers
        self._script = Api(options, space, Swallowed()).delete_prefix("")
        parts = [Call(client.name, "delete", key) for key in keys]
        self._call = Call(client.name, "clear", space.prefix, parts=parts)

    def begin(self) -> None:
        self._checkers.call_began(self._call, STEP_S)
        self._go_on(None)

    def _go_on(self, error: TierclusterError | None) -> None:
        try:
            step = self._script.send(None) if error is None else self._script.throw(error)
        except StopIteration:
            self._checkers.clear_ended(self._call, "ok")
        except TierclusterError:
            self._checkers.clear_ended(self._call, "unknown")
        else:
            self._carry_out(step)

    def _carry_out(self, step: Step) -> None:
        assert isinstance(step, Operation)
        asked = Call(self._client.name, f"step of clear {step.node or ''}", b"-clear")
        self._client.begin(step, asked, STEP_S, self._ended)

    def _ended(self, step: Call) -> None:
        if step.is_weak:
            for part in self._call.parts:
                part.is_weak = True
        self._go_on(step.error)

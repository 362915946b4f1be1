"""The consensus: pysyncobj, hardened, driven by one worker; the only folder that imports it.

How a member without a marker of its own gets its vote stands in admission.py, which hazards of the
library are closed and how in docs/decisions/0003-raft-hardening.md.
"""

from .cut import NO_CUT, Cut
from .events import Applied, BarrierDone, Counted, Healed, ReplicaEvent, Sick, Stalled, Standing
from .files import DamagedError, JournalError
from .floods import Limits
from .inlet import Inlet
from .lock import lock_directory
from .machine import Machine
from .outlet import Open, Outlet
from .replica import Replica
from .settings import MAX_FRAME_BYTES, RaftKeys, ReplicaSettings
from .watch import LOOK_S, Watch, hang_up, source_of

__all__ = [
    "Applied",
    "BarrierDone",
    "Counted",
    "Cut",
    "DamagedError",
    "Healed",
    "Inlet",
    "JournalError",
    "LOOK_S",
    "Limits",
    "MAX_FRAME_BYTES",
    "Machine",
    "NO_CUT",
    "Open",
    "Outlet",
    "RaftKeys",
    "Replica",
    "ReplicaEvent",
    "ReplicaSettings",
    "Sick",
    "Stalled",
    "Standing",
    "Watch",
    "hang_up",
    "lock_directory",
    "source_of",
]

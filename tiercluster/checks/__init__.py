"""Judges of what a cluster has answered: pure, and without a word of how it works.

They know the promise only, so that they can be believed where the cluster cannot.
"""

from .lincheck import INF, Engine, Model, Op, TooConcurrent, cache, check, jit, register, wgl
from .promise import Breach, breaches

__all__ = [
    "Breach",
    "Engine",
    "INF",
    "Model",
    "Op",
    "TooConcurrent",
    "breaches",
    "cache",
    "check",
    "jit",
    "register",
    "wgl",
]

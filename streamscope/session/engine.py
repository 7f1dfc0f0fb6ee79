"""The engine as a session needs it: what makes the two halves of the core, and what compiles them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from streamscope.config import EngineConfig
from streamscope.session.lanes import Infers, Learns

Shape: TypeAlias = tuple[int, int]
WarmProgress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Engine:
    """How to infer, how to learn, and how to get ready for both."""

    infer: Callable[[EngineConfig, Shape], Infers]
    learner: Callable[[EngineConfig, Shape], Learns]
    warm_up: Callable[[WarmProgress], None]


def real_engine() -> Engine:
    """Return the engine of `streamscope.core`; imported here because it takes a second."""
    from streamscope.core.infer import Infer
    from streamscope.core.learn import Learner
    from streamscope.core.warmup import warm_up

    return Engine(Infer, Learner, warm_up)

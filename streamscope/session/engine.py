"""The engine as a session needs it: what makes the two halves of the core, and what compiles them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from streamscope.config import EngineConfig
from streamscope.core.epoch import Epoch
from streamscope.session.lanes import Infers, Learns
from streamscope.types import ImageArray

if TYPE_CHECKING:
    from streamscope.core.seed import Seed

Shape: TypeAlias = tuple[int, int]
WarmProgress: TypeAlias = Callable[[str, int, int], None]


class MakesLearner(Protocol):
    """Makes what learns; a seed is given only where there is one."""

    def __call__(
        self, config: EngineConfig, shape: Shape, seed: Seed | None = None, threads: int = 1
    ) -> Learns:
        """Return a learner for frames of `shape` that begins with the components of `seed`; `threads` share work."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How to infer, how to learn, how to get ready for both, and how to let go of what they hold."""

    infer: Callable[[EngineConfig, Shape], Infers]
    learner: MakesLearner
    warm_up: Callable[[WarmProgress], None]
    close: Callable[[], None]
    first: Callable[[ImageArray], Epoch] | None = None  # what is in force from frame 0 on, made of that frame


def real_engine(bits: int = 8) -> Engine:
    """Return the engine of `streamscope.core` for pixels of so many bits, its learner in a process of its own.

    Imported here because it takes a second.
    """
    from streamscope.core.infer import Infer
    from streamscope.core.warmup import warm_up_infer
    from streamscope.session.learner_process import LearnerProcess

    process = LearnerProcess()

    def warm_up(progress: WarmProgress) -> None:
        process.warm_up(progress, lambda: warm_up_infer(progress, bits))

    return Engine(Infer, process.learner, warm_up, process.close)

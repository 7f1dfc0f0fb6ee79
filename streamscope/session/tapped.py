"""A source whose frames are looked at on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streamscope.types import Frame, MovieInfo, Source


class Tapped:
    """Hands on the frames of a source, after somebody else has had each.

    Parameters
    ----------
    source : Source
        Where the frames come from.
    tap : callable
        Called with each frame before it is handed on, in the thread that asks for it.
    ended : callable
        Called when no further frame will be handed on, whatever the reason.
    """

    def __init__(
        self, source: Source, tap: Callable[[Frame], object], ended: Callable[[], None] = lambda: None
    ) -> None:
        self._source = source
        self._tap = tap
        self._ended = ended

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the stream."""
        return self._source.info

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Yield the frames of the source."""
        try:
            for frame in self._source.frames(stopped):
                self._tap(frame)
                yield frame
        finally:
            self._ended()

    def close(self) -> None:
        """Release the camera or file."""
        self._source.close()

"""What the loop does with each thing that comes out of the pipeline: publish it, count it, keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from streamscope.session.acting import Outputs
from streamscope.session.freezing import Freezing
from streamscope.session.health import HealthMeter
from streamscope.session.lanes import Adopted, Held, Item
from streamscope.session.outputs import LoopOutlet, Note, Published, Record
from streamscope.session.queue import BoundedQueue
from streamscope.session.threads import in_thread
from streamscope.session.triggering import Answered, Decided, Happened, Told
from streamscope.types import FLAG_BAD_MOTION, FLAG_NO_LEARNING, FrameResult, OutputReport, Tail
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import (
    EVENT_BAD_MOTION,
    EVENT_CAMERA,
    EVENT_DEVICE,
    EVENT_FROZEN,
    EVENT_GAP,
    EVENT_OUTPUT,
    EVENT_OVERLOAD,
    EVENT_SEED,
    EVENT_THAWED,
)

WRITER_POLL_S = 0.005


class Publishing:
    """Publish what comes out of the pipeline and hand it to the journal, in order. Owned by the loop.

    Parameters
    ----------
    publisher : Publisher
        The sockets.
    meter : HealthMeter
        Counts what was published.
    records : BoundedQueue
        The way to the writer thread.
    freezing : Freezing
        Hears when freezing or thawing took effect.
    outputs : Outputs, optional
        Of the rules, if there are any.
    """

    def __init__(
        self,
        publisher: Publisher,
        meter: HealthMeter,
        records: BoundedQueue[Record],
        freezing: Freezing,
        outputs: Outputs | None = None,
    ) -> None:
        self._outputs = outputs
        self._trouble: dict[str, str] = {}  # of each output
        self._publisher = publisher
        self._meter = meter
        self._records = records
        self._freezing = freezing
        self._flags = 0

    async def run(self, outlet: LoopOutlet) -> None:
        """Publish everything that comes through `outlet` until it ends."""
        try:
            while items := await outlet.take():
                for item in items:
                    self._one(item)
                await self._let_the_writer_catch_up()
        finally:
            self._freezing.end()
            if self._outputs is not None:
                await in_thread("outputs", self._outputs.close)
                await asyncio.sleep(0)  # what they still reported is on its way
            self._records.close()

    def _one(self, item: Item) -> None:
        match item:
            case FrameResult():
                self._tell_of_changes(item)
                t_publish_ns = self._publisher.publish_result(item)
                self._meter.published(item, t_publish_ns)
                self._records.put(Published(item, t_publish_ns))
            case Adopted():
                self._tell_of_seeding(item)
                self._publisher.publish_epoch(item.epoch, item.epoch.events, item.frame)
                self._meter.adopted(item.epoch.status)
                self._records.put(item)
            case Held():
                self._hold(item)
            case Tail():
                self._publisher.publish_tail(item)
                self._records.put(item)
            case Decided() | Happened() | Answered() | Told():
                self._of_rules(item)

    def _of_rules(self, item: Decided | Happened | Answered | Told) -> None:
        match item:
            case Decided(decision):
                if self._outputs is not None:
                    self._outputs.write_slow(decision)
                self._publisher.publish_decision(decision)
                self._records.put(item)
            case Happened():
                self._publisher.rules = item.standing
                said = (str(item.fields.get(key, "")) for key in ("rule", "reason", "text"))
                self._meter.message = " ".join(filter(None, (item.kind, *said)))
                self._event(item.kind, item.frame, **item.fields)
            case Answered(reply, outcome):
                reply.settle(outcome)
            case Told():
                self._records.put(item)

    def reported(self, report: OutputReport) -> None:
        """Take note of what became of a decision at an output; say when it has trouble, or is well again."""
        self._records.put(report)
        if report.trouble != self._trouble.get(report.output, ""):
            self._trouble[report.output] = report.trouble
            self._event(EVENT_OUTPUT, max(self._meter.frame, 0), output=report.output, text=report.trouble)

    @property
    def trouble(self) -> str:
        """Return which outputs have trouble, in words."""
        return "; ".join(f"{name}: {text}" for name, text in self._trouble.items() if text)

    def _tell_of_seeding(self, adopted: Adopted) -> None:
        """Say what became of the cells that were to be there from the start."""
        report = adopted.epoch.seeding
        if report is not None:
            self._event(EVENT_SEED, adopted.frame, **report.fields())
            self._meter.message = report.text()

    def _hold(self, held: Held) -> None:
        if self._freezing.took_effect(held):
            fields = self._publisher.publish_held(held.frozen, held.frame)
            self._records.put(Note(EVENT_FROZEN if held.frozen else EVENT_THAWED, held.frame, fields))
            self._meter.message = f"frozen from frame {held.frame} on" if held.frozen else ""

    def _tell_of_changes(self, result: FrameResult) -> None:
        """Say once when something goes wrong or is well again, before the frame where it changes."""
        if result.gap:
            self._event(EVENT_GAP, result.index, n=result.gap)
        changed = result.flags ^ self._flags
        self._flags = result.flags
        if changed & FLAG_BAD_MOTION:
            self._event(EVENT_BAD_MOTION, result.index, bad=bool(result.flags & FLAG_BAD_MOTION))
        if changed & FLAG_NO_LEARNING:
            shed = "learning" if result.flags & FLAG_NO_LEARNING else ""
            self._event(EVENT_OVERLOAD, result.index, shed=shed)
            self._meter.shed = shed

    def tell(self, name: str, frame: int, fields: Mapping[str, object]) -> None:
        """Publish something that happened beside the pipeline, note it in the journal, and show what it says."""
        if name == EVENT_DEVICE:
            self._meter.message = str(fields.get("text", ""))
        self._event(name, frame, **fields)

    def tell_of_camera(self, camera: str, what: str, text: str, fields: Mapping[str, object]) -> None:
        """Publish, note and show what happened to a behaviour camera, at the frame that was published last."""
        self._meter.message = f"{camera}: {text}"
        frame = max(self._meter.frame, 0)
        self._event(EVENT_CAMERA, frame, **{**fields, "camera": camera, "what": what, "text": text})

    def _event(self, name: str, frame: int, /, **fields: object) -> None:
        self._publisher.publish_event(name, frame, **fields)
        self._records.put(Note(name, frame, fields))

    async def _let_the_writer_catch_up(self) -> None:
        """Give the loop's other tasks a turn, longer while the writer is half its queue behind.

        The loop itself may not wait in `put`: half of the queue is room for more than one batch.
        """
        await asyncio.sleep(0)
        while len(self._records) > self._records.capacity // 2:
            await asyncio.sleep(WRITER_POLL_S)

"""Submits, starts, workers and Pub/Sub on the driven clock: a day of batch in seconds.

What decides is real: submit's announcer, the worker's pool and sweep, the local cloud's clock and
Pub/Sub. What waits is a greenlet, so that one thing happens at a time, in the clock's order, and a
worker that dies does so wherever it waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from batch_fakes import SUBMIT_ENV, WORKER_ENV, MemoryRecords
from google.api_core.exceptions import Conflict
from greenlet import getcurrent, greenlet

from batch.tasks import TaskId
from runtime.logs import Log
from submit.announce import Announcer
from submit.settings import Config as SubmitConfig
from tests.localcloud.core.clock import Clock
from tests.localcloud.services.pubsub.engine import Delivery, Subscription
from tests.localcloud.services.pubsub.service import PubSub
from worker import fence, pool, sweep
from worker.settings import Config
from worker.subscription import PULL_SECONDS, Message

BEGIN = 1_800_000_000.0  # the beginning of a window
CLOCK_SECONDS, SWEEP_SECONDS = 900.0, 3600.0
SLOWEST_START = 60.0  # of an execution
CALL_SECONDS = 0.05  # that a pull takes at least
RETRIES, TIMEOUT, GRACE = 3, 3600.0, 10.0
REQUEST = {"task_type": "data_transformation", "priority": "normal"}
TOPIC = "projects/acme-files/topics/files-dev-tasks-normal"
DEAD = f"{TOPIC}-dead"
CONFIG = Config.from_env(WORKER_ENV)


class Time(Clock):
    """The local cloud's clock without an event loop: `run` fires what comes due, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.at = BEGIN

    def now(self) -> float:
        return self.at

    @property
    def passed(self) -> float:
        return self.at - BEGIN

    def _arm(self) -> None:
        pass

    def run(self, seconds: float) -> None:
        until = self.at + seconds
        while (due := self.next_due()) is not None and due <= until:
            self.at = max(self.at, due)
            heapq.heappop(self._timers)[2].callback()
        self.at = until


class Process:
    """Greenlets that live and die together; stands for `threading` and `time` in the worker."""

    of: WeakKeyDictionary[greenlet, Process] = WeakKeyDictionary()

    def __init__(self, clock: Time, hub: greenlet) -> None:
        self.clock, self.hub, self.threads = clock, hub, list[greenlet]()
        self.worker: pool.Worker | None = None

    def spawn(self, work: Callable[[], Any]) -> None:
        made = greenlet(work, self.hub)
        self.threads.append(made)
        self.of[made] = self
        self.clock.call_later(0, lambda: None if made.dead else made.switch())

    def kill(self) -> None:
        for thread in self.threads:
            if not thread.dead:
                thread.throw()

    def sleep(self, seconds: float, wakers: Any = None) -> None:
        """Until so much time is over, or what is put into `wakers` is called."""
        me = getcurrent()

        def wake() -> None:
            timer.cancel()
            if not me.dead and not called:
                called.append(True)
                me.switch()

        called = list[bool]()
        timer = self.clock.call_later(seconds, wake)
        if wakers is not None:
            wakers.append(lambda: self.clock.call_later(0, wake))
        self.hub.switch()

    # threading and time

    def monotonic(self) -> float:
        return self.clock.now()

    def Thread(self, target: Callable[..., Any], args: Any = (), daemon: bool = False) -> Any:
        ended = self.Event()

        def work() -> None:
            target(*args)
            ended.set()

        return SimpleNamespace(start=lambda: self.spawn(work), join=ended.wait)

    def Event(self) -> Event:
        return Event(self)

    def Condition(self) -> Event:
        return Event(self)

    def ThreadPoolExecutor(self, most: int) -> Executor:
        return Executor(self, most)


class Event:
    """An event, or a condition, whose lock nobody else can hold."""

    def __init__(self, process: Process) -> None:
        self._process, self._is_set, self._waiting = process, False, list[Callable[[], Any]]()

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self.notify_all()

    # As the future that Pub/Sub tells of a message
    def done(self) -> bool:
        return self._is_set

    def set_result(self, _: None) -> None:
        self.set()

    def notify_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def wait(self, seconds: float = 1e9) -> bool:
        if not self._is_set:
            self._process.sleep(seconds, self._waiting)
        return self._is_set


class Executor:
    def __init__(self, process: Process, most: int) -> None:
        self._process, self._free, self._queue = process, most, list[Callable[[], Any]]()
        self._changed = process.Condition()

    def submit(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._queue.append(lambda: work(*arguments))
        if self._free:
            self._free -= 1
            self._process.spawn(self._serve)

    def _serve(self) -> None:
        while self._queue:
            self._queue.pop(0)()
        self._free += 1
        self._changed.notify_all()

    def __enter__(self) -> Executor:
        self._most = self._free
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        while kind is None and self._free < self._most:
            self._changed.wait()


class Bus(PubSub):
    """Pub/Sub, noting how long each message could be seen before somebody took it."""

    def __init__(self, clock: Time) -> None:
        note = SimpleNamespace(write=lambda *_, **__: None)
        allow = SimpleNamespace(require=lambda *_: None)
        never = SimpleNamespace(chance=lambda *_: False, draw=lambda *_: 0.0)
        super().__init__(
            SimpleNamespace(clock=clock, journal=note, iam=allow, faults=never, number="1")
        )
        self.waits = list[float]()
        self._seen: dict[int, float] = {}
        self.topics |= {TOPIC: {}, DEAD: {}}

    def subscribe(self, topic: str, **more: Any) -> Subscription:
        name = topic.replace("topics", "subscriptions")
        spec = {"topic": topic, "messageRetentionDuration": "604800s", "expirationPolicy": {}}
        self.subscriptions[name] = made = Subscription(name, spec | more)
        return made

    def _offer(self, subscription: Subscription, delivery: Delivery) -> None:
        self._seen[id(delivery)] = self.cloud.clock.now()
        super()._offer(subscription, delivery)

    def _lease(self, subscription: Subscription, delivery: Delivery, deadline: float) -> Any:
        self.waits.append(self.cloud.clock.now() - self._seen.pop(id(delivery)))
        return super()._lease(subscription, delivery, deadline)


class Pulled:
    """What the worker knows as its Subscription."""

    def __init__(self, bus: Bus, subscription: Subscription, process: Process) -> None:
        self._bus, self._subscription, self._process = bus, subscription, process

    def pull(self, most: int) -> list[Message]:
        self._process.sleep(CALL_SECONDS)
        if not self._subscription.ready:
            came = self._process.Event()
            self._subscription.waiting.add(came)  # type: ignore[arg-type]
            came.wait(PULL_SECONDS - CALL_SECONDS)
            self._subscription.waiting.discard(came)  # type: ignore[arg-type]
        leased = self._bus.lease(self._subscription, most, self._subscription.ack_deadline)
        return [
            Message(one["ackId"], TaskId.parse(one["message"]["attributes"]["task_id"]), 1)
            for one in leased
        ]

    def acknowledge(self, messages: list[Message]) -> None:
        self._bus.acknowledge_ids(self._subscription, [one.ack_id for one in messages])

    def extend(self, messages: list[Message], seconds: int = 600) -> None:
        self._bus.modify_ids(self._subscription, [one.ack_id for one in messages], seconds)


class TimedRecords(MemoryRecords):
    """Records that the driven clock stamps."""

    def __init__(self, clock: Time) -> None:
        super().__init__()
        self._clock = clock

    def now(self, purpose: str) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def accept(self, task: TaskId, request: dict[str, Any]) -> bool:
        self.created[task] = self.now("request")
        return super().accept(task, request)


class World:
    """start_seconds, task_seconds: of the next execution, the next task."""

    def __init__(self, patch: pytest.MonkeyPatch, window: int = 60) -> None:
        self.clock, self._hub = Time(), getcurrent()
        self.bus, self.records = Bus(self.clock), TimedRecords(self.clock)
        policy = {"deadLetterTopic": DEAD, "maxDeliveryAttempts": 5}
        backoff = {"minimumBackoff": "10s", "maximumBackoff": "600s"}
        more = {"deadLetterPolicy": policy, "retryPolicy": backoff}
        self.tasks = self.bus.subscribe(TOPIC, ackDeadlineSeconds=600, **more)
        self.dead = self.bus.subscribe(DEAD, ackDeadlineSeconds=60)
        self.start_seconds: Callable[[], float] = lambda: 10.0
        self.task_seconds: Callable[[], float] = lambda: 1.0
        self.processes = list[Process]()
        self.executions = self.attempts = 0
        self.ran_seconds = 0.0
        self._names, self._log = set[str](), Log("p", False)
        settings = SubmitConfig.from_env(SUBMIT_ENV | {"WINDOW_SECONDS": str(window)})
        client = SimpleNamespace(create_task=self._create_task)
        publisher = SimpleNamespace(publish=self._publish)
        self._announcer = Announcer(settings, lambda: publisher, lambda: client)  # type: ignore[arg-type, return-value]
        patch.setattr("google.cloud.pubsub_v1.PublisherClient", lambda: publisher)
        patch.setattr(pool, "perform", self._perform)
        patch.setattr(pool, "ThreadPoolExecutor", lambda most: here.ThreadPoolExecutor(most))
        for name in ("threading", "time"):
            patch.setattr(pool, name, here)
        self._every(CLOCK_SECONDS, self.run_job)
        self._every(SWEEP_SECONDS, self.sweep)

    def submit(self, dies_after: str = "start") -> TaskId:
        """A task; the service may die after its request, publish or start."""
        task = TaskId.new()
        self.records.accept(task, REQUEST)
        if dies_after != "request":
            self._announcer.publish(task, REQUEST)
        if dies_after == "start":
            self._announcer.start("normal", self.clock.now())
        return task

    def run_job(self) -> None:
        self.executions += 1
        self._process().spawn(self._execution)

    def sweep(self) -> None:
        sweep.sweep(CONFIG, self.records, self._log)

    def kill(self, number: int) -> None:
        """One of the workers dies, with all that it holds."""
        if self.processes:
            self.processes[number % len(self.processes)].kill()

    def end(self, number: int) -> None:
        """One of the workers is told to end."""
        if self.processes and (worker := self.processes[number % len(self.processes)].worker):
            worker.stop()

    def _process(self) -> Process:
        return Process(self.clock, self._hub)

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        def again() -> None:
            work()
            self.clock.call_later(seconds, again)

        self.clock.call_later(seconds, again)

    def _publish(self, topic: str, data: bytes, **attributes: str) -> Any:
        self.bus._publish(topic, {"data": "", "attributes": attributes})
        return SimpleNamespace(result=lambda _: "1")

    def _create_task(self, request: Any, timeout: float) -> None:
        task = request["task"]
        if task["name"] in self._names:
            raise Conflict("there")
        self._names.add(task["name"])
        self.clock.call_at(task["schedule_time"].timestamp(), self.run_job)

    def _perform(self, config: Any, task: Any, request: Any, stopping: Event) -> dict[str, Any]:
        if stopping.wait(self.task_seconds()):
            raise fence.Stopped
        return {"status": "done"}

    def _execution(self) -> None:
        for _ in range(1 + RETRIES):
            Process.of[getcurrent()].sleep(self.start_seconds())
            if self._attempt():
                break
        self.executions -= 1

    def _attempt(self) -> bool:
        """Whether the worker ended by itself, and not by a death."""
        process, codes, began = self._process(), list[int](), self.clock.now()
        self.attempts += 1
        ended = Process.of[getcurrent()].Event()

        def run() -> None:
            try:
                pulled = Pulled(self.bus, self.tasks, process)
                process.worker = pool.Worker(CONFIG, self.records, pulled, self._log)  # type: ignore[arg-type]
                codes.append(process.worker.run(Pulled(self.bus, self.dead, process)))  # type: ignore[arg-type]
            finally:
                ended.set()

        self.processes.append(process)
        process.spawn(run)
        if not ended.wait(TIMEOUT) and process.worker:
            process.worker.stop()
            ended.wait(GRACE)
        self.processes.remove(process)
        self.clock.call_later(0, process.kill)  # by the hub, where control goes then
        self.ran_seconds += self.clock.now() - began
        return bool(codes)


class Here:
    """The process that asks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(Process.of[getcurrent()], name)


here = Here()

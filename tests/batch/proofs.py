"""What of batch cannot happen without a binding: each is withheld, refused, and given back.

Bindings that differ in their priority alone are withheld together, and each must be refused. That
whatever was accepted meanwhile ends, is for the last test to tell.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.batch.deployed import RUN, Batch, account
from tests.permissions.tools import Binding, Key, Watch, withheld
from tests.system.pipeline import jpeg

BOTH, NORMAL = ("normal", "urgent"), ("normal",)
SCHEDULER = "https://cloudscheduler.googleapis.com/v1"
Refusal = dict[str, Any]  # fields of a journal line; `says` stands anywhere in it
Story = Callable[[Batch, "Held"], None]


@dataclass(frozen=True)
class Proof:
    keys: tuple[Key, ...]
    story: Story
    refusals: tuple[Refusal, ...]


@dataclass
class Held:
    """The bindings of a proof, as its story withholds them."""

    batch: Batch
    bindings: list[Binding]
    refusals: tuple[Refusal, ...]

    @property
    def priorities(self) -> tuple[str, ...]:
        return BOTH if len(self.bindings) > 1 else NORMAL

    @contextlib.contextmanager
    def until_refused(self) -> Iterator[None]:
        watch = Watch(self.batch.cloud)
        with contextlib.ExitStack() as stack:
            for binding in self.bindings:
                stack.enter_context(withheld(self.batch.cloud, binding))
            yield
            self.batch.until(lambda: all(watch.lines(**refusal) for refusal in self.refusals))
            self.batch.quiet()


def asks(b: Batch, held: Held) -> None:
    with held.until_refused():
        assert not b.http.get(f"{b.base}/tasks", timeout=60).ok
    assert b.http.get(f"{b.base}/tasks", timeout=60).ok


def submits(b: Batch, held: Held, **task: str) -> None:
    """A submission fails; repeated with its key, the task is taken."""
    keys = {priority: str(uuid.uuid4()) for priority in held.priorities}

    def send(priority: str) -> Any:
        body = {"task_type": "errand", "priority": priority} | task
        headers = {"Idempotency-Key": keys[priority]}
        return b.http.post(f"{b.base}/submit-task", json=body, headers=headers, timeout=60)

    with held.until_refused():
        assert [send(priority).ok for priority in keys] == [False for _ in keys]
    assert [send(priority).text for priority in keys if not send(priority).ok] == []


def submits_for_later(b: Batch, held: Held) -> None:
    """As many submissions share a start, which may be there already; what waits is its own."""
    submits(b, held, run_after=b.later())


def submitted(b: Batch, held: Held, **task: Any) -> list[str]:
    wanted = {"task_type": "errand"} | task
    return [
        str(b.submitted("POST", "/submit-task", json=wanted | {"priority": priority})["task_id"])
        for priority in held.priorities
    ]


def works(b: Batch, held: Held, **task: Any) -> None:
    """A task waits, and is done with the binding, its deliveries not spent."""
    with held.until_refused():
        made = submitted(b, held, **task)
    for task_id in made:
        assert b.task(task_id)["status"] == "done"


def reads_a_table(b: Batch, held: Held) -> None:
    b.upload("proofs/table.csv", b"a\n1\n", "text/csv")
    works(b, held, task_type="data_transformation", input="proofs/table.csv")


def writes_a_record(b: Batch, held: Held) -> None:
    b.upload("proofs/photo.jpg", jpeg(64, 64))
    works(b, held, task_type="file_processing", prefix="proofs/photo")


def publishes_later(b: Batch, held: Held) -> None:
    """A task whose time comes is published at its time, or when that may happen."""
    topics = [f"files-dev-worker-{priority}" for priority in held.priorities]
    with held.until_refused():
        submitted(b, held, run_after=b.later())
    watch = Watch(b.cloud)
    b.until(lambda: all(watch.lines(kind="pubsub.waiting", subscription=one) for one in topics))


def sets_aside(b: Batch, held: Held) -> None:
    """What no worker ends in five deliveries is set aside, and gets its outcome."""
    jobs = [f"{b.place}/jobs/files-dev-worker-{priority}" for priority in BOTH]
    starter = account(b, "starter")
    with contextlib.ExitStack() as stack:
        for job in jobs:
            binding = [job, "roles/run.jobsExecutor", starter, None]
            stack.enter_context(withheld(b.cloud, binding))
        b.quiet()
        with held.until_refused():
            made = submitted(b, held)
            exhaust(b)
            for job in jobs if held.refusals == DEAD else ():
                b.call("POST", f"{RUN}/{job}:run", {})
        exhaust(b)
    for task_id in made:
        assert b.task(task_id)["reason"] == "deliveries_exhausted"


def exhaust(b: Batch) -> None:
    """Every message that waits is pulled and refused, as often as may be."""
    for number in range(5):
        for priority in BOTH:
            name = f"projects/{b.cloud.project}/subscriptions/files-dev-worker-{priority}"
            url = f"https://pubsub.googleapis.com/v1/{name}"
            got = b.call("POST", f"{url}:pull", {"maxMessages": 100, "returnImmediately": True})
            if ids := [one["ackId"] for one in got.get("receivedMessages", [])]:
                refused = {"ackIds": ids, "ackDeadlineSeconds": 0}
                b.call("POST", f"{url}:modifyAckDeadline", refused)
        b.cloud.advance(10 * 2**number + 1)


def run_schedule(b: Batch, name: str) -> None:
    b.call("POST", f"{SCHEDULER}/{b.place}/jobs/files-dev-{name}:run", {})
    b.cloud.advance(1)


def sweeps(b: Batch, held: Held) -> None:
    """A request whose submission ended before its publish is published, two hours later."""
    made = [lost_request(b, priority) for priority in held.priorities]
    b.cloud.advance(3700)
    b.quiet()
    with held.until_refused():
        run_schedule(b, "run-sweep")
    run_schedule(b, "run-sweep")
    for task_id in made:
        assert b.task(task_id)["status"] == "done"


def lost_request(b: Batch, priority: str) -> str:
    task = uuid.uuid4().hex
    blob = b.client.bucket(b.tasks_bucket).blob(f"tasks/-/{task}/request.json")
    request = f'{{"task_type": "errand", "priority": "{priority}", "does": "nothing"}}'
    blob.upload_from_string(request)
    return task


def submits_by_the_clock(b: Batch, held: Held) -> None:
    watch = Watch(b.cloud)
    with held.until_refused():
        run_schedule(b, "submits-nightly")
    run_schedule(b, "submits-nightly")
    b.until(lambda: watch.lines(kind="run.request", service="files-dev-submit", status=200))


def each(account: str, role: str, on: str) -> tuple[Key, ...]:
    """Of each priority, where the resource has one."""
    names = BOTH if "{}" in on else NORMAL
    return tuple((account, f"roles/{role}", on.format(priority)) for priority in names)


def refused(*texts: str) -> tuple[Refusal, ...]:
    return tuple({"kind": "api", "code": 403, "says": text} for text in texts)


WORKER, AGENT = "batch-worker", "Pub/Sub's agent"
CREATE, GET = refused("storage.objects.create"), refused("storage.objects.get")
TOPICS = refused(*(f"files-dev-tasks-{priority}" for priority in BOTH))
JOBS = refused(*(f"files-dev-worker-{priority}" for priority in BOTH))
AGENTS = ({"kind": "pubsub.dead_letter_refused"},)
DEAD = refused(*(f"files-dev-tasks-{priority}-dead" for priority in BOTH))
CALL = ({"kind": "run.request", "service": "files-dev-submit", "status": 403},)
PROOFS = (
    Proof(each("submit", "storage.objectViewer", "bucket tasks"), asks,
          refused("storage.objects.list")),
    Proof(each("submit", "storage.objectCreator", "bucket tasks"), submits, CREATE),
    Proof(each("submit", "pubsub.publisher", "topic tasks-{}"), submits, TOPICS),
    Proof(each("submit", "cloudtasks.enqueuer", "queue starts"), submits_for_later,
          refused("cloudtasks.tasks.create")),
    Proof(each("submit", "iam.serviceAccountUser", "account starter"), submits_for_later,
          refused("iam.serviceAccounts.actAs")),
    Proof(each("batch-clock", "run.invoker", "function submit"), submits_by_the_clock, CALL),
    Proof(each("starter", "pubsub.publisher", "topic tasks-{}"), publishes_later, TOPICS),
    Proof(each("starter", "run.jobsExecutor", "job worker-{}"), works, JOBS),
    Proof(each(WORKER, "pubsub.subscriber", "subscription worker-{}"), works, JOBS),
    Proof(each(WORKER, "storage.objectViewer", "bucket tasks"), works, GET),
    Proof(each(WORKER, "storage.objectCreator", "bucket tasks"), works, CREATE),
    Proof(each(WORKER, "storage.objectViewer", "bucket uploads"), reads_a_table, GET),
    Proof(each(WORKER, "storage.objectCreator", "bucket results"), writes_a_record, CREATE),
    Proof(each("starter", "run.jobsExecutor", "job worker-sweep"), sweeps,
          refused("files-dev-worker-sweep")),
    Proof(each(WORKER, "pubsub.publisher", "topic tasks-{}"), sweeps, TOPICS),
    Proof(each(AGENT, "pubsub.publisher", "topic tasks-{}-dead"), sets_aside, AGENTS),
    Proof(each(AGENT, "pubsub.subscriber", "subscription worker-{}"), sets_aside, AGENTS),
    Proof(each(WORKER, "pubsub.subscriber", "subscription tasks-{}-dead"), sets_aside, DEAD),
)  # fmt: skip

"""The long proofs, `make soak`: 10,000 uploads under every fault, 10,000 tasks after an outage.

SEED=7 FILES=300 python -m tests.programs.soak replays a run or changes its size. `make check` runs
the same with fewer files.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import sys
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.programs import analytics
from tests.system.operating import Operator
from tests.system.pipeline import BRIDGE, PROCESSOR, Pipeline, jpeg
from tests.system.told import GONE, Told, extend, hooked

# What happens on the way, and how often. Rules concern the functions and Google's own agents, not
# the person who uploads.
RATES = {
    "pubsub.duplicate": 0.05,
    "storage.duplicate_notification": 0.05,
    "pubsub.reorder": 0.2,
    "pubsub.lost_ack": 0.05,
    "tasks.duplicate": 0.04,
    "tasks.lost_answer": 0.05,
    "storage.create_only_403": 0.2,
    "identity.expire": 0.01,
    "run.kill": 0.01,
}
RULES = [
    {"method": f"{api}.*", "member": "serviceAccount:*", "code": code, "rate": rate, "after": after}
    for api in ("storage", "cloudtasks", "pubsub")
    for code, rate, after in ((429, 0.025, False), (503, 0.025, False), (503, 0.01, True))
]
IAM_SECONDS = 90  # how late a grant takes effect
BUDGET = 3  # attempts
PATIENCE = 2 * 3600  # seconds on the clock; a dozen failures in a row take no longer
BROKEN = jpeg(320, 240)
BROKEN = BROKEN[: len(BROKEN) // 2]
CONTENTS = {
    "photo.jpg": ("image/jpeg", jpeg(64, 48)),
    "notes.txt": ("text/plain", b"some text\n"),
    "broken.jpg": ("image/jpeg", BROKEN),
}
WEIGHTS = (7, 2, 1)


@contextmanager
def tuned(**settings: dict[str, int]) -> Iterator[Told]:
    """dev with subscribers, and some literals of its lane changed, in a local cloud of its own."""
    with LocalCloud.start() as cloud, ExitStack() as stack:
        deployment = Deployment.prepare(cloud)
        change_lane(deployment, **settings)
        extend(deployment, sweep=False)
        hooks = hooked(stack, cloud)
        deployment.make("bootstrap", "YES=1", "CAPABILITIES=completions observers")
        deployment.make("apply", "ENV=dev", "YES=1")
        one, ops = Pipeline.of(deployment), stack.enter_context(Operator(deployment))
        yield Told(deployment, one.outputs, one.client, ops, hooks)


def change_lane(deployment: Deployment, **settings: dict[str, int]) -> None:
    """Writes literals into the default lane of the deployed copy's dev, by part of it."""
    file = deployment.checkout / "environments/dev/main.tf"
    before, opening, rest = file.read_text().partition("    default = {\n")
    lines, closing, after = rest.partition("    }\n")
    assert opening, f"{file} has no default lane"
    assert closing
    for part, changed in settings.items():
        before_it, written, after_it = re.split(rf"^( +{part} += .*\n)", lines, flags=re.M)
        literals = dict(re.findall(r"(\w+) = (\w+)", written)) | changed
        inner = ", ".join(f"{name} = {value}" for name, value in literals.items())
        lines = f"{before_it}      {part} = {{ {inner} }}\n{after_it}"
    file.write_text(before + opening + lines + closing + after)


@dataclass
class Report:
    """How a fault run went. `problems` is empty when the promise was kept."""

    seed: int
    files: int
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    done_bytes: int = 0
    void: int = 0  # failure records beside a manifest, whose instance died before its line
    seen: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    clock_seconds: float = 0.0

    def __str__(self) -> str:
        def table(title: str, counts: Counter[str]) -> list[str]:
            return [f"{title}:", *(f"  {n:6}  {name}" for name, n in sorted(counts.items()))]

        spent = ", ".join(f"{n} of {k}" for k, n in sorted(self.attempts.items()))
        lines = [
            f"fault run: {self.files} uploads, seed {self.seed} (SEED={self.seed} replays it), "
            f"{self.seconds:.0f} s, {self.clock_seconds / 60:.0f} min on the driven clock",
            *table("outcomes", self.outcomes),
            f"attempts: {spent}",
            *table("faults injected", self.faults),
            *self.seen,
            *(f"PROBLEM: {problem}" for problem in self.problems[:20]),
        ]
        return "\n".join(lines)


def fault_run(pipeline: Told, seed: int, files: int) -> Report:
    """Uploads under every fault at once, until nothing is left to do; says how it ended."""
    cloud, report = pipeline.cloud, Report(seed, files)
    started, clock = time.monotonic(), now(pipeline)
    chooser = random.Random(seed)
    kinds = chooser.choices(list(CONTENTS), WEIGHTS, k=files)
    # Some names come twice: an overwrite is an upload of its own.
    names = [f"run/{n - (n % 20 == 19):05}-{kind}" for n, kind in enumerate(kinds)]
    cloud.delete("/faults")
    cloud.post("/faults", {"seed": seed, "rates": RATES, "rules": RULES})
    pipeline.flaky(seed)

    def upload(name: str) -> tuple[str, int]:
        content_type, data = CONTENTS[name.partition("-")[2]]
        return name, pipeline.upload(name, data, content_type)

    with ThreadPoolExecutor(4) as pool:
        uploads = list(pool.map(upload, names[: files // 2]))
        regrant_late(pipeline)
        uploads += list(pool.map(upload, names[files // 2 :]))
    ended = wait_until_over(pipeline, uploads)
    if not ended:
        report.problems.append(f"not over after {PATIENCE} s: {len(pipeline.tasks())} tasks wait")
    report.faults = Counter(cloud.get("/faults")["counts"])
    cloud.delete("/faults")
    report.faults["webhook.refused"] = sum(hook.refused for hook in pipeline.hooks.values())
    judge(pipeline, report, uploads, chooser)
    told, problems = pipeline.given_up()
    report.seen.append(told)
    report.problems += problems + pipeline.unheard(uploads) + miscounted(pipeline, report, uploads)
    report.seconds = time.monotonic() - started
    report.clock_seconds = now(pipeline) - clock
    return report


def miscounted(pipeline: Told, report: Report, uploads: list[tuple[str, int]]) -> list[str]:
    """Where the operator's numbers, or those that SQL has from the logs, are not what is known."""
    text = pipeline.operate("stats", "--json")
    found = json.loads(text[text.index("{") :])
    reasons = {k[8:]: n for k, n in report.outcomes.items() if k.startswith("failed: ")}
    outcomes = {"done": report.outcomes["done"], "failed": sum(reasons.values())}
    sizes = {name: len(CONTENTS[name.partition("-")[2]][1]) for name, _ in uploads}
    told = (found["outcomes"], found["failures"], found["bytes"])
    right = ({k: n for k, n in outcomes.items() if n}, reasons, sum(sizes[n] for n, _ in uploads))
    problems = [] if told == right else [f"stats tells {told}, and it is {right}"]
    rows = analytics.results(pipeline.cloud.journal("log"), pipeline.cloud.project)
    days = [(files, size) for _, files, size in rows["Done files and their bytes by day"]]
    sql = {
        "outcomes": dict(rows["Files and outcomes"]),
        "failures": dict(rows["Failures by reason"]),
        "done": tuple(map(sum, zip(*days, strict=True))),
    }
    known = {
        "outcomes": right[0],
        "failures": reasons,
        "done": (report.outcomes["done"], report.done_bytes),
    }
    report.seen.append(f"docs/analytics.md over the lines of {report.files} files: {sql}")
    if report.void:
        report.seen.append(f"{report.void} done files have a failure record, too")
    elif sql != known:
        problems.append(f"the SQL tells {sql}, and it is {known}")
    ((p50, p90, p99),) = rows["From upload to result"]
    if not p50 <= p90 <= p99:
        problems.append(f"percentiles of ages: {p50}, {p90}, {p99}")
    return problems


def regrant_late(pipeline: Pipeline) -> None:
    """Takes from both functions what they need, and gives it back with Google's delay."""
    cloud = pipeline.cloud
    domain = f"{cloud.project}.iam.gserviceaccount.com"
    queue, bucket = pipeline.outputs["queues"]["default"], f"projects/_/buckets/{pipeline.results}"
    for account, role, resource in (
        (BRIDGE, "roles/cloudtasks.enqueuer", queue),
        ("files-dev-processor", "roles/storage.objectCreator", bucket),
    ):
        row = {"resource": resource, "role": role, "member": f"serviceAccount:{account}@{domain}"}
        assert [resource, role, row["member"], None] in cloud.get("/bindings"), row
        cloud.post("/bindings", row | {"present": False})
        cloud.post("/faults", {"iam_seconds": IAM_SECONDS})
        cloud.post("/bindings", row | {"present": True})
        cloud.post("/faults", {"iam_seconds": 0})


def wait_until_over(pipeline: Pipeline, uploads: list[tuple[str, int]]) -> bool:
    """Lets time pass until every upload has a record and no event or task is under way."""
    keys = {f"{name}/{generation}" for name, generation in uploads}
    while pipeline.cloud.get("/clock")["in_flight"]:  # minutes, with 10,000 files
        time.sleep(0.2)
    begun = now(pipeline)
    while now(pipeline) - begun < PATIENCE:
        pipeline.cloud.advance(60)
        if keys <= recorded(pipeline) and not unacknowledged(pipeline) and not pipeline.tasks():
            return True
    return False


def recorded(pipeline: Pipeline) -> set[str]:
    """Keys with a record of either kind."""
    names = pipeline.listing("manifests/") + pipeline.listing("failures/")
    return {name.partition("/")[2].removesuffix(".json") for name in names}


def judge(
    pipeline: Pipeline, report: Report, uploads: list[tuple[str, int]], chooser: random.Random
) -> None:
    """Compares what is there with what was uploaded."""
    there: dict[str, set[str]] = {}
    for name in pipeline.listing():
        kind, _, rest = name.partition("/")
        there.setdefault(kind, set()).add(rest)
    keys = {f"{name}/{generation}": name for name, generation in uploads}
    manifests, failures = (
        {rest.removesuffix(".json") for rest in there.get(kind, ())}
        for kind in ("manifests", "failures")
    )
    claims = Counter(rest.rpartition("/")[0] for rest in there.get("attempts", ()))
    report.attempts = Counter(claims[key] for key in keys)

    def problem(text: str) -> None:
        report.problems.append(text)

    if strangers := (manifests | failures) - set(keys):
        problem(f"records of nothing that was uploaded, or of further runs: {strangers}")
    if unexpected := set(there) - {"files", "manifests", "failures", "attempts"}:
        problem(f"unexpected in the results: {unexpected}")
    if tasks := pipeline.tasks():
        problem(f"tasks left: {tasks}")
    if letters := pipeline.dead_letters():
        problem(f"dead letters: {letters}")
    if outgoing := unacknowledged(pipeline):
        problem(f"events never acknowledged: {outgoing}")
    for key, name in keys.items():
        if claims[key] > BUDGET:
            problem(f"{key}: {claims[key]} attempts")
        good = not name.endswith("broken.jpg")
        if key in manifests:
            report.outcomes["done"] += 1
            report.done_bytes += len(CONTENTS[name.partition("-")[2]][1])
            report.void += key in failures
            if not good:
                problem(f"{key}: done, though the file is broken")
        elif key in failures:
            record = json.loads(pipeline.read(f"failures/{key}.json"))
            report.outcomes[f"failed: {record['reason']}"] += 1
            if good and not record["retryable"]:
                problem(f"{key}: a good file failed for good: {record['reason']}")
        else:
            problem(f"{key}: neither done nor failed")
    for key in chooser.sample(sorted(manifests), min(200, len(manifests))):
        manifest = json.loads(pipeline.read(f"manifests/{key}.json"))
        attempt = manifest["attempt"]
        folder = f"{key}/{attempt}" if attempt > 1 else key
        for output in manifest["outputs"]:
            place, _, file = output["object"].removeprefix("files/").rpartition("/")
            if place != folder or f"{place}/{file}" not in there["files"]:
                problem(f"{key}: attempt {attempt} names {output['object']}")
    for name in [
        *RATES,
        "iam.late",
        "webhook",
        *(f"{r['method'].partition('.')[0]}: " for r in RULES),
    ]:
        api = name.removesuffix(": ")
        struck = [n for n in report.faults if n.startswith(api)]
        if not struck and report.files >= 300:
            problem(f"no fault {api} struck: it proved nothing")


def unacknowledged(pipeline: Pipeline) -> set[str]:
    """Events on their way: with a first delivery that led to no acknowledgement or dead letter.

    A duplicated event is one message with two deliveries, each acknowledged for itself.
    """
    under_way: Counter[str] = Counter()
    for line in pipeline.cloud.journal("pubsub.push", "pubsub.dead_letter"):
        if line["subscription"] == GONE:  # looked at when all else is over
            continue
        pushed = line["kind"] == "pubsub.push"
        if pushed and line["attempt"] == 1:
            under_way[line["message"]] += 1
        if not pushed or (line["status"] in (200, 204) and not line.get("lost_ack")):
            under_way[line["message"]] -= 1
    return {message for message, deliveries in under_way.items() if deliveries}


@dataclass
class Drain:
    """How a queue drained: tasks left, tasks a second over its second half, most in a second."""

    left: int
    rate: float
    fastest_second: int


def drained(pipeline: Pipeline, tasks: int, seconds: float) -> Drain:
    """`tasks` tasks wait while their target is away for `seconds`; then it answers at once."""
    cloud = pipeline.cloud
    settings = pipeline.outputs["bridge_settings"]
    lane = json.loads(settings["LANES"])["default"]
    queue, url = lane["queue"], lane["url"]
    oidc = {"serviceAccountEmail": settings["TASKS_INVOKER"], "audience": lane["audience"]}
    task = {"httpRequest": {"url": url, "httpMethod": "POST", "oidcToken": oidc}}
    endpoint = f"https://cloudtasks.googleapis.com/v2/{queue}/tasks"
    cloud.post("/run/down", {"service": PROCESSOR})
    with ThreadPoolExecutor(4) as pool:
        created = [
            pool.submit(pipeline.call, "POST", endpoint, {"task": task}) for _ in range(tasks)
        ]
    ids = {one.result()["name"].rpartition("/")[2] for one in created}
    cloud.advance(seconds)
    with stub(pipeline, PROCESSOR):
        cloud.post("/run/up", {"service": PROCESSOR})
        for _ in range(tasks // 60 + 60):  # minutes
            if not any(name.rpartition("/")[2] in ids for name in pipeline.tasks()):
                break
            cloud.advance(60)
        done = sorted(
            datetime.fromisoformat(line["time"]).timestamp()
            for line in cloud.journal("tasks.attempt")
            if line["status"] == 200 and line["task"] in ids
        )
    assert len(done) > 1, "nothing was drained"
    half = done[len(done) // 2 :]
    fastest = max(bisect_right(done, at + 1) - n for n, at in enumerate(done))
    return Drain(tasks - len(done), (len(half) - 1) / (half[-1] - half[0]), fastest)


@contextmanager
def stub(
    pipeline: Pipeline,
    service: str,
    work: Callable[[bytes], object] = lambda _: None,
    status: int = 200,
) -> Iterator[None]:
    """Something that answers in the place of a function, once it has done its work."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            work(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            self.wfile.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    pipeline.cloud.post("/run/stub", {"service": service, "port": server.server_address[1]})
    try:
        yield
    finally:
        pipeline.cloud.post("/run/stub", {"service": service, "port": None})
        server.shutdown()
        server.server_close()


def now(pipeline: Pipeline) -> float:
    """Seconds since the epoch on the driven clock."""
    return datetime.fromisoformat(pipeline.cloud.get("/clock")["now"]).timestamp()


def main() -> int:
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    files = int(os.environ.get("FILES") or 10_000)
    queue = {"max_dispatches_per_second": 500, "max_concurrent_dispatches": 14}
    with tuned(queue=queue, processor={"max_instances": 2}) as run:
        report = fault_run(run, seed, files)
    sys.stdout.write(f"{report}\n")
    begun = time.monotonic()
    with tuned() as run:
        drain = drained(run, files, 86_400)
    sys.stdout.write(
        f"after a day away: {files} tasks drained at {drain.rate:.2f} a second (10 configured), "
        f"at most {drain.fastest_second} in one, {drain.left} left; "
        f"{time.monotonic() - begun:.0f} s\n"
    )
    kept = not report.problems and not drain.left and 9.5 <= drain.rate <= 10.5
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

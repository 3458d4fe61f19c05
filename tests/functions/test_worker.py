"""The worker: what it takes off the subscription, and what becomes of it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import batch_fakes
import duckdb
import pytest
from batch_fakes import NOW, WORKER_ENV, FakePublisher, MemoryRecords
from function_fakes import PROCESSOR_ENV, FakeStorage
from PIL import Image

from batch.tasks import TaskId
from processor.fence.worker import Unfenced
from processor.formats import BASE_BYTES
from runtime.logs import Log
from tests.corpus.videos import video
from worker import fence, pool, sweep
from worker.handlers import Failed, Unavailable, data_transformation, file_processing
from worker.settings import Config
from worker.subscription import Message, Subscription

CONFIG = Config.from_env(WORKER_ENV)
DATA = {"task_type": "data_transformation", "priority": "normal", "dataset_size": 5,
        "transformation": "normalize", "output_format": "csv"}  # fmt: skip
DONE = """open("outcome.json", "w").write('{"status": "done"}')"""


@pytest.fixture(scope="session", autouse=True)
def _server() -> None:
    """The server that tasks are forked off finds the worker as it does in its image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()


def child(monkeypatch: pytest.MonkeyPatch, program: str, seconds: int = 30) -> dict[str, Any]:
    """The outcome of a task whose process runs the program, in its folder."""
    monkeypatch.setattr(fence.child, "run", batch_fakes.run_program)
    config = Config.from_env(WORKER_ENV | {"LIMIT_SECONDS": str(seconds)})
    return fence.perform(config, TaskId.new(), {"program": program}, threading.Event())


# One task, one process


def test_what_its_process_says_is_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    assert child(monkeypatch, DONE) == {"status": "done"}


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("x = []\nwhile True: x.append(bytearray(8 << 20))", "process_crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "process_crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "out_of_memory"),
        ("raise SystemExit(77)", "out_of_memory"),
        ("pass", "process_crashed"),
        ("open('outcome.json', 'w').write('no json')", "process_crashed"),
        ("open('outcome.json', 'w').write('{\"status\": \"retry\"}')", "process_crashed"),
    ],
)
def test_a_process_that_ends_badly_is_that_tasks_failure(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    outcome = child(monkeypatch, program)
    assert (outcome["status"], outcome["reason"]) == ("failed", reason)


def test_a_process_that_hangs_is_ended_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    program = (
        "import subprocess, time, pathlib\n"
        "p = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(started)!r}).write_text(f'{{p.pid}} {{os.getcwd()}}')\n"
        "time.sleep(600)"
    )
    outcome = child(monkeypatch, program, seconds=2)
    assert outcome["reason"] == "timed_out"
    pid, folder = started.read_text().split()
    until = time.monotonic() + 10
    while running(int(pid)):  # it was killed, and may take a moment to be gone
        assert time.monotonic() < until
    assert not Path(folder).exists()  # where a worker runs, what lies there is memory


def running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3]
    except FileNotFoundError:
        return False


def test_a_process_takes_no_more_memory_than_a_task_may(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        f"try:\n    x = bytearray(%d)\n    {DONE}\nexcept MemoryError:\n    raise SystemExit(77)"
    )
    fits, exceeds = CONFIG.task_bytes // 2, CONFIG.task_bytes + (1 << 20)
    assert child(monkeypatch, program % fits)["status"] == "done"
    assert child(monkeypatch, program % exceeds)["reason"] == "out_of_memory"


def test_a_process_leaves_no_core_file(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import json, resource\n"
        "core = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "open('outcome.json', 'w').write(json.dumps({'status': 'done', 'core': core}))"
    )
    assert child(monkeypatch, program)["core"] == [0, 0]


def test_a_file_of_a_process_counts_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"open('x', 'w').truncate({CONFIG.task_bytes + 1})"
    assert child(monkeypatch, program)["reason"] == "process_crashed"


def test_google_out_of_reach_is_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionError):
        child(monkeypatch, "raise SystemExit(75)")
    monkeypatch.setattr(fence.child, "run", batch_fakes.run_handler)
    does = "from google.auth.exceptions import TransportError\nraise TransportError('away')"
    with pytest.raises(ConnectionError):
        fence.perform(CONFIG, TaskId.new(), DATA | {"does": does}, threading.Event())


def test_a_task_whose_server_dies_is_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionError):
        child(monkeypatch, "import signal; os.kill(os.getppid(), signal.SIGKILL); time.sleep(9)")
    while True:  # off the next server, once this one is gone
        with contextlib.suppress(ConnectionRefusedError):
            assert child(monkeypatch, DONE)["status"] == "done"
            break


def test_a_task_is_broken_off_when_the_worker_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence.child, "run", batch_fakes.run_program)
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    with pytest.raises(fence.Stopped):
        fence.perform(CONFIG, TaskId.new(), {"program": "time.sleep(600)"}, stopping)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("raise ValueError('bad' * 200)", ("handler_failed", f"ValueError: {'bad' * 96}")),
        ("raise Failed('unsupported_data', 'no')", ("unsupported_data", "no")),
        ("x = bytearray(9 << 30)", ("out_of_memory", "It took more than the 208 MiB of one task.")),
        ("time.sleep(60)", ("timed_out", "It took more than 3 s.")),
        ("os.abort()", ("process_crashed", "Its process ended with -6.")),
    ],
)  # fmt: skip
def test_whatever_a_handler_does_has_a_name_and_leaves_its_neighbour_alone(
    monkeypatch: pytest.MonkeyPatch, does: str, says: tuple[str, str]
) -> None:
    """worker.child itself, and a handler that is given what it does."""
    monkeypatch.setattr(fence.child, "run", batch_fakes.run_handler)
    config = Config.from_env(WORKER_ENV | {"LIMIT_SECONDS": "3"})
    with ThreadPoolExecutor(2) as both:
        bad, good = (
            both.submit(
                fence.perform, config, TaskId.new(), DATA | {"does": what}, threading.Event()
            )
            for what in (does, "print('noise')\nreturn {'status': 'done'}")
        )
        assert (bad.result()["reason"], bad.result()["detail"]) == says
        assert good.result() == {"status": "done"}


# The pool


class FakeSubscription:
    """messages are given out once; acknowledged and given_back hold their ack_ids."""

    def __init__(self, *tasks: TaskId | None) -> None:
        self.messages = [Message(f"ack-{n}", task, 1) for n, task in enumerate(tasks)]
        self.acknowledged: list[str] = []
        self.given_back: list[str] = []
        self.extended: list[str] = []
        self.seconds: list[int] = []
        self.pulled: Callable[[], None] = lambda: None

    def pull(self, most: int) -> list[Message]:
        given, self.messages = self.messages[:most], self.messages[most:]
        self.pulled()
        return given

    def acknowledge(self, messages: list[Message]) -> None:
        self.acknowledged += [message.ack_id for message in messages]

    def extend(self, messages: list[Message], seconds: int = 600) -> None:
        self.seconds.append(seconds)
        target = self.extended if seconds else self.given_back
        target += [message.ack_id for message in messages]


class Bench:
    """A worker over fakes; `perform` stands for the task's process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tasks: TaskId | None) -> None:
        monkeypatch.setattr(pool, "PULL_SECONDS", 0.01)
        monkeypatch.setattr(pool, "perform", lambda *arguments: self.perform(*arguments))
        self.records = MemoryRecords()
        self.subscription = FakeSubscription(*tasks)
        self.perform: Callable[..., dict[str, Any]] = lambda *_: {"status": "done"}
        self.worker = pool.Worker(CONFIG, self.records, self.subscription, Log("p", False))  # type: ignore[arg-type]

    def accept(self, *tasks: TaskId) -> None:
        for task in tasks:
            self.records.accept(task, DATA)

    def run(self, dead: FakeSubscription | None = None) -> None:
        assert self.worker.run(dead or FakeSubscription()) == 0  # type: ignore[arg-type]


def test_each_task_gets_one_outcome_and_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [TaskId.new() for _ in range(25)]
    bench = Bench(monkeypatch, *tasks)
    bench.accept(*tasks)
    bench.run()
    assert {str(t): bench.records.outcome(t)["status"] for t in tasks} == {  # type: ignore[index]
        str(task): "done" for task in tasks
    }
    assert len(bench.subscription.acknowledged) == 25
    assert not bench.subscription.given_back


def test_a_duplicate_is_acknowledged_and_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TaskId.new()
    bench = Bench(monkeypatch, task)
    bench.accept(task)
    bench.records.conclude(task, {"status": "cancelled"})
    bench.perform = lambda *_: pytest.fail("done again")
    bench.run()
    assert bench.subscription.acknowledged == ["ack-0"]
    assert bench.records.outcome(task) == {"status": "cancelled"}


def test_a_message_that_names_no_task_is_acknowledged_and_told(
    monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    bench = Bench(monkeypatch, None, TaskId.new())
    bench.run()
    assert bench.subscription.acknowledged == ["ack-0", "ack-1"]
    assert [line["event"] for line in logged()] == ["task_unknown", "task_unknown"]


def test_what_cannot_be_recorded_comes_again_later_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = TaskId.new()
    bench = Bench(monkeypatch, task)
    bench.accept(task)

    def fault(call: str) -> None:
        if call == "create outcome.json":
            raise ConnectionError("away")

    bench.records.fault = fault
    for attempt in (1, 2, 3, 4):
        bench.subscription.messages = [Message("ack-0", task, attempt)]
        bench.run()
    assert bench.subscription.seconds == [40, 160, 600, 600]
    assert not bench.subscription.acknowledged


def test_a_worker_that_ends_gives_back_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [TaskId.new() for _ in range(10)]
    bench = Bench(monkeypatch, *tasks)
    bench.accept(*tasks)
    begun = threading.Semaphore(0)

    def perform(*_: Any) -> dict[str, Any]:
        begun.release()
        while not bench.worker._stopping.wait(0.01):
            pass
        raise fence.Stopped

    bench.perform = perform

    def stop() -> None:
        for _ in range(CONFIG.at_once):
            begun.acquire()
        bench.worker.stop()

    threading.Thread(target=stop).start()
    bench.run()
    assert sorted(bench.subscription.given_back) == [f"ack-{n}" for n in range(10)]
    assert not any(bench.records.outcome(task) for task in tasks)


def test_no_more_than_ten_messages_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [TaskId.new() for _ in range(30)]
    bench = Bench(monkeypatch, *tasks)
    bench.accept(*tasks)
    held: list[int] = []
    bench.subscription.pulled = lambda: held.append(
        30 - len(bench.subscription.messages) - len(bench.subscription.acknowledged)
    )
    bench.run()
    assert max(held) <= 10


@pytest.mark.parametrize(("tasks", "pulls"), [(0, 3), (1, 2)])
def test_a_worker_that_found_nothing_looks_three_times_and_one_that_did_once_more(
    monkeypatch: pytest.MonkeyPatch, tasks: int, pulls: int
) -> None:
    known = [TaskId.new() for _ in range(tasks)]
    bench = Bench(monkeypatch, *known)
    bench.accept(*known)
    pulled: list[int] = []

    def pull() -> None:
        pulled.append(1)
        while len(pulled) > 1 and bench.worker._held:
            time.sleep(0.01)

    waited: list[float] = []
    monkeypatch.setattr(pool, "PULL_SECONDS", 5.0)
    bench.worker._stopping = SimpleNamespace(  # type: ignore[assignment]
        is_set=lambda: False, wait=lambda seconds: waited.append(seconds) or seconds > 5.0
    )
    bench.subscription.pulled = pull
    bench.run()
    assert len(pulled) == pulls
    assert sum(seconds <= 5.0 for seconds in waited) == pulls - tasks


def test_nothing_is_held_that_may_outlast_the_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two turns of one task each are sure of their time; the rest is for the next execution."""
    tasks = [TaskId.new() for _ in range(9)]
    bench = Bench(monkeypatch, *tasks)
    bench.accept(*tasks)
    now = [0.0]
    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: now[0]))
    limits = {"AT_ONCE": "1", "LIMIT_SECONDS": "100", "TIMEOUT_SECONDS": "299"}
    config = Config.from_env(WORKER_ENV | limits)
    bench.worker = pool.Worker(config, bench.records, bench.subscription, Log("p", False))  # type: ignore[arg-type]
    held: list[int] = []

    def perform(*_: Any) -> dict[str, Any]:
        held.append(len(bench.worker._held))
        now[0] += 100.0
        return {"status": "done"}

    bench.perform = perform
    bench.run()
    assert held == [2, 1]
    assert (len(bench.subscription.messages), bench.subscription.given_back) == (7, [])


def test_dead_letters_end_in_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, ended = TaskId.new(), TaskId.new()
    bench = Bench(monkeypatch)
    bench.accept(lost, ended)
    bench.records.conclude(ended, {"status": "done"})
    dead = FakeSubscription(lost, ended, None)
    bench.run(dead)
    assert bench.records.outcome(lost)["reason"] == "deliveries_exhausted"  # type: ignore[index]
    assert bench.records.outcome(ended) == {"status": "done"}
    assert len(dead.acknowledged) == 3


def test_leases_are_renewed_while_a_task_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TaskId.new()
    bench = Bench(monkeypatch, task)
    bench.accept(task)
    assert pool.RENEW_SECONDS <= 600 / 2  # a renewal may fail
    monkeypatch.setattr(pool, "RENEW_SECONDS", 0.01)

    def perform(*_: Any) -> dict[str, Any]:
        until = time.monotonic() + 30
        while not bench.subscription.extended and time.monotonic() < until:
            time.sleep(0.01)
        return {"status": "done"}

    bench.perform = perform
    bench.run()
    assert "ack-0" in bench.subscription.extended


def test_a_message_names_its_task_and_counts_its_deliveries_from_one() -> None:
    task, sent = TaskId.new(), []
    for data in (json.dumps({"task_id": str(task)}).encode(), b"{", b'{"task_id": "../x"}', b"[7]"):
        sent.append(SimpleNamespace(data=data))
    received = [
        SimpleNamespace(ack_id="a", message=message, delivery_attempt=attempt)
        for message, attempt in zip(sent, (0, 3, 1, 1), strict=True)
    ]
    answer = SimpleNamespace(received_messages=received)
    subscription = object.__new__(Subscription)
    subscription._client = SimpleNamespace(pull=lambda request, timeout: answer)
    subscription._name = "projects/p/subscriptions/s"
    found = [(message.task, message.attempt) for message in subscription.pull(4)]
    assert found == [(task, 1), (None, 3), (None, 1), (None, 1)]


# Tables


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Any]:
    """Transforms a CSV; gives rows as lists, the columns first."""

    def run(text: str, **request: Any) -> list[list[str]]:
        given, made = tmp_path / "given", tmp_path / "made"
        given.write_text(text)
        made.unlink(missing_ok=True)
        order = {"input": "a.csv", "input_format": "csv", "output_format": "csv"} | request
        data_transformation.transform(order, given, made, 100 << 20)
        import csv

        return list(csv.reader(made.read_text().splitlines()))

    return run


def test_numbers_are_normalized_to_their_columns_range(table: Callable[..., Any]) -> None:
    assert table("a,b\n1,x\n3,y\n,z\n2,z\n", transformation="normalize") == [
        ["a", "b"], ["0.0", "x"], ["1.0", "y"], ["", "z"], ["0.5", "z"],
    ]  # fmt: skip


def test_a_column_of_one_value_becomes_zero(table: Callable[..., Any]) -> None:
    made = table("a,b\n7,x\n,y\n7,z\n", transformation="normalize")
    assert [row[0].removesuffix(".0") for row in made[1:]] == ["0", "", "0"]


def test_rows_are_aggregated_by_group(table: Callable[..., Any]) -> None:
    made = table(
        "k,v\na,1\nb,5\na,2\n", transformation="aggregation", group_by=["k"],
        aggregates=[{"op": "sum", "column": "v"}],
    )  # fmt: skip
    assert made == [["k", "rows", "sum_v"], ["a", "2", "3"], ["b", "1", "5"]]
    made = table("k,v\n1,2\n1,4\n", transformation="aggregation", group_by=["k"])
    assert made[0] == ["k", "rows", "sum_v", "avg_v", "min_v", "max_v"]
    assert [float(cell) for cell in made[1]] == [1, 2, 6, 3, 2, 4]


def test_values_are_bound_and_columns_quoted(table: Callable[..., Any]) -> None:
    text = 'a,"odd"" name"\nx\'; DROP TABLE source; --,1\ny,2\n'
    where = [{"column": "a", "op": "=", "value": "x'; DROP TABLE source; --"}]
    assert table(text, transformation="filter", where=where)[1:] == [[where[0]["value"], "1"]]
    where = [{"column": 'odd" name', "op": ">", "value": 1}]
    assert table(text, transformation="filter", where=where)[1:] == [["y", "2"]]


def test_a_column_that_is_not_there_is_named(table: Callable[..., Any]) -> None:
    from worker.handlers import Failed

    with pytest.raises(Failed, match="There is no column gone"):
        table("a\n1\n", transformation="filter",
              where=[{"column": "gone", "op": "=", "value": 1}])  # fmt: skip


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_a_table_is_converted_and_back(tmp_path: Path, format: str) -> None:
    given, made, back = (tmp_path / name for name in ("given", "made", "back"))
    given.write_text("a,b\n1,x\n2,\n")
    order = {"input": "a", "transformation": "convert"}
    forth = order | {"input_format": "csv", "output_format": format}
    assert data_transformation.transform(forth, given, made, 100 << 20) == (2, ["a", "b"])
    order |= {"input_format": format, "output_format": "csv"}
    data_transformation.transform(order, made, back, 100 << 20)
    assert back.read_text() == given.read_text()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM read_parquet('https://example.com/a.parquet')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/escaped.csv'",
        "ATTACH '/tmp/escaped.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "PRAGMA temp_directory = '/tmp'",
    ],
)
def test_the_database_reaches_neither_files_nor_network_nor_its_settings(
    tmp_path: Path, query: str
) -> None:
    with duckdb.connect(":memory:") as database:
        data_transformation.confine(database, tmp_path / "given", tmp_path / "made", 100 << 20)
        with pytest.raises(duckdb.Error):
            database.execute(query).fetchall()


def test_a_table_takes_one_thread_and_no_more_memory_than_it_is_given(tmp_path: Path) -> None:
    with duckdb.connect(":memory:") as database:
        data_transformation.confine(database, tmp_path / "given", tmp_path / "made", 100 << 20)
        query = "SELECT current_setting('threads'), current_setting('memory_limit')"
        assert database.execute(query).fetchone() == (1, "100.0 MiB")


def test_a_column_of_lists_is_none_of_numbers() -> None:
    table = SimpleNamespace(columns=["a", "b", "c"], types=["INTEGER", "INTEGER[]", "VARCHAR"])
    assert data_transformation._numeric(table) == ["a"]


def test_a_table_of_too_many_columns_is_refused(table: Callable[..., Any]) -> None:
    names = ",".join(f"c{n}" for n in range(1001))
    with pytest.raises(duckdb.Error, match="more than 1000 columns"):
        table(f"{names}\n{names}\n", transformation="convert")


# What one task may cost: its files lie in memory


class Blobs:
    """A bucket of one object, of so many bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def bucket(self, name: str) -> Blobs:
        return self

    def blob(self, name: str) -> Blobs:
        return self

    def get_blob(self, name: str) -> Blobs:
        return self

    def download_to_filename(self, path: str) -> None:
        assert self.size <= CONFIG.file_bytes, "fetched"
        Path(path).write_text("a\n1\n")


def test_a_table_of_5_gb_is_refused_before_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WORKER_ENV.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(data_transformation, "cloud_storage", lambda *_: Blobs(5 << 30))
    order = {"input": "large.csv", "input_format": "csv", "output_format": "csv"}
    with pytest.raises(Failed, match="more than 52 MiB") as failed:
        data_transformation.handle(TaskId.new(), order | {"transformation": "convert"})
    assert failed.value.reason == "out_of_memory"


# Files, as the pipeline has them


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> FakeStorage:
    """The worker's settings, with two lanes, and Cloud Storage."""
    film = {"film": {"width": 90, "height": 90, "format": "mp4"}}
    videos = {"LANE": "videos", "KIND": "media", "RENDITIONS": json.dumps(film)}
    lanes = {"default": PROCESSOR_ENV, "videos": PROCESSOR_ENV | videos}
    own = {"MEMORY_BYTES": str(1 << 30), "SOURCE_VERSION": "v", "WORK_SECONDS": "60"}
    for name, value in (WORKER_ENV | {"LANES": json.dumps(lanes)} | own).items():
        monkeypatch.setenv(name, value)
    cloud = FakeStorage()
    objects = SimpleNamespace(get_blob=lambda name: next(
        (SimpleNamespace(name=name, _properties=stored.resource)
         for (known, _), stored in cloud.uploads.items() if known == name), None
    ))  # fmt: skip
    client = SimpleNamespace(bucket=lambda _: objects)
    for name, fake in (
        ("cloud_storage", lambda _: client), ("Cloud", lambda: cloud),
        ("Fence", lambda _: Unfenced()), ("bound_allocator", lambda: None),
    ):  # fmt: skip
        monkeypatch.setattr(file_processing, name, fake)
    return cloud


def test_a_file_is_processed_as_the_lane_that_its_task_names_has_it(
    files: FakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = video(lambda n: Image.new("RGB", (160, 96)), 6)
    files.put(film, name="videos/tower.mp4", contentType="video/mp4")
    sizes: list[int] = []
    gate = file_processing.Gate
    monkeypatch.setattr(file_processing, "Gate", lambda size: sizes.append(size) or gate(size))
    outcome = file_processing.handle(
        TaskId.new(), {"filename": "videos/tower.mp4", "lane": "videos", "run": 1}
    )
    assert (outcome["status"], outcome["done"]) == ("done", 1)
    (record,) = outcome["records"]
    assert record.endswith("-1.json")
    (output,) = json.loads(files.results[record].data)["outputs"]
    assert (output["name"], output["contentType"]) == ("film", "video/mp4")
    assert len(files.results[output["object"]].data) == output["size"]
    outcome = file_processing.handle(TaskId.new(), {"filename": "videos/tower.mp4"})
    (record,) = outcome["records"]
    assert json.loads(files.results[record].data)["outputs"] == []
    assert sizes == [(1 << 30) - BASE_BYTES] * 2


def test_a_record_that_cannot_be_written_is_tried_four_times_with_longer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = {"reason": "storage_unavailable", "detail": "away"}, 503
    slept: list[float] = []
    monkeypatch.setattr(file_processing, "Delivery", lambda *_: SimpleNamespace(run=lambda: away))
    monkeypatch.setattr(file_processing.time, "sleep", slept.append)
    with pytest.raises(Unavailable, match="storage_unavailable: away"):
        file_processing._recorded(None, None)  # type: ignore[arg-type]
    assert slept == [2.0, 4.0, 8.0, 16.0]


def test_what_marks_a_folder_is_no_file_under_a_prefix() -> None:
    blobs = [SimpleNamespace(name=name, _properties={"name": name}) for name in ("a/", "a/b.jpg")]
    client = SimpleNamespace(list_blobs=lambda bucket, prefix: blobs)
    found = file_processing._objects(client, "up", {"prefix": "a/"})
    assert [one["name"] for one in found] == ["a/b.jpg"]


def test_a_lane_that_is_not_there_is_named(files: FakeStorage) -> None:
    with pytest.raises(Failed, match="no lane films with a processor; there are default, videos"):
        file_processing.handle(TaskId.new(), {"filename": "a", "lane": "films"})


# The sweep


class Swept:
    """The sweep over requests of so many hours ago, and what it published."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records, self.publisher = MemoryRecords(), FakePublisher()
        monkeypatch.setattr("google.cloud.pubsub_v1.PublisherClient", lambda: self.publisher)

    def accept(self, hours: float, **more: str) -> TaskId:
        task = TaskId.new()
        self.records.accept(task, DATA | more)
        self.records.created[task] = NOW - timedelta(hours=hours)
        return task

    def run(self) -> list[str]:
        before = len(self.publisher.messages)
        assert sweep.sweep(CONFIG, self.records, Log("p", False)) == 0
        return [data["task_id"] for _, data, _ in self.publisher.messages[before:]]


def test_requests_without_an_outcome_are_published_again_once_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept = Swept(monkeypatch)
    old, young, done = swept.accept(2), swept.accept(0.5), swept.accept(3)
    later = swept.accept(5, run_after=(NOW + timedelta(hours=1)).isoformat())
    due = swept.accept(5, run_after=(NOW - timedelta(minutes=59)).isoformat())
    swept.records.conclude(done, {"status": "done"})
    assert young != later
    assert swept.run() == [str(old)]
    assert swept.run() == []
    swept.records.moment = NOW + timedelta(days=1)
    assert set(swept.run()) == {str(old), str(young), str(later), str(due)}


def test_a_sweep_that_dies_before_its_publish_is_confirmed_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept = Swept(monkeypatch)
    task = swept.accept(2)
    swept.publisher.fault = ConnectionError("away")
    with pytest.raises(ConnectionError):
        swept.run()
    swept.publisher.fault = None
    assert swept.run() == [str(task)]

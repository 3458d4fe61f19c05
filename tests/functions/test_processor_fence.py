"""What happens in a file's own process is that file's end alone, and has a name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stand_ins
from test_processor_images import encode, quarters
from test_processor_kinds import pdf

from processor import delivery
from processor.fence.worker import Fence

PROGRAM = (str(Path(stand_ins.__file__)),)
GOOD = encode(quarters(600, 400))


@pytest.fixture
def fenced(processor: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The processor with real processes; files that begin with a deed are stand-ins."""
    monkeypatch.setitem(stand_ins.kinds.KINDS, stand_ins.TYPE, stand_ins.kinds.Kind("stand_in"))
    sniff = delivery.sniff
    monkeypatch.setattr(
        delivery, "sniff",
        lambda head: stand_ins.TYPE if head.split(b" ")[0].decode("latin-1") in stand_ins.DEEDS
        else sniff(head),
    )  # fmt: skip
    fences: list[Fence] = []

    def configure(**changes: str) -> None:
        processor.configure(**changes)
        fences.append(Fence(processor.worker.config, PROGRAM))
        processor.fence = fences[-1]
        parts = {name: getattr(processor.worker, name) for name in ("config", "storage", "gate")}
        processor.worker = processor.main.Worker(
            **parts, log=processor.worker.log, fence=fences[-1]
        )

    processor.fenced = configure
    configure(MEMORY_BYTES=str(512 << 20))
    yield processor
    for fence in fences:
        fence.close()


def deed(fenced: Any, name: str, **fields: Any) -> dict[str, Any]:
    record: dict[str, Any] = fenced.process(name.encode() + b" x", name=name, **fields)
    return record


def said(record: dict[str, Any]) -> str:
    return str(record["text"]["encoding"])


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("segfault", "decoder_crashed"),
        ("abort", "decoder_crashed"),
        ("exit", "decoder_crashed"),
        ("forge", "decoder_crashed"),
        ("allocate", "out_of_memory"),
        ("allocate_at_once", "out_of_memory"),
        ("swell", "out_of_memory"),
    ],
)
def test_what_ends_a_decoder_is_the_files_failure_at_once(
    fenced: Any, what: str, reason: str
) -> None:
    record = deed(fenced, what)
    assert (record["reason"], record["retryable"], record["attempt"]) == (reason, False, 1)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("fork", "PermissionError: Operation not permitted"),
        ("execute", "PermissionError: Operation not permitted"),
        ("socket", "PermissionError: Operation not permitted"),
        ("pair", "PermissionError: Operation not permitted"),
        ("kill", "PermissionError: Operation not permitted"),
        ("open", "OSError: Too many open files"),
        ("write", "OSError: File too large"),
        ("write_source", "PermissionError: Operation not permitted"),
    ],
)
def test_a_decoder_reaches_nothing_but_its_file(fenced: Any, what: str, error: str) -> None:
    assert said(deed(fenced, what)) == error


def test_a_decoder_that_computes_for_ever_ends_by_its_share_of_cpu(
    fenced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.fence.worker._CPU_SHARE", 240)  # one second
    assert deed(fenced, "loop")["reason"] == "decoder_timed_out"


def test_what_is_told_of_a_files_progress_is_marked_beside_its_attempt(
    fenced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps of 5 and none left out, though the first mark is refused at first."""
    monkeypatch.setattr("processor.fence.worker._LOOK_SECONDS", 0.01)
    refusals = [503]
    fenced.cloud.fault = lambda request: (
        refusals.pop() if refusals and request.endswith("/1/5") else None
    )
    assert said(deed(fenced, "tell")) == "None"
    marks = [name for name in fenced.cloud.results if name.startswith("attempts/")]
    assert [int(name.rpartition("/1/")[2]) for name in marks[1:]] == [*range(5, 41, 5)]
    assert all(fenced.cloud.results[name].data for name in marks)  # no range of nothing can be read
    assert not refusals


def test_progress_that_makes_no_sense_or_cannot_be_marked_changes_nothing(
    fenced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.fence.worker._LOOK_SECONDS", 0.01)
    assert deed(fenced, "tell_nonsense")["status"] == "done"
    fenced.cloud.fault = lambda request: 503 if "/1/" in request else None
    assert deed(fenced, "tell")["status"] == "done"
    assert len([name for name in fenced.cloud.results if name.startswith("attempts/")]) == 2


def test_a_decoder_that_waits_for_ever_ends_at_its_deadline(fenced: Any) -> None:
    fenced.fenced(WORK_SECONDS="2", MAX_ATTEMPTS="1")
    record = deed(fenced, "sleep")
    assert (record["reason"], record["retryable"]) == ("deadline_exceeded", True)
    assert not children(fenced.fence.pid)


def test_without_a_filter_what_a_file_starts_ends_with_it(
    fenced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNFILTERED", "1")
    fenced.fenced()
    assert deed(fenced, "socket")["text"]["encoding"] == "OSError: Too many open files"
    assert said(deed(fenced, "leave_a_child")) == "None"
    deed(fenced, "nothing")
    assert eventually(lambda: not children(fenced.fence.pid))


HOSTILE = ("segfault", "allocate", "allocate_at_once", "abort", "fork", "write", "socket", "loop")


def test_eight_hostile_files_at_once_cost_their_neighbours_nothing(
    fenced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.fence.worker._CPU_SHARE", 240)  # one that loops has a second
    fenced.fenced(MEMORY_BYTES=str(512 << 20), CONCURRENCY="16")
    fenced.fence.start()
    server = fenced.fence.pid
    ends: dict[str, dict[str, Any]] = {}

    def work(name: str, data: bytes) -> None:
        ends[name] = fenced.process(data, name=name)

    files = {name: name.encode() + b" x" for name in HOSTILE}
    files |= {f"good-{n}": (GOOD, pdf(1))[n % 2] for n in range(8)}
    threads = [threading.Thread(target=work, args=item) for item in files.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 16
    for name, record in ends.items():
        if name.startswith("good"):
            assert (record["status"], record["attempt"], len(record["outputs"])) == ("done", 1, 1)
    assert {ends[name].get("reason", "done") for name in HOSTILE} == {
        "decoder_crashed", "out_of_memory", "decoder_timed_out", "done",
    }  # fmt: skip
    assert fenced.fence.pid == server  # it served them all
    assert not children(server)
    assert "retry" not in {line["event"] for line in fenced.logged()}


def test_a_server_that_dies_is_replaced_and_its_files_are_done(fenced: Any) -> None:
    ends: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda n=n: ends.append(fenced.process(b"wait x", name=f"{n}")))
        for n in range(4)
    ]
    fenced.fence.start()
    server = fenced.fence.pid
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(children(server)) == 4)
    os.kill(server, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert [(record["status"], record["attempt"]) for record in ends] == [("done", 1)] * 4
    assert fenced.fence.pid != server


def test_what_one_file_leaves_in_a_library_the_next_does_not_find(fenced: Any) -> None:
    """PDFium keeps the last error: after a locked file, one without pages was taken for locked."""
    from test_processor_kinds import LOCKED_PDF

    no_pages = LOCKED_PDF.partition(b"trailer")[0].replace(b"/Kids[3 0 R]/Count 1", b"/Kids[]")
    assert fenced.process(LOCKED_PDF, name="locked")["document"] == {"encrypted": True}
    assert fenced.process(no_pages, name="no-pages")["reason"] == "corrupt_document"


def test_the_text_of_a_document_needs_no_file_that_is_not_open(fenced: Any) -> None:
    from test_processor_documents import BOOK

    found = fenced.process(BOOK, name="book")["document"]
    assert (found["words"], found["outline"][0]["title"]) == (5, "Two")


def test_no_library_decodes_in_the_function(fenced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PDFium works for one thread at a time; here eight files have a process each."""
    monkeypatch.setattr(delivery, "module_of", lambda *_: pytest.fail("it was opened here"))
    ends: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda n=n, data=data: ends.append(fenced.process(data, name=n)))
        for n, data in zip("abcdefgh", (pdf(1), GOOD) * 4, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record["status"] for record in ends] == ["done"] * 8


def test_processes_end_with_the_function(tmp_path: Path) -> None:
    """Killed, it cannot say goodbye: the fork server and what it forked end all the same."""
    program = (
        f"import sys, threading; sys.path[:0] = {sys.path!r}\n"
        "import stand_ins; stand_ins.register()\n"
        "from function_fakes import PROCESSOR_ENV\n"
        "from processor.fence.worker import Fence\n"
        "from processor.kinds import Job\n"
        "from processor.memory import Gate\n"
        "from processor.settings import Config\n"
        "from types import SimpleNamespace as N\n"
        "config = Config.from_env(PROCESSOR_ENV)\n"
        f"fence = Fence(config, {PROGRAM!r})\n"
        "content = N(write_to=lambda file, limit: file.write(b'sleep x'))\n"
        "room = Gate(1 << 28).room(1 << 24)\n"
        "job = Job(content, 7, stand_ins.TYPE, None, config, room)\n"
        "threading.Thread(target=fence.run, args=(job, 600)).start()\n"
        "fence.start(); print(fence.pid, flush=True)\n"
    )
    function = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert function.stdout
    server = int(function.stdout.readline())
    assert eventually(lambda: children(server))
    (child,) = children(server)
    function.kill()
    function.wait()
    function.stdout.close()
    assert eventually(lambda: not alive(server) and not alive(child))


def children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def eventually(holds: Callable[[], Any], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True

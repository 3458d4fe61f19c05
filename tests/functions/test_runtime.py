from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.identity import Work
from runtime.logs import Log
from runtime.once import once
from runtime.settings import ConfigError, read, table


@dataclass(frozen=True)
class Example:
    text: str
    count: int
    flag: bool
    names: tuple[str, ...]
    rows: dict[str, str] = table(lambda url: url)  # noqa: RUF009 - makes a field


GOOD = {"TEXT": "x", "COUNT": "3", "FLAG": "true", "NAMES": '["a"]', "ROWS": '{"a": {"url": "u"}}'}


def test_each_field_is_read_by_its_type() -> None:
    assert read(Example, GOOD) == Example("x", 3, True, ("a",), {"a": "u"})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as fault:
        read(Example, {"COUNT": "0", "FLAG": "yes", "NAMES": "{}", "ROWS": '{"a": {}}'})
    for name in ("TEXT is missing", "COUNT: ", "FLAG: ", "NAMES: ", "ROWS: TypeError: "):
        assert name in str(fault.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("COUNT", "x"), ("COUNT", "-1"), ("NAMES", "[1]"), ("NAMES", "x"), ("ROWS", "[]"),
     ("ROWS", '{"a": 1}'), ("FLAG", "True"), ("TEXT", "")],
)  # fmt: skip
def test_each_wrong_value_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        read(Example, GOOD | {name: value})


def test_a_line_carries_the_identity_and_the_trace(logged: Any) -> None:
    work = Work("uploads", "cats/tom.jpg", "1732")
    Log("acme", False).about(work, attempt=2).write("INFO", "done", "recorded", reason=None)
    (line,) = logged()
    assert line["logging.googleapis.com/trace"] == f"projects/acme/traces/{work.trace}"
    assert (line["object"], line["attempt"], line["event"]) == ("cats/tom.jpg", 2, "done")
    assert "reason" not in line


def test_object_names_can_be_hashed(logged: Any) -> None:
    work = Work("uploads", "private/name.jpg", "1732")
    Log("acme", True).about(work).write("INFO", "done", "recorded")
    (line,) = logged()
    assert "private" not in str(line)
    assert line["trace"] == work.trace


def test_errors_bring_their_stack(logged: Any) -> None:
    try:
        raise OSError("disk\nfull")
    except OSError as error:
        Log("acme", False).write("ERROR", "retry", "again", error=error)
    (line,) = logged()
    assert line["error"] == "OSError"
    assert "disk\nfull" in line["stack_trace"]


def test_two_first_calls_make_one_thing() -> None:
    made: list[object] = []
    entered = threading.Event()

    def make() -> object:
        entered.wait(0.05)  # both threads are inside by then, were there no lock
        made.append(object())
        return made[-1]

    get = once(make)
    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


PARALLEL = """
import sys, threading
sys.path.insert(0, {functions!r})
import functions_framework
from runtime.logs import Log
app = functions_framework.create_app("handle", sys.argv[1])

def work(thread):
    for request in range(50):
        app.test_client().get(f"/?thread={{thread}}&request={{request}}")

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
HANDLER = """
from runtime.logs import Log
log = Log("acme", False)
def handle(request):
    for line in range(25):
        log.write("INFO", "done", "x" * (line % 5) * 2000, line=line, **request.args)
    return "ok"
"""


def test_lines_of_parallel_requests_are_whole_with_execution_ids_on(tmp_path: Path) -> None:
    """8 threads, 10,000 lines of up to 8 KB, under the framework as Google starts it."""
    (tmp_path / "main.py").write_text(HANDLER)
    program = PARALLEL.format(functions=str(Path(__file__).parents[2] / "functions"))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "main.py")],
        env=os.environ | {"LOG_EXECUTION_ID": "true"},
        capture_output=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({(line["thread"], line["request"], line["line"]) for line in lines}) == 10_000
    assert len(lines) == 10_000

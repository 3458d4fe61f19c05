"""A fork server whose one kind of file does, in a decoder's place, what its first line says.

python stand_ins.py FD      as processor.fence.server; UNFILTERED=1: without its seccomp filter;
                                MEASURE=1: without limits, and telling what a file takes
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from processor import kinds
from processor.fence import confine, server
from processor.kinds import Job, Outcome

TYPE = "application/x-stand-in"
SOURCE, ANSWER = 3, 4


def refused(act: Callable[[], object]) -> str:
    """What an attempt comes to."""
    try:
        act()
    except OSError as error:
        return type(error).__name__ + ": " + os.strerror(error.errno or 0)
    return "done"


def allocate(step: int) -> None:
    held = []
    while True:
        held.append(bytearray(step))


def swell() -> None:
    """As a decoder that does not look whether it was given memory."""
    try:
        allocate(1 << 20)
    except MemoryError:
        ctypes.string_at(0)


def loop() -> None:
    while True:
        pass


def leave_a_child() -> None:
    """Outside the group, and still there when its parent has ended."""
    if os.fork() == 0:
        os.setsid()
        loop()


def forge() -> None:
    os.write(ANSWER, b'{"contentType": ["x"], "facts": 7, "outputs": [["../x", 1, 1, 9]]}\n')
    os._exit(0)


def tell(percent: int) -> None:
    server._tell(percent)
    time.sleep(0.5)  # it is looked at meanwhile


DEEDS: dict[str, Callable[[], Any]] = {
    "abort": os.abort,
    "allocate": lambda: allocate(1 << 20),
    "allocate_at_once": lambda: mmap.mmap(-1, 3 << 30),
    "execute": lambda: refused(lambda: os.execv("/bin/true", ["true"])),
    "exit": lambda: os._exit(0),
    "forge": forge,
    "fork": lambda: refused(os.fork),
    "kill": lambda: refused(lambda: os.kill(os.getppid(), signal.SIGKILL)),
    "leave_a_child": leave_a_child,
    "loop": loop,
    "nothing": lambda: "nothing",
    "open": lambda: refused(lambda: Path("/etc/passwd").read_bytes()),
    "pair": lambda: refused(socket.socketpair),
    "segfault": lambda: ctypes.string_at(0),
    "socket": lambda: refused(socket.socket),
    "sleep": lambda: time.sleep(600),
    "swell": swell,
    "tell": lambda: tell(42),
    "tell_nonsense": lambda: tell(255),
    "wait": lambda: time.sleep(1),
    "write": lambda: refused(lambda: os.pwrite(ANSWER, b"x", 64 << 20)),
    "write_source": lambda: refused(lambda: os.pwrite(SOURCE, b"x", 0)),
}


def process(job: Job) -> Outcome:
    said = DEEDS[job.content.head.split()[0].decode()]()
    return Outcome("text/plain", {"text": {"encoding": str(said), "lines": 0}})


def register() -> None:
    kinds.KINDS[TYPE] = kinds.Kind("stand_in")
    made: Any = SimpleNamespace(process=process, preload=lambda content_type, config: None)
    sys.modules["processor.kinds.stand_in"] = made


def status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(field + ":")[2].split()[0]) << 10


def private() -> int:
    """What this process alone has, but for the file, which is mapped."""
    total, source = 0, f" {os.fstat(SOURCE).st_ino} "
    for area in re.split(r"(?m)^(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())[1:]:
        if source not in area.partition("\n")[0]:
            total += int(area.partition("\nPrivate_Dirty:")[2].split()[0]) << 10
    return total


def measured() -> int:
    """In the place of server._peak: bytes in memory at the peak since the first call, and copies
    of the parent's."""
    if not _before:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        _before.append(status("RssAnon"))
        return 0
    grown = status("RssAnon") - _before[0]
    mapped = status("RssFile") + status("RssShmem")
    return status("VmHWM") - mapped - _before[0] + max(0, private() - grown)


_before: list[int] = []

if __name__ == "__main__":
    register()
    if os.environ.get("MEASURE"):
        server._peak = measured
        server.confine = lambda *limits: None  # type: ignore[assignment]
    if os.environ.get("UNFILTERED"):
        confine._filter = lambda largest: None  # type: ignore[assignment]
    server.main()

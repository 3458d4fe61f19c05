"""The fork server: python -m processor.fence.server FD, FD being its end of a socket.

Each message there is a pickled Request with three files: the file to read, one for the answer, and
a socket that is told an End when the process is gone. Whoever closes the other end of that socket
ends the process; whoever closes FD's other end, by dying or on purpose, ends them all.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import mmap
import os
import pickle
import selectors
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, cast

from processor.errors import Fault
from processor.fence.confine import PR_SET_CHILD_SUBREAPER, confine, die_with, prctl
from processor.headers import HEAD_BYTES
from processor.kinds import Job, module_of
from processor.memory import bound_allocator
from processor.settings import Config

MESSAGE_BYTES = 64 * 1024
_SOURCE, _ANSWER, _STATUS = 3, 4, 5  # files of a file's process
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Request:
    """size: most bytes that reading the file can give. held: bytes of memory for all of it.
    largest: of one allocation. has_grown: since it took
    more than it told."""

    config: Config
    size: int
    content_type: str
    declared: str | None
    held: int
    largest: int
    has_grown: bool
    cpu_seconds: int


class End(NamedTuple):
    """status: as os.waitstatus_to_exitcode has it. grown: bytes of memory that it took."""

    status: int
    grown: int


class Needs(BaseException):  # nothing that handles a decoder's errors is to handle it
    """The file needs another amount of memory than it was given, in bytes."""


class Held:
    """The memory that the file was given, in the place of a Room; has_grown: in vain before."""

    def __init__(self, size: int, has_grown: bool) -> None:
        self.size, self._has_grown = size, has_grown

    def need(self, size: int) -> None:
        is_too_much = size < self.size // 2 and not self._has_grown
        if size > self.size or is_too_much:
            raise Needs(size)


class Content:
    """The file in memory, in the place of one in Cloud Storage."""

    def __init__(self) -> None:
        self.head = os.pread(_SOURCE, HEAD_BYTES, 0)
        size = os.fstat(_SOURCE).st_size
        self._file = Mapped(_SOURCE, size, mmap.MAP_PRIVATE) if size else io.BytesIO()

    def all(self, limit: int) -> io.BytesIO:
        return cast(io.BytesIO, self._file)


class Mapped(mmap.mmap):
    """The file as an io.BytesIO whose bytes nobody copied: a page fault for each 4 KiB is saved.

    What a decoder writes into it stays its own. tell() knows no place behind the end.
    """

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # type: ignore[override]
        at = offset + (0, self.tell(), len(self))[whence]
        if at < 0 and whence == os.SEEK_SET:
            raise ValueError("negative seek value")
        super().seek(min(max(at, 0), len(self)))
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:  # mmap tells it from Python 3.13 on
        return True

    def getbuffer(self) -> memoryview:
        return memoryview(self)

    def getvalue(self) -> bytes:
        return self[:]


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    bound_allocator(arenas=1)  # each takes 64 MiB of address space
    Server(control).run()


class Server:
    def __init__(self, control: socket.socket) -> None:
        self._control, self._jobs = control, dict[int, socket.socket]()
        self._selector = selectors.DefaultSelector()
        self._woken, wake = socket.socketpair()
        for end in (self._woken, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._wake = wake
        self._children: int | None = None  # not every kernel has it
        with contextlib.suppress(OSError):
            self._children = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY)
        self._memory = os.open("/proc/self/statm", os.O_RDONLY)
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    self._begin()
                elif key.fileobj is self._woken:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(MESSAGE_BYTES)
                    self._reap()
                elif key.data in self._jobs:  # nobody waits for it any more
                    self._selector.unregister(key.fileobj)
                    _kill(key.data)

    def _begin(self) -> None:
        message, files, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 3)
        if not message:
            for pid in self._jobs:
                _kill(pid)
            os._exit(0)
        request: Request = pickle.loads(message)  # from the function, never from a file's process
        module_of(request.content_type, request.config).preload(
            request.content_type, request.config
        )
        gc.freeze()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(request, files, server)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # as it does itself: whoever comes first
        content, answer, status = files
        os.close(content)
        os.close(answer)
        self._jobs[pid] = socket.socket(fileno=status)
        self._selector.register(status, selectors.EVENT_READ, pid)

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            _kill(found.si_pid)  # whatever it left in its group, before its id is free again
            _, status, used = os.wait4(found.si_pid, 0)
            if told := self._jobs.pop(found.si_pid, None):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(told)
                own = int(os.pread(self._memory, 256, 0).split()[1]) * _PAGE
                end = End(os.waitstatus_to_exitcode(status), (used.ru_maxrss << 10) - own)
                with contextlib.suppress(OSError):
                    told.send(json.dumps(end).encode())
                told.close()
            self._kill_strangers()

    def _kill_strangers(self) -> None:
        """Whoever left a group has come to this process when its parent ended."""
        found = b"" if self._children is None else os.pread(self._children, MESSAGE_BYTES, 0)
        for pid in map(int, found.split()):
            if pid not in self._jobs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _child(request: Request, files: list[int], server: int) -> NoReturn:
    """The file's own process: it ends with an answer and 0, or as its decoder would have it."""
    status = 1
    try:
        os.setpgid(0, 0)
        die_with(server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _keep(files[:2])
        content: Any = Content()
        room: Any = Held(request.held, request.has_grown)
        job = Job(
            content, request.size, request.content_type, request.declared, request.config, room,
            _tell,
        )  # fmt: skip
        # The file itself is counted, and mapped by now; the answer is as small.
        memory = request.held - os.fstat(_SOURCE).st_size
        file_bytes = max(request.held // 4, 1 << 20)
        confine(_mapped(), memory, request.largest, request.cpu_seconds, file_bytes)
        _answer(job)
        status = 0
    finally:
        os._exit(status)


def _keep(files: list[int]) -> None:
    """These, as _SOURCE and _ANSWER, and how much memory this process has; all else is closed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    high = [os.dup2(fd, 64 + at) for at, fd in enumerate(files)]
    for at, fd in enumerate((nothing, nothing, nothing, *high)):
        os.dup2(fd, at)
    os.closerange(_STATUS, 1 << 20)
    os.open("/proc/self/status", os.O_RDONLY)


def _tell(percent: int) -> None:
    """The first byte of the answer is the percent, until the answer takes its place."""
    os.pwrite(_ANSWER, bytes([percent]), 0)


def _answer(job: Job) -> None:
    """Writes a line of JSON, and the outputs after it."""
    before = _peak()
    answer, outputs = _processed(job)
    answer["grown"] = max(0, _peak() - before)
    with open(_ANSWER, "wb", closefd=False) as file:
        file.write(json.dumps(answer).encode() + b"\n")
        file.writelines(outputs)


def _processed(job: Job) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    try:
        outcome = module_of(job.content_type, job.config).process(job)
        made = [[one.name, one.width, one.height, len(one.data)] for one in outcome.outputs]
        answer = {"contentType": outcome.content_type, "facts": outcome.facts, "outputs": made}
        json.dumps(answer)
        return answer, [one.data for one in outcome.outputs]
    except Needs as needs:
        return {"needs": needs.args[0]}, []
    except Fault as fault:
        return {"fault": [fault.reason, fault.detail]}, []
    except MemoryError:
        return {"memory": True}, []
    except Exception as error:
        return {"error": type(error).__name__, "trace": traceback.format_exc()[-8000:]}, []


def _mapped(field: bytes = b"VmSize:") -> int:
    """Bytes of address space; 0 where the system does not tell."""
    found = os.pread(_STATUS, 4096, 0).partition(field)[2].split(None, 1)
    return int(found[0]) << 10 if found else 0


def _peak() -> int:
    """The most address space there ever was."""
    return _mapped(b"VmPeak:")


if __name__ == "__main__":
    main()

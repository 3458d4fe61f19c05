"""The function's side of the fence."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from contract.reasons import PERMANENT
from contract.records import Facts
from processor.errors import PermanentError, TransientError
from processor.fence.server import End, Request
from processor.formats import ENCODED, VIDEOS
from processor.kinds import Job, Outcome, Output, kind_of, module_of
from processor.settings import Config

_LAUNCHES = 8  # of one file, while it turns out to need more, or the server is replaced
_GROWTH = 4  # times as much memory for a file that took more than it was given
_CPU_SHARE = 4  # a file's process has this part of the time as CPU: there are others beside it
_ENDING_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_NOTHING = memoryview(b"")
_SEALS = 0x000F  # of a memfd: nobody writes, grows, shrinks or unseals it
_ADD_SEALS, _ALLOW_SEALING = 1033, 0x0002


class ServerGone(Exception):
    """The fork server ended, and with it the processes of all files."""


class DecoderError(Exception):
    """An unexpected error in a file's process: its type, and its stack as a note."""


class Unfenced:
    """In the place of a Fence where the caller has a process of its own for each file already."""

    def start(self) -> None:
        pass

    def run(self, job: Job, seconds: float) -> Outcome:
        module = module_of(job.content_type, job.config)
        module.preload(job.content_type or "", job.config)
        return module.process(job)


class _Ended(NamedTuple):
    """How a file's process ended: its signal, or 0 and what it wrote."""

    signal: int
    answer: dict[str, Any]
    data: memoryview
    grown: int


class Fence:
    """Runs each Job in a process of its own. One for an instance, for any number of threads."""

    def __init__(
        self, config: Config, program: Sequence[str] = ("-m", "processor.fence.server")
    ) -> None:
        self._config, self._program = config, program
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> socket.socket:
        """Starts the fork server where none lives; does not wait until it is ready."""
        with self._lock:
            if self._control and self._server and self._server.poll() is None:
                return self._control
            self._end()
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, *self._program, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            return self._control

    @property
    def pid(self) -> int:
        """The fork server's; 0 where there is none."""
        return self._server.pid if self._server else 0

    def close(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._control and self._server:
            self._control.close()
            self._server.kill()  # its files' processes end with it
            self._server.wait()
        self._control = self._server = None

    def _gone(self, control: socket.socket) -> ServerGone:
        """It may still be about to die: whoever comes next is to find none, or another one."""
        with self._lock:
            if control is self._control:
                self._end()
        return ServerGone()

    def run(self, job: Job, seconds: float) -> Outcome:
        """Reads the file and has it processed. seconds: for all of it.

        Raises PermanentError, TransientError; DecoderError.
        """
        deadline = time.monotonic() + seconds
        content = os.memfd_create("content", os.MFD_CLOEXEC | _ALLOW_SEALING)
        try:
            with open(content, "wb", buffering=0, closefd=False) as file:
                job.content.write_to(file, job.config.max_file_bytes)
            fcntl.fcntl(content, _ADD_SEALS, _SEALS)
            return _Run(self, job, content, deadline).outcome()
        finally:
            os.close(content)

    def launch(
        self, request: Request, content: int, deadline: float, tell: Callable[[int], None]
    ) -> _Ended:
        """tell: as a Job has it. Raises ServerGone, TransientError deadline_exceeded."""
        answer = os.memfd_create("answer", os.MFD_CLOEXEC)
        ours, theirs = socket.socketpair()
        control = self.start()
        try:
            with theirs:
                files = [content, answer, theirs.fileno()]
                socket.send_fds(control, [pickle.dumps(request)], files)
            while (end := _wait(ours, deadline)) is None:
                _pass_on(answer, tell)
            return _ended(end, answer)
        except OSError as error:
            raise self._gone(control) from error
        finally:
            ours.close()
            os.close(answer)


@dataclass
class _Run:
    """One file, launched until it has what it needs."""

    fence: Fence
    job: Job
    content: int
    deadline: float
    has_grown: bool = False

    def outcome(self) -> Outcome:
        for _ in range(_LAUNCHES):
            try:
                ended = self.fence.launch(
                    self._request(), self.content, self.deadline, self.job.tell
                )
            except ServerGone:
                continue
            if (needs := ended.answer.get("needs")) is not None:
                self.job.room.need(int(needs))
            elif self._is_out_of_memory(ended):
                self._grow()
            elif ended.signal:
                raise _crashed(ended.signal)
            else:
                return _outcome(ended, self.job)
        raise TransientError("internal_error", "The decoders' own process did not stay.")

    def _request(self) -> Request:
        job, config = self.job, self.job.config
        held = job.room.size
        return Request(
            config, job.size, job.content_type or "", job.declared, held,
            largest=held // 2 if kind_of(job.content_type, job.config).is_silent else held,
            has_grown=self.has_grown,
            cpu_seconds=_cpu_seconds(job),
        )  # fmt: skip

    def _is_out_of_memory(self, ended: _Ended) -> bool:
        """It said so; it asked for too much at once; or it ended badly with much in use.

        A decoder that leaves out what it has no memory for is not believed beyond half, either: as
        no single allocation may be larger than the other half, none has failed up to there.
        """
        if ended.signal == signal.SIGSYS or ended.answer.get("memory"):
            return True
        is_silent = kind_of(self.job.content_type, self.job.config).is_silent
        doubtful = is_silent or ended.signal not in (0, signal.SIGXCPU)
        return doubtful and max(ended.grown, 0) > self.job.room.size // 2

    def _grow(self) -> None:
        """For another launch. Raises PermanentError where it had all there is."""
        room = self.job.room
        if room.size >= room.capacity:
            detail = f"Decoding takes more than the {room.capacity >> 20} MiB of an instance."
            raise PermanentError("out_of_memory", detail)
        size = min(room.capacity, _GROWTH * room.size)
        room.grow(size, max(0.0, self.deadline - time.monotonic()))
        self.has_grown = True


def _cpu_seconds(job: Job) -> int:
    if kind_of(job.content_type, job.config).is_long:
        return job.config.work_seconds * len(os.sched_getaffinity(0))
    return max(1, job.config.work_seconds // _CPU_SHARE)


def _wait(status: socket.socket, deadline: float) -> End | None:
    """None while it goes on. Raises ConnectionError; TransientError when the time is over and the
    process killed."""
    left = deadline - time.monotonic()
    status.settimeout(max(0.001, min(left, _LOOK_SECONDS)))
    try:
        told = status.recv(256)
    except TimeoutError:
        if left > _LOOK_SECONDS:
            return None
        status.shutdown(socket.SHUT_WR)  # has it killed
        status.settimeout(_ENDING_SECONDS)
        with contextlib.suppress(OSError):  # its memory is free by then
            status.recv(256)
        raise TransientError("deadline_exceeded", "Decoding did not end in its time.") from None
    if not told:
        raise ConnectionError
    return End(*json.loads(told))


def _pass_on(answer: int, tell: Callable[[int], None]) -> None:
    """The percent that the process told, where an answer has not taken its place."""
    told = os.pread(answer, 1, 0)
    if told and told[0] <= 100:
        tell(told[0])


def _ended(end: End, answer: int) -> _Ended:
    if end.status:
        number = -end.status if end.status < 0 else signal.SIGABRT
        return _Ended(number, {}, _NOTHING, end.grown)
    found, data = None, _NOTHING
    if size := os.fstat(answer).st_size:
        written = mmap.mmap(answer, size, prot=mmap.PROT_READ)  # shared, as it may be large
        cut = written.find(b"\n") + 1
        data = memoryview(written)[cut:]
        with contextlib.suppress(ValueError):
            found = json.loads(written[:cut])
    if not isinstance(found, dict):
        return _Ended(signal.SIGABRT, {}, _NOTHING, end.grown)
    return _Ended(0, found, data, max(end.grown, int(found.get("grown", 0))))


def _crashed(number: int) -> PermanentError:
    if number == signal.SIGXCPU:
        return PermanentError("decoder_timed_out", "Decoding takes more CPU time than a file has.")
    return PermanentError("decoder_crashed", f"The decoder crashed: {signal.strsignal(number)}.")


def _outcome(ended: _Ended, job: Job) -> Outcome:
    """What the process made: of this job's renditions, and nothing beside."""
    answer = ended.answer
    if fault := answer.get("fault"):
        reason, detail = map(str, fault)
        raise (PermanentError if reason in PERMANENT else TransientError)(reason, detail)
    if "error" in answer:
        error = DecoderError(str(answer["error"]))
        error.add_note(str(answer.get("trace")))
        raise error
    try:
        facts = cast(Facts, dict(answer["facts"]))
        return Outcome(str(answer["contentType"]), facts, _outputs(ended, job))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PermanentError("decoder_crashed", "The decoder's answer makes no sense.") from error


def _outputs(ended: _Ended, job: Job) -> tuple[Output, ...]:
    outputs, at = [], 0
    own = kind_of(job.content_type, job.config).outputs
    for name, width, height, size in ended.answer["outputs"]:
        if name in own:
            file, content_type = own[name]
        else:
            format = (ENCODED | VIDEOS)[job.config.renditions[name].format]
            file, content_type = f"{name}.{format.extension}", format.content_type
        data = ended.data[at : at + size]
        at += size
        outputs.append(Output(name, file, data, content_type, _pixels(width), _pixels(height)))
    return tuple(outputs)


def _pixels(side: object) -> int | None:
    return None if side is None else int(cast(int, side))

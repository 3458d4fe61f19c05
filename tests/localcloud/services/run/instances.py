"""Instances of a function: processes as Google starts them, and the connections to them."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httptools

from .programs import Program

# gunicorn closes a connection after 2 s without a request: ours are not reused for that long, so
# that an answer which never comes always means a crash.
KEEP_ALIVE = 1.0
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade"}
# functions-framework as its command starts it, except that Linux kills the process, and those that
# it forks, when the parent ends (PR_SET_PDEATHSIG): no instance survives its cloud.
LAUNCH = """
import ctypes, os, runpy, sys
die = lambda: ctypes.CDLL(None).prctl(1, 9)
die()
os.register_at_fork(after_in_child=die)
os.getppid() == int(sys.argv.pop(1)) or os._exit(1)
sys.path.pop(0)
runpy.run_module("functions_framework", run_name="__main__", alter_sys=True)
"""


@dataclass(slots=True)
class Result:
    """An HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


# Takes an answer as it comes: first its status and headers, then the parts of its body.
Sink = Callable[[Result | bytes], Awaitable[None]]
HIGH = 256 * 1024  # bytes that wait for a sink before no more is read


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: one exchange at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = self.used = False
        self.since = 0.0
        self._answer: asyncio.Future[Result] | None = None
        self._news = asyncio.Event()  # the answer has gone on

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    async def exchange(self, head: bytes, body: bytes, sink: Sink | None = None) -> Result:
        """The whole answer; with a sink, which gets it as it comes, one without a body.

        Raises:
            ConnectionResetError: no whole answer comes.
        """
        assert self.transport
        self._answer = asyncio.get_running_loop().create_future()
        self._result = Result(0)
        self._chunks: list[bytes] = []
        self._held, self._headed, self._sink = 0, False, sink
        self._news.clear()
        self._bodiless = head.startswith(b"HEAD ")
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(head + body if len(body) < 65536 else head)
        if len(body) >= 65536:
            self.transport.write(body)
        if sink:
            await self._pass_on(sink)
        return await self._answer

    async def _pass_on(self, sink: Sink) -> None:
        """Gives the sink what comes until the answer is there or will not come."""
        assert self._answer
        assert self.transport
        begun = ended = False
        while not ended:
            await self._news.wait()
            self._news.clear()
            ended = self._answer.done()
            if self._headed and not begun:
                begun = True
                await sink(self._result)
            chunks, self._chunks, self._held = self._chunks, [], 0
            for chunk in chunks:
                await sink(chunk)
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, AttributeError):
            if self.transport:
                self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._result.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._result.status = self._parser.get_status_code()
        self._headed = self._result.status >= 200
        self._news.set()
        if self._bodiless:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        if self._sink:
            self._held += len(body)
            self._news.set()
            if self._held > HIGH and self.transport:
                self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._result.status < 200:  # 100 Continue and the like: the answer follows
            self._result, self._chunks = Result(0), []
            return
        if not self._sink:
            self._result.body = b"".join(self._chunks)
        self.closed = self.closed or not self._parser.should_keep_alive()
        if self._answer and not self._answer.done():
            self._answer.set_result(self._result)
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._answer is None or self._answer.done():
            return
        headers = self._result.headers
        if self._result.status and not {"content-length", "transfer-encoding"} & headers.keys():
            self.on_message_complete()  # the end of the connection is the end of the body
        else:
            self._answer.set_exception(ConnectionResetError("no answer came"))
        self._news.set()

    def close(self) -> None:
        self.closed = True
        if self.transport:
            self.transport.close()


class Client:
    """Keep-alive connections to one loopback port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: list[_Connection] = []

    async def request(
        self,
        verb: str,
        target: str,
        host: str,
        headers: dict[str, str],
        body: bytes,
        sink: Sink | None = None,
    ) -> Result:
        """One exchange. A cancelled one closes its connection.

        Raises:
            OSError: nobody listens, or no answer came.
        """
        lines = [f"{verb} {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        lines += [f"{n}: {v}" for n, v in headers.items() if n.lower() not in HOP_BY_HOP]
        connection = await self._connection()
        try:
            result = await connection.exchange("\r\n".join([*lines, "", ""]).encode(), body, sink)
        except BaseException:
            connection.close()
            raise
        if connection.closed or verb == "HEAD":
            connection.close()
        else:
            connection.since = time.monotonic()
            self._idle.append(connection)
        return result

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and time.monotonic() - connection.since < KEEP_ALIVE:
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self.port)
        return connection

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class StartFailed(Exception):
    """The process ended, or did not listen in time."""


class Instance(Program):
    """One running copy of a function.

    Args:
        folder, log: see Program.
        ended: called when it is gone.
    """

    def __init__(
        self, folder: Path, log: Callable[[str], None], ended: Callable[[Instance], None]
    ) -> None:
        super().__init__(folder, log)
        self._ended = ended
        self.busy = 0
        self.served = 0
        self.seconds = 0.0  # from start to listening
        self.idle_since = 0.0  # on the cloud's clock
        self.draining = False
        self.sampled = 0.0

    async def start(
        self, python: Path, source: Path, target: str, environment: dict[str, str], patience: float
    ) -> None:
        """Returns once it listens.

        Raises:
            StartFailed: it did not.
        """
        start = time.monotonic()
        # Bound but not listening: nobody else gets the port, gunicorn's SO_REUSEADDR may have it.
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        environment = environment | {"PORT": str(port)}
        command = [str(python), "-c", LAUNCH, str(os.getpid()), f"--target={target}"]
        try:
            await self.run([*command, "--source=main.py", "--host=127.0.0.1"], source, environment)
            self.client = Client(port)
            while not await self._listens(port):
                if not self.alive or time.monotonic() - start > patience:
                    self.kill()
                    await self.exited()  # so that its last words are known
                    raise StartFailed
                await asyncio.sleep(0.015)
        except OSError as error:
            raise StartFailed(str(error)) from error
        except BaseException:
            self.kill()
            raise
        finally:
            holder.close()
        self.seconds = time.monotonic() - start

    async def _listens(self, port: int) -> bool:
        try:
            connection = await self.client._connection()
        except OSError:
            return False
        connection.since = time.monotonic()
        self.client._idle.append(connection)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "client"):
            self.client.close()
        super().connection_lost(error)
        self._ended(self)

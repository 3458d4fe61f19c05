"""The one door: a CONNECT proxy on loopback that answers for Google's hosts.

It terminates TLS with a certificate minted for the requested host by the run's own CA. A client
that offers only h2 speaks gRPC and is passed on to the gRPC server; everything else is HTTP/1.1 and
goes straight into the ASGI application. The Terraform registry's hosts are tunnelled untouched; any
other host is refused by name. Plain HTTP requests are the control interface (see control.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import trustme
import uvicorn
from uvicorn.server import ServerState

OURS = re.compile(
    r"(.+\.)?googleapis\.com|.+\.run\.app|metadata\.google\.internal|accounts\.google\.com"
    r"|token\.actions\.githubusercontent\.com"
)
TUNNELLED = re.compile(
    r"registry\.terraform\.io|releases\.hashicorp\.com|.+\.hashicorp\.com|"
    r"github\.com|.+\.githubusercontent\.com"
)


class _Held(asyncio.Protocol):
    """Keeps what arrives between the TLS handshake and the choice of the real protocol."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.closed = False

    def data_received(self, data: bytes) -> None:
        self.data.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


class _Pipe(asyncio.Protocol):
    """Copies bytes to another transport, with back-pressure both ways."""

    def __init__(self, other: asyncio.Transport | None = None) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.other and not self.other.is_closing():
            self.other.write(data)

    def pause_writing(self) -> None:
        if self.other:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other and not self.other.is_closing():
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other:
            self.other.close()


class Door(asyncio.Protocol):
    """One accepted connection, until it becomes an HTTP, gRPC, tunnel or control connection."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        assert self.transport
        self.buffer += data
        if not self.buffer.startswith(b"CONNECT "[: len(self.buffer)]):
            self._become(self.house.http(self.house.control), self.buffer)
        elif b"\r\n\r\n" in self.buffer:
            target = self.buffer.split(b" ", 2)[1].decode("ascii", "replace")
            host, _, port = target.rpartition(":")
            self.transport.pause_reading()
            self.house.spawn(self._connect(host.lower(), int(port)))
        elif len(self.buffer) > 65536:
            self.transport.close()

    def _become(self, protocol: asyncio.Protocol, data: bytes = b"") -> None:
        assert self.transport
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if data:
            protocol.data_received(data)

    async def _connect(self, host: str, port: int) -> None:
        assert self.transport
        if self.house.answers(host):
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with contextlib.suppress(OSError, ssl.SSLError, ConnectionError):
                await self._terminate(host)
        elif TUNNELLED.fullmatch(host):
            await self._tunnel(host, port)
        else:
            self._refuse(403, f"The local cloud does not answer for {host}, nor let it through.")

    async def _terminate(self, host: str) -> None:
        assert self.transport
        held = _Held()
        self.transport.set_protocol(held)
        loop = asyncio.get_running_loop()
        secure = await loop.start_tls(
            self.transport, held, self.house.certificate(host), server_side=True
        )
        if secure is None or held.closed:
            return
        secure.pause_reading()
        self.transport = secure
        if secure.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            pipe = _Pipe()
            inner, _ = await loop.create_unix_connection(
                lambda: _Pipe(secure), str(self.house.grpc_socket)
            )
            pipe.other = inner
            protocol: asyncio.Protocol = pipe
        else:
            protocol = self.house.http(self.house.app)
        self._become(protocol)
        for data in held.data:
            protocol.data_received(data)
        secure.resume_reading()

    async def _tunnel(self, host: str, port: int) -> None:
        assert self.transport
        pipe = _Pipe()
        try:
            inner, _ = await asyncio.get_running_loop().create_connection(
                lambda: _Pipe(self.transport), host, port
            )
        except OSError as error:
            self._refuse(502, f"{host} cannot be reached: {error}")
            return
        pipe.other = inner
        self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._become(pipe)
        self.transport.resume_reading()

    def _refuse(self, status: int, message: str) -> None:
        assert self.transport
        body = message.encode() + b"\n"
        head = (
            f"HTTP/1.1 {status} Refused\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class House:
    """What the doors share: certificates, the applications behind, open connections."""

    def __init__(self, folder: Path, app: Any, control: Any, grpc_socket: Path) -> None:
        self.app, self.control, self.grpc_socket = app, control, grpc_socket
        self.extra_hosts: set[str] = set()
        self.ca = trustme.CA()
        self.ca_file = folder / "local-ca.pem"
        self.bundle = folder / "ca-bundle.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.bundle.write_bytes(_system_bundle() + self.ca.cert_pem.bytes())
        self._certificates: dict[str, ssl.SSLContext] = {}
        self._state = ServerState()
        self._tasks: set[asyncio.Task[None]] = set()

    def answers(self, host: str) -> bool:
        return OURS.fullmatch(host) is not None or host in self.extra_hosts

    def certificate(self, host: str) -> ssl.SSLContext:
        if host not in self._certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ca.issue_cert(host).configure_cert(context)
            context.set_alpn_protocols(["http/1.1", "h2"])
            self._certificates[host] = context
        return self._certificates[host]

    def http(self, app: Any) -> asyncio.Protocol:
        return http_protocol(app, self._state)

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: Door(self), host, port)


@functools.cache
def _config(app: Any) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        access_log=False,
        lifespan="off",
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=600,
        h11_max_incomplete_event_size=65536,
    )
    config.load()
    return config


def http_protocol(app: Any, state: ServerState | None = None) -> asyncio.Protocol:
    """An HTTP/1.1 connection served by an ASGI application."""
    config = _config(app)
    kind: Any = config.http_protocol_class
    protocol: asyncio.Protocol = _prompt(kind)(
        config=config, server_state=state or ServerState(), app_state={}
    )
    return protocol


@functools.cache
def _prompt(protocol: Any) -> Any:
    """The protocol, acknowledging at once what it receives.

    urllib3 sends head and body in two writes, and through a proxy it leaves Nagle's algorithm on:
    with the kernel's delayed acknowledgements each upload of a Python client would wait 40 ms.
    """

    class Prompt(protocol):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["transport"] = self.transport  # for faults that break the connection off

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self.socket.close()

    return Prompt


def _system_bundle() -> bytes:
    path = ssl.get_default_verify_paths().cafile or ssl.get_default_verify_paths().openssl_cafile
    with contextlib.suppress(OSError):
        return Path(path).read_bytes() + b"\n"
    import certifi

    return Path(certifi.where()).read_bytes() + b"\n"

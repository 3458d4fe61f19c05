"""A stand-in for the Terraform provider hashicorp/google, where `terraform init` cannot get it.

It serves Terraform's plugin protocol from tables of the resource types that this repository uses
(tables/) and makes the REST calls that the provider makes. What it does not show is in README.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from tf.gen import tfplugin_pb2_grpc as rpc

from .rest import Caller
from .servicer import Provider

PROVIDER = "registry.terraform.io/hashicorp/google"
LIMIT = ("grpc.max_receive_message_length", 64 << 20)  # bytes; a state can be large


def _caller(connection: socket.socket) -> Caller:
    """Environment and folder of the Terraform at the other end (Linux).

    The real provider is Terraform's child and has both from it.
    """
    size = struct.calcsize("3i")
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid = struct.unpack("3i", peer)[0]
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    environ = dict(os.fsdecode(line).split("=", 1) for line in lines if b"=" in line)
    return Caller(dict(os.environ) | environ, Path(f"/proc/{pid}/cwd").readlink())


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _serve_one(connection: socket.socket, inner: Path, endpoint: str | None) -> None:
    """One connection has a provider of its own, as with the real one each has a process."""
    server = grpc.server(ThreadPoolExecutor(16, "standin"), options=[LIMIT])
    rpc.add_ProviderServicer_to_server(Provider(_caller(connection), endpoint), server)
    server.add_insecure_port(f"unix:{inner}")
    server.start()
    try:
        with connection, socket.socket(socket.AF_UNIX) as behind:
            behind.connect(str(inner))
            back = threading.Thread(target=_pump, args=(behind, connection), daemon=True)
            back.start()
            _pump(connection, behind)
            back.join()
    finally:
        server.stop(None).wait()
        inner.unlink(missing_ok=True)


@contextmanager
def serve(directory: Path | str, endpoint: str | None = None) -> Iterator[str]:
    """Serves while the context lasts; yields the value for TF_REATTACH_PROVIDERS.

    Any number of Terraforms may use it at once. Its unix sockets are in a temporary folder in
    `directory`, or in the system's where that path is too long for a socket. `endpoint` sends the
    REST calls to ENDPOINT/HOST/… instead of https://HOST/….
    """
    short = len(os.fsencode(Path(directory).absolute())) < 70  # a socket's path has 107 bytes
    folder = Path(
        tempfile.mkdtemp(prefix="standin-", dir=Path(directory).absolute() if short else None)
    )
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "google"))
    listener.listen(64)

    def accept() -> None:
        count = 0
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                count += 1
                work = (connection, folder / str(count), endpoint)
                threading.Thread(target=_serve_one, args=work, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        address = {"Network": "unix", "String": str(folder / "google")}
        entry = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True}
        yield json.dumps({PROVIDER: entry | {"Addr": address}})
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)

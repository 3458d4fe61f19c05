"""A stand-in for the Terraform provider hashicorp/google, where `terraform init` cannot get it.

It serves Terraform's plugin protocol from tables of the resource types that this repository uses
(tables/) and makes the REST calls that the provider makes. What it does not show is in README.md.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from tf.gen import tfplugin_pb2_grpc as rpc

from .servicer import Provider

PROVIDER = "registry.terraform.io/hashicorp/google"
MAX_SOCKET_PATH = 100  # bytes; Linux allows 107
MAX_MESSAGE = 64 << 20  # bytes


@contextmanager
def serve(directory: Path | str, endpoint: str | None = None) -> Iterator[str]:
    """Serves while the context lasts; yields the value for TF_REATTACH_PROVIDERS.

    The unix socket is made in `directory`, or in a temporary one where that path is too long.
    `endpoint` sends the REST calls to ENDPOINT/HOST/… instead of https://HOST/….
    """
    socket = Path(directory).absolute() / f"google-{os.getpid()}.sock"
    short = None
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
        short = tempfile.mkdtemp(prefix="standin-")
        socket = Path(short) / socket.name
    options = [("grpc.max_receive_message_length", MAX_MESSAGE),
               ("grpc.max_send_message_length", MAX_MESSAGE)]
    server = grpc.server(ThreadPoolExecutor(16, "standin"), options=options)
    rpc.add_ProviderServicer_to_server(Provider(endpoint), server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        address = {"Network": "unix", "String": str(socket)}
        entry = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True,
                 "Addr": address}
        yield json.dumps({PROVIDER: entry})
    finally:
        server.stop(1).wait()
        socket.unlink(missing_ok=True)
        if short:
            shutil.rmtree(short, ignore_errors=True)

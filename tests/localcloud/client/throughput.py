"""How fast files go through the whole chain, and whether anything of them stays behind.

python -m tests.localcloud.client.throughput [FILES]

dev is deployed as it is; then the queue's rate is raised and a stub answers for the processor. Half
of the files go through and away again (deleted, their names free again), then the other half: what
the server's memory and open files have grown by between the two is a leak.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.bench.process import cpu

from ..client import LocalCloud
from ..core.processes import tree
from .deployment import Deployment

UPLOADERS = 8
GOAL = 100  # files a second
LEAK = 2.0  # MiB in all: less is what an allocator may keep, however many files
HANDLES = 100  # open files: instances and connections come and go
RATE = {"maxDispatchesPerSecond": 500, "maxConcurrentDispatches": 100}


class Google:
    """Calls as the owner, each thread on a connection of its own."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._port, self._token = cloud.port, cloud.token()
        self._tls = ssl.create_default_context(cafile=str(cloud.bundle))
        self._local = threading.local()

    def call(self, verb: str, host: str, path: str, body: bytes | None = None) -> Any:
        connection = self._local.__dict__.setdefault(host, self._connection(host))
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        connection.request(verb, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{verb} {path}: {answer.status} {data.decode()}")
        return json.loads(data) if data else {}

    def _connection(self, host: str) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._tls)
        connection.set_tunnel(f"{host}.googleapis.com", 443)
        return connection


@contextmanager
def stub() -> Iterator[int]:
    """A port that answers 200 to every request at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) << 10


class Run:
    def __init__(self, deployment: Deployment) -> None:
        self.cloud, self.google = deployment.cloud, Google(deployment.cloud)
        outputs = deployment.outputs()
        self.bucket, self.queue = outputs["uploads_bucket"], outputs["queues"]["default"]
        self.used = {"server": 0.0, "bridge": 0.0, "uploads and stub": 0.0}  # seconds, by `push`

    def push(self, name: str, files: int) -> float:
        """Sends files through the chain: how many came out a second, first upload to last task."""
        done = self.done()
        before = self._cpu()
        began = datetime.fromisoformat(self.cloud.get("/clock")["now"])
        with ThreadPoolExecutor(UPLOADERS) as pool:
            list(pool.map(lambda n: self._upload(f"{name}/{n}.jpg"), range(files)))
        self.cloud.idle(horizon=1.0, timeout=600)
        ended = self.cloud.journal("tasks.end")
        if self.done() - done != files:
            raise RuntimeError(f"{self.done() - done} tasks for {files} files")
        for what, seconds in self._cpu().items():
            self.used[what] += seconds - before[what]
        return files / (datetime.fromisoformat(ended[-1]["time"]) - began).total_seconds()

    def _cpu(self) -> dict[str, float]:
        instances = self.cloud.post("/run/instances", {"service": "files-dev-bridge"})
        bridges = sum(cpu(pid) for i in instances for pid in tree(i["pid"]))
        return {
            "server": cpu(self.cloud.pid),
            "bridge": bridges,
            "uploads and stub": time.process_time(),
        }

    def done(self) -> int:
        return int(self.cloud.get("/journal")["counts"].get("tasks.end", 0))

    def _upload(self, name: str) -> None:
        path = f"/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={quote(name, safe='')}"
        self.google.call("POST", "storage", path, bytes(1000))

    def clear(self) -> None:
        """Deletes what was uploaded, and lets a day pass: names of tasks are free again."""
        base = f"/storage/v1/b/{self.bucket}/o"
        with ThreadPoolExecutor(UPLOADERS) as pool:
            while items := self.google.call("GET", "storage", f"{base}?versions=true").get("items"):
                paths = [
                    f"{base}/{quote(item['name'], safe='')}?generation={item['generation']}"
                    for item in items
                ]
                list(pool.map(lambda path: self.google.call("DELETE", "storage", path), paths))
        self.cloud.advance(90_000)
        self.push("last", 1)


def main(files: int) -> int:
    began = time.monotonic()
    with LocalCloud.start() as cloud:
        started = time.monotonic() - began
        idle = resident(cloud.pid) / 2**20
        deployment = Deployment.prepare(cloud)
        deployment.make("bootstrap", "YES=1")
        deployment.make("apply", "ENV=dev", "YES=1")
        run = Run(deployment)
        path = f"/v2/{run.queue}?updateMask=rateLimits"
        run.google.call("PATCH", "cloudtasks", path, json.dumps({"rateLimits": RATE}).encode())
        with stub() as port:
            cloud.post("/run/stub", {"service": "files-dev-processor-default", "port": port})
            run.push("warm", min(files, 200))
            run.clear()
            run.used = dict.fromkeys(run.used, 0.0)
            rates, memory, handles = [], [], []
            for half in ("first", "second"):
                rates.append(run.push(half, files // 2))
                used = dict(run.used)
                run.clear()
                memory.append(resident(cloud.pid))
                handles.append(len(list(Path(f"/proc/{cloud.pid}/fd").iterdir())))
    grown = (memory[1] - memory[0]) / 2**20
    each = ", ".join(f"{what} {1e3 * s / (files // 2 * 2):.1f}" for what, s in used.items())
    sys.stdout.write(
        f"start {started:.2f} s, idle {idle:.0f} MiB\n"
        f"{files // 2} files: {rates[0]:.0f} a second; {files // 2} more: {rates[1]:.0f} a second\n"
        f"processor time, ms a file: {each}\n"
        f"grown by {grown:.1f} MiB and {handles[1] - handles[0]} open files\n"
    )
    return 0 if min(rates) >= GOAL and grown < LEAK and handles[1] < handles[0] + HANDLES else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))

"""One local cloud: its services, and the process that runs them.

`Cloud` holds everything; a service reaches another one through it (`cloud.pubsub.publish(...)`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from starlette.requests import Request

from ..services.artifacts.service import Artifacts
from ..services.builds.service import Builds
from ..services.functions.service import Functions
from ..services.iam.pools import Pools
from ..services.iam.roles import Roles
from ..services.iam.service import Accounts
from ..services.observability.service import Logging, Monitoring
from ..services.projects.service import Projects
from ..services.pubsub.service import PubSub
from ..services.run.jobs import Jobs
from ..services.run.namespaces import Namespaces
from ..services.run.service import Run
from ..services.scheduler.service import Scheduler
from ..services.storage.objects import Storage
from ..services.tasks.service import Tasks
from ..services.workflows.service import Workflows
from . import grpc_bridge
from .api import Api, Service
from .clock import Clock
from .control import Control
from .door import House
from .faults import Faults
from .iam import Iam
from .identity import Identity, Principal
from .journal import Journal


class Cloud:
    """All state of one local cloud with one project.

    Args:
        folder: where everything of this run lies (certificates, objects, journal, functions).
        project: id of the project that exists from the start.
        owner: email of the person who owns it.
        cache: where environments of functions are kept between runs.
    """

    def __init__(self, folder: Path, project: str, owner: str, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.project = project
        self.abandoned = False  # whether the process that started it is gone
        self.number = str(10**11 + int.from_bytes(project.encode()[-4:], "big"))
        self.clock = Clock()
        self.faults = Faults(self)
        self.identity = Identity()
        self.journal = Journal(folder / "journal.jsonl", self.clock)
        self.iam = Iam(self)
        self.owner = Principal(f"user:{owner}")
        self.projects = Projects(self)
        self.accounts = Accounts(self)
        self.pools = Pools(self)
        self.roles = Roles(self)
        self.storage = Storage(self)
        self.pubsub = PubSub(self)
        self.tasks = Tasks(self)
        self.scheduler = Scheduler(self)
        self.run = Run(self)
        self.functions = Functions(self)
        self.jobs = Jobs(self)
        self.artifacts = Artifacts(self)
        self.builds = Builds(self)
        self.workflows = Workflows(self)
        self.logging = Logging(self)
        self.monitoring = Monitoring(self)
        self.services: list[Service] = [
            self.projects,
            self.accounts,
            self.pools,
            self.roles,
            self.storage,
            self.pubsub,
            self.tasks,
            self.scheduler,
            self.run,
            self.functions,
            self.jobs,
            Namespaces(self),
            self.artifacts,
            self.builds,
            self.workflows,
            self.logging,
            self.monitoring,
        ]
        self.api = Api(self, self.services)
        self.control = Control(self)
        self.house = House(folder, self, self.control, folder / "grpc.sock")
        owners = {"role": "roles/owner", "members": [self.owner.member]}
        self.iam.set(f"projects/{project}", {"bindings": [owners]})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application behind TLS: Google's APIs, and the functions' own addresses."""
        assert scope["type"] == "http"
        request = Request(scope, receive)
        host = request.url.hostname or ""
        if self.api.serves(host):
            response = await self.api.handle(request)
        else:
            response = await self.run.handle_public(request)
        await response(scope, receive, send)

    def snapshot(self) -> list[str]:
        """Names of everything that exists: to compare before and after."""
        policies = [f"{role} {member} on {on}" for on, role, member, _ in self.iam.bindings()]
        return sorted([*policies, *(name for s in self.services for name in s.snapshot())])

    async def serve(self, port: int = 0, ready: Any = None) -> None:
        """Runs until SIGTERM or SIGINT; `ready(port)` is called once the door is open."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        rpc = await grpc_bridge.serve(self, self.house.grpc_socket)
        door = await self.house.open(port=port)
        self.port = door.sockets[0].getsockname()[1]
        watch = asyncio.create_task(self._with_parent(stop))
        try:
            if ready:
                ready(self.port)
            await stop.wait()
        finally:
            watch.cancel()
            door.close()
            await self.run.stop()
            await rpc.stop(0.1)
            self.journal.flush()

    async def _with_parent(self, stop: asyncio.Event) -> None:
        """Ends with the process that started it; with parent 0 it stays (`make local`)."""
        parent = int(os.environ.get("LOCALCLOUD_PARENT", os.getppid()))
        while parent in (0, os.getppid()):
            await asyncio.sleep(0.5)
        self.abandoned = True
        stop.set()


def main(argv: list[str]) -> None:
    """`… server FOLDER PROJECT CACHE`: prints one JSON line when ready."""
    folder, project, cache = Path(argv[0]), argv[1], Path(argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)

    def ready(port: int) -> None:
        print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)

    async def run() -> None:
        cloud = Cloud(folder, project, "you@example.com", cache)
        gc.freeze()  # all this stays: no collection needs to look through it
        await cloud.serve(ready=ready)
        if cloud.abandoned:
            shutil.rmtree(folder, ignore_errors=True)

    try:
        import uvloop
    except ImportError:
        asyncio.run(run())
    else:
        uvloop.run(run())


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

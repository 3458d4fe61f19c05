"""The control interface: plain HTTP on the door's port, for tests and the demo only.

GET  /snapshot               names of all that exists
POST /token {member, seconds} an access token for anybody; also /refresh {member} and
                             /oidc {email, audience, seconds?, issuer?}
POST /clock {advance}         lets seconds pass; GET /clock
POST /idle {horizon, timeout} waits until nothing is in flight or due within `horizon` seconds
POST /faults {...}            see faults.Faults.configure; GET /faults: what was injected; DELETE
GET  /journal                 path of the journal, flushed; counts
POST /hosts {host, port}      an HTTPS host outside Google, answered by a loopback HTTP port
GET  /permissions             what each principal used: the record for least privilege
POST /permissions {member}    what it used and would be refused by now
GET  /bindings                every IAM binding: [resource, role, member, condition or null];
                              POST /bindings {resource, role, member, present, condition?}
POST /standin                 starts the stand-in provider beside this cloud: its announcement
POST /call {url, headers}     a POST to a function from inside the project's network: its status
POST /run/{action} {...}      what the service `run` offers (kill an instance, take a service away)
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import ApiError
from .identity import Principal

if TYPE_CHECKING:
    from .server import Cloud


class Control:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._reattach = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
            answer: Any = await self.answer(
                request.method, request.url.path, json.loads(body) if body else {}
            )
            response: Response = JSONResponse(answer)
        except ApiError as error:
            response = JSONResponse(error.body(), error.code)
        await response(scope, receive, send)

    async def answer(self, verb: str, path: str, body: dict[str, Any]) -> Any:
        cloud = self.cloud
        match (verb, path):
            case ("GET", "/snapshot"):
                return cloud.snapshot()
            case ("POST", "/token"):
                principal = Principal(body["member"], tuple(body.get("attributes", ())))
                return {"token": cloud.identity.access_token(principal, body.get("seconds", 3600))}
            case ("POST", "/refresh"):
                return {"token": cloud.identity.refresh_token(Principal(body["member"]))}
            case ("POST", "/oidc"):
                return {"token": cloud.identity.oidc_token(**body)}
            case ("POST", "/clock"):
                await cloud.clock.advance(body["advance"])
                return {"now": cloud.clock.timestamp()}
            case ("GET", "/clock"):
                return {"now": cloud.clock.timestamp(), "in_flight": cloud.clock.in_flight}
            case ("POST", "/idle"):
                try:
                    waiting = cloud.clock.idle(body.get("horizon", 0.0))
                    await asyncio.wait_for(waiting, body.get("timeout", 60))
                except TimeoutError as error:
                    raise ApiError(504, "still busy") from error
                return {}
            case ("POST", "/faults"):
                cloud.faults.configure(body)
                return {}
            case ("DELETE", "/faults"):
                cloud.faults.reset()
                return {}
            case ("GET", "/faults"):
                return {"seed": cloud.faults.seed, "counts": cloud.faults.counts}
            case ("GET", "/journal"):
                cloud.journal.flush()
                return {"path": str(cloud.folder / "journal.jsonl"), "counts": cloud.journal.counts}
            case ("POST", "/hosts"):
                cloud.run.outside[body["host"]] = body["port"]
                cloud.house.extra_hosts.add(body["host"])
                return {}
            case ("GET", "/permissions"):
                return cloud.iam.exercised()
            case ("POST", "/permissions"):
                return cloud.iam.refused(body["member"])
            case ("DELETE", "/permissions"):
                cloud.iam.forget_exercised()
                return {}
            case ("GET", "/bindings"):
                return sorted(cloud.iam.bindings(), key=str)
            case ("POST", "/bindings"):
                return cloud.iam.bind(**body)
            case ("POST", "/standin"):
                return {"reattach": await self._standin()}
            case ("POST", "/call"):
                call = body["url"], "POST", body.get("headers", {}), b"{}", 60.0, "inside"
                return {"status": (await cloud.run.invoke(*call)).status}
            case ("POST", _) if path.startswith("/run/"):
                return await cloud.run.control(path.removeprefix("/run/"), body)
        raise ApiError(404, f"no control {verb} {path}")

    async def _standin(self) -> str:
        """Starts the stand-in provider, once; it ends with this process."""
        if not self._reattach:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.localcloud.standin", "--dir", str(self.cloud.folder)),
                stdout=asyncio.subprocess.PIPE,
                env=os.environ
                | {
                    "HTTPS_PROXY": f"http://127.0.0.1:{self.cloud.port}",
                    "NO_PROXY": "127.0.0.1,localhost",
                    "SSL_CERT_FILE": str(self.cloud.house.bundle),
                    "REQUESTS_CA_BUNDLE": str(self.cloud.house.bundle),
                },
            )
            assert process.stdout
            self._reattach = (await process.stdout.readline()).decode().strip()
            self._process = process
        if not self._reattach:
            raise ApiError(500, "the stand-in provider did not start")
        return self._reattach

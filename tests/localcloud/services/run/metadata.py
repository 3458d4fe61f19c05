"""The metadata server: what a function asks for its identity, one listener for each account."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ...core.door import http_protocol
from ...core.identity import LIFETIME, Principal

if TYPE_CHECKING:
    from ...core.server import Cloud

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Metadata:
    """Listeners on loopback by account; each speaks for its account alone."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._servers: dict[str, asyncio.Server] = {}

    async def address(self, email: str, region: str) -> str:
        """host:port of the metadata server of `email`, opened at the first call."""
        if email not in self._servers:
            app = _App(self.cloud, email, region)
            loop = asyncio.get_running_loop()
            self._servers[email] = await loop.create_server(
                lambda: http_protocol(app), "127.0.0.1", 0
            )
        return f"127.0.0.1:{self._servers[email].sockets[0].getsockname()[1]}"

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()


class _App:
    def __init__(self, cloud: Cloud, email: str, region: str) -> None:
        self.cloud, self.email, self.region = cloud, email, region

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = self.answer(Request(scope, receive))
        response.headers["Metadata-Flavor"] = "Google"
        response.headers["Server"] = "Metadata Server for VM"
        await response(scope, receive, send)

    def answer(self, request: Request) -> Response:
        path = request.url.path.rstrip("/")
        if path in ("", "/computeMetadata"):
            return PlainTextResponse("computeMetadata/\n")
        if request.headers.get("metadata-flavor") != "Google":
            return PlainTextResponse("Missing Metadata-Flavor:Google header.", 403)
        path = path.removeprefix("/computeMetadata/v1/")
        for name in ("default", self.email):
            prefix = f"instance/service-accounts/{name}"
            if path == prefix or path.startswith(prefix + "/"):
                return self._account(path[len(prefix) + 1 :], request)
        plain = {
            "project/project-id": self.cloud.project,
            "project/numeric-project-id": self.cloud.number,
            "instance/region": f"projects/{self.cloud.number}/regions/{self.region}",
            "instance/service-accounts": f"default/\n{self.email}/\n",
            "universe/universe-domain": "googleapis.com",
            "universe/universe_domain": "googleapis.com",
        }
        if path in plain:
            return PlainTextResponse(plain[path])
        return PlainTextResponse(f"not found: {path}", 404)

    def _account(self, what: str, request: Request) -> Response:
        if not self.cloud.accounts.exists(
            f"projects/{self.cloud.project}/serviceAccounts/{self.email}"
        ):
            return PlainTextResponse(f"Service account {self.email} not found.", 404)
        facts = {"aliases": ["default"], "email": self.email, "scopes": [SCOPE]}
        match what:
            case "":
                if request.query_params.get("recursive", "").lower() == "true":
                    return JSONResponse(facts)
                return PlainTextResponse("aliases\nemail\nidentity\nscopes\ntoken\n")
            case "email":
                return PlainTextResponse(self.email)
            case "scopes":
                return PlainTextResponse(SCOPE + "\n")
            case "token":
                token = self.cloud.identity.access_token(Principal(f"serviceAccount:{self.email}"))
                fields = {"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"}
                return JSONResponse(fields)
            case "identity":
                audience = request.query_params.get("audience")
                if not audience:
                    return PlainTextResponse("non-empty audience parameter required", 400)
                return PlainTextResponse(self.cloud.identity.oidc_token(self.email, audience))
        return PlainTextResponse(f"not found: {what}", 404)

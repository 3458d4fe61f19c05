"""Starts a local cloud and talks to its control interface: what tests and the demo use.

with LocalCloud.start() as cloud:
    subprocess.run(["gsutil", "ls"], env=os.environ | cloud.environ())
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("LOCALCLOUD_CACHE", ROOT / ".cache"))
OWNER = "user:you@example.com"
# What .local/activate leaves in a shell's environment: the names it set, and their old values.
NAMES, OLD = "_local_names", "_local_old_"
CLIENT = "32555940559.apps.googleusercontent.com"  # gcloud's, as its own logins have it


class LocalCloudError(RuntimeError):
    """The local cloud did not start, or refused a control request."""


def without_activation() -> None:
    """Takes back what a shell that sourced .local/activate hands down: it is of another cloud."""
    for name in os.environ.pop(NAMES, "").split():
        os.environ.pop(name, None)
        if (old := os.environ.pop(OLD + name, None)) is not None:
            os.environ[name] = old


@dataclass
class LocalCloud:
    """A running local cloud.

    Attributes:
        folder: everything of this run; removed by `stop`.
        project: id of its project.
        port: the door's, on 127.0.0.1.
        pid: of the server process.
    """

    folder: Path
    project: str
    port: int
    pid: int
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @classmethod
    def start(cls, project: str | None = None, stay: bool = False) -> Self:
        """Starts a server and waits until its door is open.

        Args:
            project: project id; a fresh one when left out, so that runs never share names.
            stay: whether it outlives this process (`make local`).
        """
        without_activation()
        project = project or f"local-{secrets.token_hex(3)}"
        # Unix sockets lie inside, and their paths are short: never below the checkout.
        folder = Path(tempfile.mkdtemp(prefix="localcloud-"))
        log = (folder / "server.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.localcloud.core.server", folder, project, CACHE],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for its starter, which stops it in order
            # gRPC's fork handlers would only complain: what this process forks, it execs.
            env=os.environ
            | {"GRPC_ENABLE_FORK_SUPPORT": "0"}
            | {"LOCALCLOUD_PARENT": "0" if stay else str(os.getpid())},
        )
        assert process.stdout
        try:
            line = process.stdout.readline()
        except BaseException:
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not line:
            text = (folder / "server.log").read_text().strip()
            shutil.rmtree(folder, ignore_errors=True)
            raise LocalCloudError(f"The local cloud did not start: {text or 'no output'}")
        hello = json.loads(line)
        return cls(folder, project, hello["port"], hello["pid"], process)

    def stop(self, patience: float = 10) -> None:
        """Ends the server and all it started, and removes its folder.

        patience: seconds that it has for ending in order.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        if self.process:
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        else:
            deadline = time.monotonic() + patience
            while Path(f"/proc/{self.pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Control

    def _request(self, verb: str, path: str, body: Any = None, timeout: float = 600) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=verb,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise LocalCloudError(f"{verb} {path}: {error.code} {error.read().decode()}") from error

    def get(self, path: str, timeout: float = 600) -> Any:
        return self._request("GET", path, timeout=timeout)

    def post(self, path: str, body: Any = None) -> Any:
        return self._request("POST", path, body or {})

    def delete(self, path: str) -> Any:
        return self._request("DELETE", path)

    def token(self, member: str = OWNER, seconds: float = 12 * 3600, **more: Any) -> str:
        """An access token of `member`; the owner's lives longer than Google's hour."""
        token: str = self.post("/token", {"member": member, "seconds": seconds} | more)["token"]
        return token

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass on the cloud's clock."""
        self.post("/clock", {"advance": seconds})

    def idle(self, horizon: float = 0.0, timeout: float = 60) -> None:
        """Waits until nothing is in flight or due within `horizon` seconds."""
        self.post("/idle", {"horizon": horizon, "timeout": timeout})

    def journal(self, *kinds: str) -> list[dict[str, Any]]:
        """The journal's lines, of these kinds or of all."""
        path = Path(self.get("/journal")["path"])
        wanted = tuple(f'"kind":"{kind}"' for kind in kinds)  # most lines need no parsing then
        with path.open(encoding="utf-8") as lines:
            found = [json.loads(x) for x in lines if not kinds or any(w in x for w in wanted)]
        return [line for line in found if not kinds or line["kind"] in kinds]

    # What clients need to know

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bundle(self) -> Path:
        return self.folder / "ca-bundle.pem"

    @property
    def authority(self) -> Path:
        """This cloud's own certificate alone: to load a whole bundle takes 26 ms of CPU."""
        return self.folder / "local-ca.pem"

    def environ(self, member: str = OWNER) -> dict[str, str]:
        """Environment variables that point Google's clients and Terraform at this cloud.

        Terraform, gcloud, gsutil and the client libraries act as `member`.
        """
        token = self.token(member)
        home = self.folder / "clients" / member.replace("/", "_").replace(":", "-")
        home.mkdir(parents=True, exist_ok=True)
        refresh = self.post("/refresh", {"member": member})["token"]
        _write(home / "token", token)
        user = {
            "type": "authorized_user",
            "client_id": CLIENT,
            "client_secret": "local",
            "refresh_token": refresh,
        }
        _write(home / "application_default_credentials.json", json.dumps(user))
        _write(
            home / "boto",
            _BOTO.format(port=self.port, ca=self.authority, refresh=refresh, home=home),
        )
        bundle = str(self.bundle)
        return {
            "HTTPS_PROXY": self.proxy,
            "https_proxy": self.proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "CURL_CA_BUNDLE": bundle,
            "HTTPLIB2_CA_CERTS": str(self.authority),
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.authority),
            "CHECKPOINT_DISABLE": "1",
            "GOOGLE_OAUTH_ACCESS_TOKEN": token,
            "GOOGLE_APPLICATION_CREDENTIALS": str(home / "application_default_credentials.json"),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "CLOUDSDK_CONFIG": str(home / "gcloud"),
            "CLOUDSDK_CORE_PROJECT": self.project,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(self.authority),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(home / "token"),
            "CLOUDSDK_PROXY_TYPE": "http",
            "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
            "CLOUDSDK_PROXY_PORT": str(self.port),
            "CLOUDSDK_CORE_PASS_CREDENTIALS_TO_GSUTIL": "false",
            "BOTO_CONFIG": str(home / "boto"),
        }


_BOTO = """\
[Credentials]
gs_oauth2_refresh_token = {refresh}
[Boto]
proxy = 127.0.0.1
proxy_port = {port}
ca_certificates_file = {ca}
https_validate_certificates = True
[OAuth2]
client_id = local
client_secret = local
[GSUtil]
state_dir = {home}/gsutil
software_update_check_period = 0
check_hashes = if_fast_else_skip
"""


def _write(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)

"""`make local`: bootstrap and dev applied to a local cloud that stays, for a shell of one's own.

make local                     start, or say that it runs
make showcase                  the same with environments/showcase: every capability
source .local/activate         point this shell's make, gcloud, gsutil, terraform and clients at it
deactivate_local               the shell is as before
make local-stop                end it; nothing is left
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..client import NAMES, OLD, ROOT, LocalCloud, LocalCloudError
from .demo import INTERRUPTED, Demo, samples, summary
from .deployment import CommandFailed, Deployment

STATE = ROOT / ".local" / "state.json"
ACTIVATE = ROOT / ".local" / "activate"
SHOWCASE = "showcase"
PATIENCE = 20  # seconds that a running cloud may take for an answer


def running() -> LocalCloud | None:
    """The cloud that `make local` left running; a stale record is cleared away."""
    try:
        state = json.loads(STATE.read_text())
        cloud = LocalCloud(Path(state["folder"]), state["project"], state["port"], state["pid"])
    except (OSError, ValueError, KeyError):
        return None
    try:
        cloud.get("/clock", timeout=PATIENCE)
    except TimeoutError:
        print(f"The local cloud has not answered for {PATIENCE} s", file=sys.stderr)
        return cloud
    except (OSError, LocalCloudError):
        forget(cloud)
        return None
    return cloud


def capabilities() -> list[str]:
    """The names of all capabilities: what lies beside the pipeline under terraform/."""
    beside = {path.parent.name for path in (ROOT / "terraform").glob("*/main.tf")}
    return sorted(beside - {"pipeline"})


# Output of an environment → what `activate` calls its address on loopback, and what serves it.
FRONTS = {"portal": ("PORTAL", ()), "batch": ("SUBMIT", ("--submit",))}


def start_front(
    deployment: Deployment, output: str, environment: str = SHOWCASE
) -> tuple[int, str]:
    """`make portal` or `make submit` in the background: its pid and address."""
    record, told = (deployment.cloud.folder / f"{output}{end}" for end in ("", ".log"))
    command = [sys.executable, "-m", "scripts.ops.portal", "-e", environment, *FRONTS[output][1]]
    command += ["--project", deployment.cloud.project, "--port", "0", "--address-file", str(record)]
    with told.open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=deployment.checkout,
            env=deployment.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while not record.exists() or not record.read_text():
            if process.poll() is not None:
                raise RuntimeError(told.read_text().strip())
            time.sleep(0.05)
    except BaseException:
        process.terminate()
        raise
    return process.pid, record.read_text()


def stop_fronts() -> None:
    """Ends what start_front started."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        end_fronts(json.loads(STATE.read_text())["fronts"])


def end_fronts(pids: Iterable[int]) -> None:
    """A pid that is somebody else's by now is left alone."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if b"scripts.ops.portal" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)


def forget(cloud: LocalCloud) -> None:
    stop_fronts()
    shutil.rmtree(cloud.folder, ignore_errors=True)
    STATE.unlink(missing_ok=True)
    ACTIVATE.unlink(missing_ok=True)


def told(outputs: dict[str, Any]) -> list[str]:
    """What there is to try of the subscribers."""
    lines = []
    for role in ("completions", "observers"):
        for subscription in outputs.get(role, {}).get("subscriptions", {}).values():
            name = subscription.rpartition("/")[2]
            shown = '--format="value(message.attributes.objectId)"'
            lines.append(f"gcloud pubsub subscriptions pull {name} --auto-ack --limit=10 {shown}")
    if lines:
        lines.append("make ops ARGS=stats         # and erase, pause, redrive --subscribers")
    return lines


def start(environment: str = "dev") -> int:
    if cloud := running():
        there = json.loads(STATE.read_text())["environment"]
        if there != environment:
            print(f"Not started: {there} runs here. First: make local-stop", file=sys.stderr)
            return 1
        print(f"Already running on 127.0.0.1:{cloud.port}: source .local/activate")
        return 0
    try:
        leave_running(LocalCloud.start(stay=True), environment)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except (CommandFailed, LocalCloudError, RuntimeError) as error:
        print(f"Not started: {error}", file=sys.stderr)
        return 1
    return 0


def leave_running(cloud: LocalCloud, environment: str) -> None:
    """Applies the environment and says what there is to try, or leaves nothing behind."""
    fronts: dict[str, tuple[int, str]] = {}
    try:
        deployment = Deployment.prepare(cloud)
        print(f"provider  {deployment.provider.title}")
        demo = Demo(cloud)
        bootstrap = ["bootstrap", "YES=1"]
        if environment == SHOWCASE:
            bootstrap.append(f"CAPABILITIES={' '.join(capabilities())}")
        for words in (bootstrap, ["apply", f"ENV={environment}", "YES=1"]):
            with demo.step(f"make {shlex.join(words)} PROJECT={cloud.project}"), demo.progress():
                print("    " + summary(deployment.make(*words).stdout))
        outputs = deployment.outputs(environment)
        for name in FRONTS:
            if name in outputs:
                fronts[name] = start_front(deployment, name)
        _record(deployment, environment, outputs, fronts)
    except BaseException:
        end_fronts(pid for pid, _ in fronts.values())
        cloud.stop()
        forget(cloud)
        raise
    _tell(cloud, outputs, fronts)


def _record(
    deployment: Deployment,
    environment: str,
    outputs: dict[str, Any],
    fronts: dict[str, tuple[int, str]],
) -> None:
    """Leaves .local/activate, and what `make local-stop` needs to know."""
    cloud = deployment.cloud
    names = {
        "PROJECT": cloud.project,
        "TF_VAR_project_id": cloud.project,
        "UPLOADS": outputs["uploads_bucket"],
        "RESULTS": outputs["results_bucket"],
        "ENV": environment,
    } | {FRONTS[name][0]: address for name, (_, address) in fronts.items()}
    STATE.parent.mkdir(exist_ok=True)
    write_activate(deployment.environ_added() | names | {"PYTHON": sys.executable})
    record = {
        "folder": str(cloud.folder),
        "project": cloud.project,
        "port": cloud.port,
        "pid": cloud.pid,
        "environment": environment,
        "fronts": [pid for pid, _ in fronts.values()],
    }
    STATE.write_text(json.dumps(record))


def _tell(cloud: LocalCloud, outputs: dict[str, Any], fronts: dict[str, tuple[int, str]]) -> None:
    more = ""
    if "portal" in fronts:
        more += f"\n    xdg-open $PORTAL          # the page: {fronts['portal'][1]}"
    if "batch" in fronts:
        more += '\n    curl -X POST $SUBMIT/submit-data-task     # then: make ops ARGS="tasks list"'
    if "approvals" in outputs:
        more += '\n    make ops ARGS=approvals   # a PDF waits for a person: ARGS="approve KEY"'
    more += "".join(f"\n    {line}" for line in told(outputs))
    good, _ = samples()
    print(f"""
It runs on 127.0.0.1:{cloud.port} until `make local-stop`. Now, in your shell:

    source .local/activate
    gsutil cp {good.relative_to(ROOT)} gs://$UPLOADS/
    gsutil ls "gs://$RESULTS/**"
    make logs OBJECT=gs://$UPLOADS/{good.name}
    make verify               # and plan, apply, ops, as on Google: PROJECT is {cloud.project}{more}
    deactivate_local""")


def stop() -> int:
    cloud = running()
    if cloud is None:
        print("No local cloud runs here.")
        return 0
    stop_fronts()
    cloud.stop()
    forget(cloud)
    print("Stopped; nothing is left of it. Python environments and caches stay until: make clean")
    if NAMES in os.environ:
        print("This shell still points at it: deactivate_local")
    return 0


def write_activate(environ: dict[str, str]) -> None:
    """A file to source: sets the variables, and defines what puts the old ones back.

    It exports the old values too, so that what the shell starts can do without: without_activation.
    """
    lines = [
        "# source this file; deactivate_local undoes it",
        "if command -v deactivate_local >/dev/null; then deactivate_local; fi",
        f"export {NAMES}={shlex.quote(' '.join(environ))}",
        "deactivate_local() {",
    ]
    for name in environ:
        lines.append(
            f'  if [ -n "${{{OLD}{name}+x}}" ]; then export {name}="${OLD}{name}"; '
            f"else unset {name}; fi; unset {OLD}{name}"
        )
    lines += [f"  unset {NAMES}", "  unset -f deactivate_local", "}"]
    for name, value in environ.items():
        lines.append(f'if [ -n "${{{name}+x}}" ]; then export {OLD}{name}="${name}"; fi')
        lines.append(f"export {name}={shlex.quote(value)}")
    ACTIVATE.touch(0o600)
    ACTIVATE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(stop() if sys.argv[1:] == ["stop"] else start(*sys.argv[1:]))

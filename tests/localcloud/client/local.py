"""`make local`: bootstrap and dev applied to a local cloud that stays, for a shell of one's own.

make local                     start, or say that it runs
make showcase                  the same with environments/showcase: every capability
source .local/activate         point this shell's make, gcloud, gsutil, terraform and clients at it
deactivate_local               the shell is as before
make local-stop                end it; nothing is left
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

from ..client import ROOT, LocalCloud, LocalCloudError
from .demo import Demo, summary
from .deployment import CommandFailed, Deployment

STATE = ROOT / ".local" / "state.json"
ACTIVATE = ROOT / ".local" / "activate"
SHOWCASE = "showcase"


def running() -> LocalCloud | None:
    """The cloud that `make local` left running; a stale record is cleared away."""
    try:
        state = json.loads(STATE.read_text())
        cloud = LocalCloud(Path(state["folder"]), state["project"], state["port"], state["pid"])
    except (OSError, ValueError, KeyError):
        return None
    try:
        cloud.get("/clock")
    except (OSError, LocalCloudError):
        forget(cloud)
        return None
    return cloud


def capabilities() -> list[str]:
    """The names of all capabilities: what lies beside the pipeline under terraform/."""
    beside = {path.parent.name for path in (ROOT / "terraform").glob("*/main.tf")}
    return sorted(beside - {"pipeline"})


def forget(cloud: LocalCloud) -> None:
    shutil.rmtree(cloud.folder, ignore_errors=True)
    STATE.unlink(missing_ok=True)
    ACTIVATE.unlink(missing_ok=True)


def start(environment: str = "dev") -> int:
    if cloud := running():
        print(f"Already running on 127.0.0.1:{cloud.port}: source .local/activate")
        return 0
    cloud = LocalCloud.start(stay=True)
    try:
        deployment = Deployment.prepare(cloud)
        print(f"provider  {deployment.provider.title}")
        demo = Demo(cloud)
        words = ["bootstrap", "YES=1"]
        if environment == SHOWCASE:
            words.append(f"CAPABILITIES={' '.join(capabilities())}")
        with demo.step(f"make {shlex.join(words)} PROJECT={cloud.project}"), demo.progress():
            print("    " + summary(deployment.make(*words).stdout))
        words = ["apply", f"ENV={environment}", "YES=1"]
        with demo.step(f"make {shlex.join(words)} PROJECT={cloud.project}"), demo.progress():
            print("    " + summary(deployment.make(*words).stdout))
        outputs = deployment.outputs(environment)
    except BaseException as error:
        cloud.stop()
        if isinstance(error, CommandFailed | LocalCloudError | RuntimeError):
            print(f"Not started: {error}", file=sys.stderr)
            return 1
        raise
    names = {
        "PROJECT": cloud.project,
        "TF_VAR_project_id": cloud.project,
        "UPLOADS": outputs["uploads_bucket"],
        "RESULTS": outputs["results_bucket"],
        "ENV": environment,
    }
    STATE.parent.mkdir(exist_ok=True)
    write_activate(deployment.environ_added() | names | {"PYTHON": sys.executable})
    record = {
        "folder": str(cloud.folder),
        "project": cloud.project,
        "port": cloud.port,
        "pid": cloud.pid,
    }
    STATE.write_text(json.dumps(record))
    print(f"""
It runs on 127.0.0.1:{cloud.port} until `make local-stop`. Now, in your shell:

    source .local/activate
    gsutil cp photo.jpg gs://$UPLOADS/
    gsutil ls "gs://$RESULTS/**"
    make logs OBJECT=gs://$UPLOADS/photo.jpg
    make verify               # and plan, apply, ops, as on Google: PROJECT is {cloud.project}
    deactivate_local""")
    return 0


def stop() -> int:
    cloud = running()
    if cloud is None:
        print("No local cloud runs here.")
        return 0
    cloud.stop()
    forget(cloud)
    print("Stopped; nothing is left of it.")
    return 0


def write_activate(environ: dict[str, str]) -> None:
    """A file to source: sets the variables, and defines what puts the old ones back."""
    lines = ["# source this file; deactivate_local undoes it", "deactivate_local() {"]
    for name in environ:
        lines.append(
            f'  if [ -n "${{_local_had_{name}-}}" ]; then export {name}="$_local_old_{name}"; '
            f"else unset {name}; fi; unset _local_had_{name} _local_old_{name}"
        )
    lines += ["  unset -f deactivate_local", "}"]
    for name, value in environ.items():
        lines.append(
            f'if [ -n "${{{name}+x}}" ]; then '
            f'_local_had_{name}=1; _local_old_{name}="${name}"; fi; '
            f"export {name}={shlex.quote(value)}"
        )
    ACTIVATE.touch(0o600)
    ACTIVATE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(stop() if sys.argv[1:] == ["stop"] else start(*sys.argv[1:]))

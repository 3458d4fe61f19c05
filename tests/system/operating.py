"""Operating a deployed environment: the pages' commands, as a person runs them, and the operator's
tool, without paying for its imports each time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.localcloud.client import OWNER, ROOT
from tests.localcloud.client.deployment import Deployment

RUNBOOK = (ROOT / "docs/runbook.md").read_text()


def commands(kind: str, pages: str = RUNBOOK) -> list[str]:
    """Every command of the pages' blocks of this kind, once."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```$", pages, re.M | re.S)
    return list(dict.fromkeys("".join(blocks).splitlines()))


def typed(deployment: Deployment, command: str, **environ: str) -> tuple[int, str]:
    """Exit code and output, as of a person in a checkout whose Python environment is this one."""
    python = Path(sys.executable)
    ours = f"-o prepare BIN={python.parent} PYTHON={python}"
    text = f'make() {{ command make --no-print-directory {ours} "$@"; }}\n{command}'
    done = deployment.run("bash", "-c", text, check=False, **environ)
    return done.returncode, done.stdout


# Runs `python -m scripts.ops` as often as it is told on stdin. Each is a process of its own, forked
# after the imports, which take most of a command's time. It ends without gRPC's own end, which
# counts on threads that no fork has: 1 of 500 crashed there, none of 600 started as users do.
FORKING = """
import gc, json, os, sys, traceback
import google.auth.transport.requests, google.cloud.pubsub_v1, google.cloud.storage
import google.cloud.tasks_v2
import scripts.ops.cli
gc.freeze()
for line in sys.stdin:
    words, environ, out, err = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(environ)
        for fd, name in ((0, os.devnull), (1, out), (2, err)):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), fd)
        sys.argv[1:] = words
        code = 1
        try:
            scripts.ops.cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


ASKING = {"-e", "--outputs", "--project"}  # what a command says of where its outputs are from


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Operator:
    """Runs one command after another in the deployed checkout, each in a process of its own.

    Args:
        outputs: what Terraform would say, for the owner's commands; nothing to ask it each time.
    """

    def __init__(self, deployment: Deployment, outputs: dict[str, Any] | None = None) -> None:
        self._deployment = deployment
        self._told: tuple[str, ...] = ()
        if outputs:
            file = deployment.cloud.folder / "ops.outputs"
            file.write_text(json.dumps(outputs))
            self._told = "--outputs", str(file)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKING], cwd=self._deployment.checkout, text=True,
            env=self._deployment.environ | {"GRPC_ENABLE_FORK_SUPPORT": "0"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            assert process.stdin
            process.stdin.close()

    def __call__(self, *words: str, member: str = OWNER, **more: str) -> Ran:
        """more: environment variables."""
        cloud = self._deployment.cloud
        environ = self._deployment.environ | cloud.environ(member) | more
        if member == OWNER and not more and not ASKING & {*words}:
            words = self._told + words
        out, err = (cloud.folder / f"ops.{name}" for name in ("out", "err"))
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([words, environ, str(out), str(err)]) + "\n")
        self._process.stdin.flush()
        return Ran(int(self._process.stdout.readline()), out.read_text(), err.read_text())

"""Gates beside lint, types and tests: `python3 -m scripts.checks.gates [NAME …]`, offline.

checkov     Terraform and workflows against its own policies and those of tests/policies/checks
zizmor      workflows and dependabot, at its strictest
shellcheck  every shell script
yamllint    every YAML file that is not a fixture
actionlint  workflows, where the machine has it or Go can get it; else its absence is said
secrets     nothing that looks like a key in any file
links       every link inside the repository leads somewhere
tables      the tables in the READMEs beside Terraform code are those of the code

The tools come from tests/requirements-gates.txt and live in an environment of their own, made once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import links, secret_scan

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import prepare  # noqa: E402 - a program of scripts/, as its neighbours import it

TOOLS = ROOT / ".cache/gates"
ACTIONLINT = "1.7.12"
POLICIES = "tests/policies/checks"
NOT_SCANNED = ("tests", ".venv", ".cache", ".local", "build")
# What of checkov's own policies is not followed, and why. tests/policies asks whether each reason
# still holds, and whether each is still needed.
SKIPS = {
    "CKV_GCP_125": "it wants a condition on `sub`; numeric ids hold what a name in `sub` cannot",
    "CKV_GCP_62": "usage logs are for public buckets; these let no public in",
    "CKV_GCP_83": "events describe files; what is in files lies in buckets, and those take a key",
    "CKV_GHA_7": "a run by hand chooses an environment and a digest; what is built is main's",
}
# An expression of a workflow is one line.
YAML = (
    "{extends: default, rules: {braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content:"
    " 1}, document-start: disable, line-length: {max: 110, ignore: [approvals.yaml]},"
    " truthy: {check-keys: false}}}"
)


Rows = dict[str, set[tuple[str, str, str]]]


class Found(Exception):
    """A gate is not passed; the message is what it found."""


def files() -> list[Path]:
    """Every file of the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def checkov() -> str:
    found = checked(".")
    if problems := judged(found):
        raise Found("\n".join(problems))
    return f"{len(found['passed'])} passed, {len(SKIPS)} policies left out"


def checked(folder: str) -> Rows:
    """passed, failed → (policy, resource, where) of all that checkov says about a folder.

    Raises:
        Found: it says nothing that can be read, or could not read everything.
    """
    command = [str(TOOLS / "bin/checkov"), "--skip-download", "--compact", "--output", "json"]
    command += ["--framework", "terraform", "github_actions", "--external-checks-dir", POLICIES]
    for other in NOT_SCANNED if folder == "." else ():
        command += ["--skip-path", other]
    done = subprocess.run([*command, "--directory", folder], cwd=ROOT, capture_output=True)
    try:
        reports = json.loads(done.stdout)
    except ValueError as error:
        raise Found((done.stdout + done.stderr).decode(errors="replace").strip()) from error
    found: Rows = {"passed": set(), "failed": set()}
    for report in reports if isinstance(reports, list) else [reports]:
        if unread := report["results"]["parsing_errors"]:
            raise Found(f"checkov cannot read {', '.join(unread)}")
        for kind, rows in found.items():
            for row in report["results"][f"{kind}_checks"]:
                where = f"{row['file_path']}:{row['file_line_range'][0]}: {row['check_name']}"
                rows.add((row["check_id"], row["resource"], where))
    return found


def own_policies() -> set[str]:
    texts = (path.read_text("utf-8") for path in (ROOT / POLICIES).glob("*.yaml"))
    return {name for text in texts for name in re.findall(r'^ +id: "?(\w+)', text, re.M)}


def judged(found: Rows) -> list[str]:
    """What fails and is not left out; what is left out and would pass; what our own do not see."""
    failed = {policy for policy, _, _ in found["failed"]}
    seen = {policy for policy, _, _ in found["passed"]} | failed
    return [
        *sorted(f"{w}: {policy} {on}" for policy, on, w in found["failed"] if policy not in SKIPS),
        *(f"{name} is left out, and nothing fails it: see SKIPS" for name in SKIPS.keys() - failed),
        *(f"{name} sees nothing that it could judge" for name in own_policies() - seen),
    ]


def zizmor() -> str:
    return _run(TOOLS / "bin/zizmor", "--offline", "--quiet", "--persona", "auditor", ".github")


def shellcheck() -> str:
    scripts = [path for path in files() if _is_shell(path)]
    return _run(TOOLS / "bin/shellcheck", *scripts) or f"{len(scripts)} scripts"


def _is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(80)
    return path.suffix == ".sh" or (first.startswith(b"#!") and first.rstrip().endswith(b"sh"))


def yamllint() -> str:
    found = [path for path in files() if path.suffix in (".yml", ".yaml")]
    return _run(TOOLS / "bin/yamllint", "--strict", "-d", YAML, *found) or f"{len(found)} files"


def actionlint() -> str:
    """The machine's, else the pinned one, which Go gets once and checks against its database."""
    command = shutil.which("actionlint")
    if command is None:
        if shutil.which("go") is None:
            return "NOT RUN: neither actionlint nor Go, which could get it, is on this machine"
        folder = TOOLS / f"actionlint-{ACTIONLINT}"
        command = str(folder / "actionlint")
        if not Path(command).exists():
            module = f"github.com/rhysd/actionlint/cmd/actionlint@v{ACTIONLINT}"
            got = subprocess.run(
                ["go", "install", module],
                env=os.environ | {"GOBIN": str(folder)},
                capture_output=True,
                text=True,
            )
            if got.returncode:
                return "NOT RUN: Go cannot get it: " + got.stderr.strip().rpartition("\n")[2]
    return _run(command, "-shellcheck", TOOLS / "bin/shellcheck")


def secrets() -> str:
    held = files()
    if found := secret_scan.scan(held, ROOT):
        raise Found("\n".join(found))
    return f"{len(held)} files"


def resolve() -> str:
    pages = [path for path in files() if path.suffix == ".md"]
    if found := links.broken(pages, ROOT):
        raise Found("\n".join(found))
    return f"{len(pages)} pages"


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Found((done.stdout + done.stderr).strip() or f"exit code {done.returncode}")
    return ""


GATES: dict[str, Callable[[], str]] = {
    "checkov": checkov,
    "zizmor": zizmor,
    "shellcheck": shellcheck,
    "yamllint": yamllint,
    "actionlint": actionlint,
    "secrets": secrets,
    "links": resolve,
    "tables": lambda: _run(sys.executable, "scripts/docs_tables.py", "--check"),
}


def passed(name: str) -> bool:
    """Runs one gate and says in a line, or in what it found, how it ended."""
    began = time.monotonic()
    try:
        note = GATES[name]()
    except Found as error:
        print(f"gate {name}: FAILED\n{error}", flush=True)
        return False
    seconds = time.monotonic() - began
    print(f"gate {name}: ok ({seconds:.1f} s){': ' + note if note else ''}", flush=True)
    return True


def main() -> int:
    wanted = sys.argv[1:] or list(GATES)
    if unknown := set(wanted) - GATES.keys():
        print(f"gates: no gate {', '.join(unknown)}; there are {', '.join(GATES)}", file=sys.stderr)
        return 2
    try:
        prepare.environment(TOOLS, (ROOT / "tests/requirements-gates.txt", ()))
    except prepare.Unprepared as error:
        print(f"Cannot go on: {error}.", file=sys.stderr)
        return 1
    with ThreadPoolExecutor() as pool:
        return 0 if all(list(pool.map(passed, wanted))) else 1


if __name__ == "__main__":
    sys.exit(main())

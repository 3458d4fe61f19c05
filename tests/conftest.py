"""What tests have to say beside passing, printed once at the end of the run; where they leave their
temporary files; and what a skipped test means.

`record_property(SAYS, text)` in a test, so that it reaches the terminal from parallel workers too.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from typing import Any

import pytest

SAYS = "says"
FOLDER = pytest.StashKey[str]()
# Where SKIPS=fail (make check), a skipped proof is a failure. Only curl, Google's own client and
# what shows code for Node may be missing, from a person's machine: CI has them all.
OPTIONAL = ("curl", "gcloud", "node")
# Folders whose files share a deployment.
TOGETHER = ("tests/approvals/", "tests/portal/")
# What takes minutes begins first, so that no worker is left alone with it at the end.
LONG = (
    "tests/permissions/",
    "tests/portal/",
    "tests/batch/",
    "tests/system/test_environments.py",
    "tests/bench/",
    "tests/corpus/",
    "tests/ci/",
    "tests/system/",
    "tests/approvals/",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return next((n for n, begin in enumerate(LONG) if item.nodeid.startswith(begin)), len(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """--dist=loadfile, but the files that share a deployment run in one worker, which makes it."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    return Scheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """One folder for all temporary files, also those of processes that are killed."""
    # Terraform's runs are short: collecting garbage took a quarter of their CPU.
    os.environ.setdefault("GOGC", "800")
    os.environ.setdefault("GOMEMLIMIT", "1GiB")
    if not hasattr(config, "workerinput"):
        config.stash[FOLDER] = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="tests-")
        tempfile.tempdir = None


def pytest_collection_finish() -> None:
    """Thousands of tests and their modules stay: looking through them again and again is dear."""
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """It stays where something failed, to look at."""
    if exitstatus == 0 and (folder := session.config.stash.get(FOLDER, "")):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    if report.skipped and os.environ.get("SKIPS") == "fail" and not _may_skip(report.longrepr):
        report.longrepr = f"{item.nodeid} was skipped, and so proves nothing: {report.longrepr}"
        report.outcome = "failed"
    return report


def _may_skip(why: object) -> bool:
    """why: (path, line, reason) of a skip; a path may be anybody's, such as /home/node."""
    reason = str(why[2] if isinstance(why, tuple) else why)
    missing = [tool for tool in OPTIONAL if tool in reason and not shutil.which(tool)]
    return bool(missing) and not os.environ.get("CI")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said: dict[str, None] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == SAYS:
                    said[text] = None
    for text in said:
        terminalreporter.write_line(text)

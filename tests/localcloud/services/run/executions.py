"""Executions of Cloud Run jobs: tasks as processes, tried again, timed, cancelled.

Tasks run on real time, and the clock may go on meanwhile: no advance waits for them. A task gets
SIGTERM at its timeout or when its execution is cancelled, and SIGKILL 10 s later.
https://docs.cloud.google.com/run/docs/container-contract
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import string
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...core import fields
from ...core.api import Json
from ..artifacts.service import Image
from ..functions.build import WITH_PARENT
from .fleet import WATCH
from .programs import Program, payload

if TYPE_CHECKING:
    from .jobs import Jobs

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}
FAILED = "The container exited with an error."


def memory(limit: str) -> int:
    """Such as 512Mi → bytes; 0 for what is not a quantity."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|k|M|G|)", limit)
    return int(match[1]) * UNITS[match[2]] if match else 0


@dataclass(eq=False)
class Task:
    """One task of an execution, and the process that runs it now."""

    index: int
    spec: Json
    program: Program | None = None
    attempt: int = 0


@dataclass(eq=False)
class Execution:
    """A run of a job.

    Attributes:
        spec: the resource as the API shows it; its template is what runs, overrides included.
        ended: done once no task runs any more.
    """

    spec: Json
    image: Image
    cancelled: bool = False
    tasks: list[Task] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def short(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def job(self) -> str:
        return self.name.split("/")[5]


def condition(state: str, now: str, reason: str = "", message: str = "") -> Json:
    made = {"type": "Completed", "state": f"CONDITION_{state}", "lastTransitionTime": now}
    made |= {"executionReason": reason} if reason else {}
    return made | ({"message": message} if message else {})


def suffix() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))


class Runner:
    """Works off executions."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._cloud = jobs, jobs.cloud

    async def perform(self, execution: Execution) -> None:
        """All tasks of an execution, as many at a time as it wants; then its end is noted."""
        spec, now = execution.spec, self._cloud.clock.timestamp
        spec |= {"startTime": now(), "runningCount": 0}
        width = asyncio.Semaphore(spec["parallelism"] or spec["taskCount"])
        for index in range(spec["taskCount"]):
            about: Json = {"name": f"{execution.name}/tasks/{execution.short}-task{index}"}
            about |= {"index": index, "createTime": now(), "execution": execution.name}
            about |= {"job": execution.name.partition("/executions/")[0], "retried": 0}
            execution.tasks.append(Task(index, about | spec["template"]))

        async def one(task: Task) -> None:
            async with width:
                spec["runningCount"] += 1
                await self._task(execution, task)
                spec["runningCount"] -= 1

        try:
            await asyncio.gather(*map(one, execution.tasks))
        finally:
            self._end(execution)

    def _end(self, execution: Execution) -> None:
        spec, now = execution.spec, self._cloud.clock.timestamp()
        spec |= {"completionTime": now, "reconciling": False, "runningCount": 0}
        if execution.cancelled:
            spec["conditions"] = [condition("FAILED", now, "CANCELLED", "Execution was cancelled.")]
        elif spec.get("failedCount"):
            text = (
                f"Task {execution.short} failed with message: The container exited with an error."
            )
            spec["conditions"] = [condition("FAILED", now, "NON_ZERO_EXIT_CODE", text)]
        else:
            spec["conditions"] = [condition("SUCCEEDED", now)]
        execution.ended.set()
        self._cloud.journal.write(
            "run.execution",
            job=execution.job,
            execution=execution.short,
            state=spec["conditions"][0]["state"],
            succeeded=spec.get("succeededCount", 0),
            failed=spec.get("failedCount", 0),
        )

    async def _task(self, execution: Execution, task: Task) -> None:
        """Attempts until one succeeds, the retries are spent, or the execution is cancelled."""
        spec, counts = task.spec, execution.spec
        retries = int(spec.get("maxRetries", 0))
        spec["startTime"] = self._cloud.clock.timestamp()
        while not execution.cancelled:
            code = await self._attempt(execution, task)
            result: Json = {"termSignal": -code} if code < 0 else {"exitCode": code}
            failed = {"status": {"code": 2, "message": FAILED}}
            spec["lastAttemptResult"] = result | (failed if code else {})
            if code == 0 or execution.cancelled or task.attempt >= retries:
                break
            counts["retriedCount"] = counts.get("retriedCount", 0) + (task.attempt == 0)
            task.attempt += 1
            spec["retried"] = task.attempt
        now = self._cloud.clock.timestamp()
        spec["completionTime"] = now
        done = spec.get("lastAttemptResult", {}).get("exitCode") == 0
        kind = "succeeded" if done else "cancelled" if execution.cancelled else "failed"
        counts[f"{kind}Count"] = counts.get(f"{kind}Count", 0) + 1
        spec["conditions"] = [condition("SUCCEEDED" if done else "FAILED", now)]

    async def _attempt(self, execution: Execution, task: Task) -> int:
        """One process from start to end: its exit code, negative for a signal."""
        run = self._cloud.run
        # Short: programs put Unix sockets below it.
        own = f"{execution.short.rpartition('-')[2]}-{task.index}-{task.attempt}"
        folder = self._cloud.folder / "instances" / own
        program = task.program = Program(folder, lambda line: self._log(execution, task, line))
        container, image = task.spec["containers"][0], execution.image
        variables = await run.surroundings(
            image.environment.python, task.spec["serviceAccount"], execution.name.split("/")[3]
        )
        variables |= image.recipe.variables | {
            "CLOUD_RUN_JOB": execution.job,
            "CLOUD_RUN_EXECUTION": execution.short,
            "CLOUD_RUN_TASK_INDEX": str(task.index),
            "CLOUD_RUN_TASK_ATTEMPT": str(task.attempt),
            "CLOUD_RUN_TASK_COUNT": str(execution.spec["taskCount"]),
        }
        variables |= {one["name"]: one.get("value", "") for one in container.get("env", ())}
        command = [*(container.get("command") or image.recipe.entrypoint)]
        command += container.get("args") or ([] if "command" in container else image.recipe.command)
        work = image.root / image.recipe.workdir.lstrip("/")
        start = [sys.executable, "-I", "-S", "-c", WITH_PARENT, *command]
        try:
            await program.run(start, work, variables)
        except OSError as error:
            self._log(execution, task, f"The task cannot be started: {error}", "ERROR")
            return 127
        watch = asyncio.ensure_future(self._watch(execution, task, program))
        try:
            await self._until(execution, task, program)
        finally:
            watch.cancel()
            program.kill()
        return 127 if program.status is None else program.status

    async def _until(self, execution: Execution, task: Task, program: Program) -> None:
        """The end of a process: its own, or that of its time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(program.exited(), fields.seconds(task.spec["timeout"]))
            return
        text = "Terminating task because it has reached the maximum timeout of "
        self._log(execution, task, text + task.spec["timeout"], "ERROR")
        await self.end(program)

    async def end(self, program: Program) -> None:
        """SIGTERM, and SIGKILL for what is still there after the grace period."""
        program.kill(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(program.exited(), GRACE)
            return
        program.kill()
        await program.exited()

    async def _watch(self, execution: Execution, task: Task, program: Program) -> None:
        """Kills a process over its memory."""
        limit = memory(task.spec["containers"][0]["resources"]["limits"]["memory"])
        while True:
            await asyncio.sleep(WATCH)
            # The cheap sum counts shared pages twice: it can only be too high.
            if program.memory() > limit and (used := program.memory(exact=True)) > limit:
                text = f"Memory limit of {limit >> 20} MiB exceeded with {used >> 20} MiB used."
                self._log(execution, task, text, "ERROR")
                program.kill()
                return

    def _log(self, execution: Execution, task: Task, line: str, severity: str = "") -> None:
        content = payload(line)
        said = content.get("severity", "DEFAULT") if isinstance(content, dict) else "DEFAULT"
        more: dict[str, Any] = {"execution": execution.short, "task": task.index}
        self._cloud.journal.write(
            "log",
            service="",
            revision="",
            job=execution.job,
            location=execution.name.split("/")[3],
            severity=severity or str(said),
            payload=content,
            attempt=task.attempt,
            **more,
        )


def pid_of(task: Task) -> int:
    return task.program.pid if task.program and task.program.alive else 0


def running(execution: Execution) -> list[Task]:
    """The tasks whose process is there."""
    return [task for task in execution.tasks if pid_of(task)]


def kill_all(execution: Execution) -> None:
    """The processes die at once, as with their machine."""
    for task in running(execution):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid_of(task), signal.SIGKILL)

"""What an environment takes of Cloud Run at most, by its plan, and what the project may take."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from known import Refused
from prepare import ROOT
from runner import SavedPlan

QUOTAS = "https://console.cloud.google.com/iam-admin/quotas?service=run.googleapis.com&project="
GIB = {"": 2**-30, "Ki": 2**-20, "Mi": 2**-10, "Gi": 1, "M": 1e6 / 2**30, "G": 1e9 / 2**30}


@dataclass(frozen=True)
class Need:
    """A function or a job with all its instances: vCPU, and memory in GiB."""

    name: str
    region: str
    cpu: float
    memory: float


def needs(shown: dict[str, Any]) -> Iterator[Need]:
    """Of a plan as `terraform show -json` tells it: what there is once it is applied."""
    for values in _planned(shown.get("planned_values", {}).get("root_module", {})):
        if service := values.get("service_config"):
            count = service[0]["max_instance_count"]
            cpu, memory = service[0]["available_cpu"], service[0]["available_memory"]
        else:
            outer = values["template"][0]
            limits = outer["template"][0]["containers"][0]["resources"][0]["limits"]
            count, cpu, memory = outer.get("parallelism") or 1, limits["cpu"], limits["memory"]
        yield Need(values["name"], values["location"], count * _cpu(cpu), count * _gib(memory))


def _planned(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kinds = ("google_cloudfunctions2_function", "google_cloud_run_v2_job")
    yield from (one["values"] for one in module.get("resources", []) if one["type"] in kinds)
    for child in module.get("child_modules", []):
        yield from _planned(child)


def _cpu(text: str) -> float:
    """2 or 500m."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _gib(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", text).groups()  # type: ignore[union-attr]
    return float(number) * GIB[unit]


def tell(plan: SavedPlan) -> list[Need]:
    """One line: what all instances together take at most."""
    found = list(needs(plan.shown))
    if found:
        largest = max(found, key=lambda need: need.cpu)
        print(
            f"deploy: with all their instances, {plan.environment.name}'s functions take "
            f"{sum(need.cpu for need in found):g} vCPU and {sum(need.memory for need in found):g} "
            f"GiB; {largest.name} alone {largest.cpu:g} vCPU and {largest.memory:g} GiB"
        )
    return found


def compare(project: str, found: list[Need], python: str | None) -> None:
    """With the project's quota, where the operator's tool is there and the login may read it.

    Raises:
        Refused: one of them would be refused by Google, after some minutes.
    """
    for region in sorted({need.region for need in found}):
        here = [need for need in found if need.region == region]
        quota = _quota(project, region, python)
        for unit, quota_id, attribute in (
            ("vCPU", "CpuAllocPerProjectRegion", "cpu"),
            ("GiB", "MemAllocPerProjectRegion", "memory"),
        ):
            allowed = quota.get(attribute)
            if allowed is None:
                continue
            ask = f"ask for more {quota_id}: {QUOTAS}{project}"
            for need in here:
                if (one := getattr(need, attribute)) > allowed:
                    raise Refused(
                        f"{need.name} takes {one:g} {unit} with all its instances, and {project} "
                        f"may take {allowed:g} in {region}, so Google would refuse it. Lower its "
                        f"max_instances, or {ask}"
                    )
            if (total := sum(getattr(need, attribute) for need in here)) > allowed:
                print(
                    f"deploy: together they would take {total:g} {unit}, and {project} may take "
                    f"{allowed:g} in {region}: at full load some instances will not start. To have "
                    f"them all, {ask}"
                )


def _quota(project: str, region: str, python: str | None) -> dict[str, float]:
    if python is None:
        return {}
    command = [python, "-m", "scripts.ops.quota", project, region]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

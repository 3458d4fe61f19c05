"""Cloud Logging and Cloud Monitoring: the definitions that Terraform makes are kept.

Log entries are what the functions wrote. Nothing is measured here: tests derive metrics from the
journal.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core.api import Call, Json, rpc
from ...core.errors import ApiError
from ...core.records import Records
from .logfilter import FilterError, compiled

if TYPE_CHECKING:
    from ...core.server import Cloud

METRICS = "logging.projects.metrics"
POLICIES = "monitoring.projects.alertPolicies"
CHANNELS = "monitoring.projects.notificationChannels"
DASHBOARDS = "monitoring.projects.dashboards"
SERVICES = "monitoring.services"
OBJECTIVES = "monitoring.services.serviceLevelObjectives"


def project(call: Call, key: str = "name") -> str:
    """The project of a resource name: where these services ask for permission."""
    return "/".join(call.params[key].split("/")[:2])


# Fields of a line that Cloud Run takes out of the payload, and where it puts them.
LIFTED = {"logging.googleapis.com/trace": "trace", "logging.googleapis.com/spanId": "spanId"}
PAGE = 50


def entry(line: Mapping[str, Any], project: str, number: int = 0) -> Json:
    """The LogEntry that Cloud Run or Workflows makes of a line of the journal (kind log)."""
    kind, more, log = "cloud_run_revision", {}, "run.googleapis.com%2Fstdout"
    if workflow := line.get("workflow"):
        kind, log = "workflows.googleapis.com/Workflow", "Workflows"
        labels = {"workflow_id": workflow, "location": line["location"]}
        more = {"labels": {"workflows.googleapis.com/execution_id": line["execution"]}}
    elif job := line.get("job"):
        kind, labels = "cloud_run_job", {"job_name": job, "location": line["location"]}
        about = {"execution_name": line["execution"], "task_index": str(line["task"])}
        about |= {"task_attempt": str(line["attempt"])}
        more = {"labels": {f"run.googleapis.com/{k}": v for k, v in about.items()}}
    else:
        labels = {"service_name": line["service"], "configuration_name": line["service"]}
        labels |= {"revision_name": line["revision"], "location": line["location"]}
    made: Json = {
        "insertId": f"{number:012d}",
        "logName": f"projects/{project}/logs/{log}",
        "timestamp": line["time"],
        "receiveTimestamp": line["time"],
        "severity": line["severity"],
        "resource": {
            "type": kind,
            "labels": labels | {"project_id": project},
        },
    } | more
    payload = line["payload"]
    if not isinstance(payload, dict):
        return made | {"textPayload": str(payload)}
    made |= {LIFTED[key]: payload[key] for key in LIFTED if key in payload}
    kept = {key: value for key, value in payload.items() if key not in LIFTED}
    return made | {"jsonPayload": {k: v for k, v in kept.items() if k != "severity"}}


class Logging(Records):
    documents = ("logging.v2",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.known: dict[str, float] = {}  # metric → when Cloud Monitoring knows it

    @rpc("logging.entries.list")
    def list_entries(self, call: Call) -> Json:
        project = f"projects/{self.cloud.project}"
        if call.body.get("resourceNames") != [project]:
            raise ApiError(400, f"Not served here: logs of anything but {project}.")
        self.cloud.iam.require(call.principal, "logging.logEntries.list", project)
        try:
            wanted = compiled(call.body.get("filter", ""))
        except FilterError as error:
            raise ApiError(400, f"Unparseable filter: {error}.") from None
        self.cloud.journal.flush()
        found = []
        with (self.cloud.folder / "journal.jsonl").open(encoding="utf-8") as lines:
            for number, text in enumerate(lines):
                if '"kind":"log"' in text:
                    one = entry(json.loads(text), self.cloud.project, number)
                    if wanted(one):
                        found.append(one)
        if call.body.get("orderBy", "").endswith("desc"):
            found.reverse()
        start, size = int(call.body.get("pageToken") or 0), call.body.get("pageSize") or PAGE
        more = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
        return {"entries": found[start : start + size]} | more

    @rpc(f"{METRICS}.create", "logging.logMetrics.create", on="{parent}")
    def create_metric(self, call: Call) -> Json:
        name = f"{call.params['parent']}/metrics/{call.body['name']}"
        self.known[call.body["name"]] = self.cloud.clock.now() + self.cloud.faults.metric_seconds
        return self._add(name, {"resourceName": name} | call.body)

    @rpc(f"{METRICS}.get", "logging.logMetrics.get", on=lambda call: project(call, "metricName"))
    def get_metric(self, call: Call) -> Json:
        return self._get(call, "metricName")

    @rpc(
        f"{METRICS}.update",
        "logging.logMetrics.update",
        on=lambda call: project(call, "metricName"),
    )
    def update_metric(self, call: Call) -> Json:
        return self._update(call, "metricName")

    @rpc(
        f"{METRICS}.delete",
        "logging.logMetrics.delete",
        on=lambda call: project(call, "metricName"),
    )
    def delete_metric(self, call: Call) -> Json:
        return self._delete(call, "metricName")


class Monitoring(Records):
    documents = ("monitoring.v3", "monitoring.v1")

    def _create(self, call: Call, collection: str, part: str = "") -> Json:
        """Adds a record under a new number; `part` names members that get names of their own."""
        name = f"{call.params.get('name') or call.params['parent']}/{collection}/"
        name += str(self.cloud.clock.tick_micros())
        for index, member in enumerate(call.body.get(part, ())):
            member["name"] = f"{name}/{part}/{index}"
        return self._add(name, call.body | {"name": name})

    @rpc(f"{POLICIES}.create", "monitoring.alertPolicies.create", on="{name}")
    def create_policy(self, call: Call) -> Json:
        return self._create(call, "alertPolicies", "conditions")

    @rpc(f"{CHANNELS}.create", "monitoring.notificationChannels.create", on="{name}")
    def create_channel(self, call: Call) -> Json:
        return self._create(call, "notificationChannels")

    @rpc(f"{DASHBOARDS}.create", "monitoring.dashboards.create", on="{parent}")
    def create_dashboard(self, call: Call) -> Json:
        return self._create(call, "dashboards") | {"etag": "0"}

    @rpc(f"{SERVICES}.create", "monitoring.services.create", on="{parent}")
    def create_service(self, call: Call) -> Json:
        service = call.params.get("serviceId") or self.cloud.clock.tick_micros()
        name = f"{call.params['parent']}/services/{service}"
        return self._add(name, call.body | {"name": name})

    @rpc(f"{OBJECTIVES}.create", "monitoring.slos.create", on=lambda c: project(c, "parent"))
    def create_objective(self, call: Call) -> Json:
        now, known = self.cloud.clock.now(), self.cloud.logging.known
        for metric in re.findall(r"logging\.googleapis\.com/user/([\w.-]+)", json.dumps(call.body)):
            if known.get(metric, math.inf) > now:
                raise ApiError(400, "Invalid SLO definition: The metric referenced by the provided "
                               "filter is unknown. Check the metric name and labels.")  # fmt: skip
        objective = call.params.get("serviceLevelObjectiveId") or self.cloud.clock.tick_micros()
        name = f"{call.params['parent']}/serviceLevelObjectives/{objective}"
        return self._add(name, call.body | {"name": name})

    @rpc(f"{POLICIES}.list", "monitoring.alertPolicies.list", on="{name}")
    def list_policies(self, call: Call) -> Json:
        return {"alertPolicies": self._under(call.params["name"] + "/alertPolicies")}

    @rpc(f"{POLICIES}.get", "monitoring.alertPolicies.get", on=project)
    @rpc(f"{CHANNELS}.get", "monitoring.notificationChannels.get", on=project)
    @rpc(f"{DASHBOARDS}.get", "monitoring.dashboards.get", on=project)
    @rpc(f"{SERVICES}.get", "monitoring.services.get", on=project)
    @rpc(f"{OBJECTIVES}.get", "monitoring.slos.get", on=project)
    def get(self, call: Call) -> Json:
        return self._get(call)

    @rpc(f"{POLICIES}.patch", "monitoring.alertPolicies.update", on=project)
    @rpc(f"{CHANNELS}.patch", "monitoring.notificationChannels.update", on=project)
    @rpc(f"{DASHBOARDS}.patch", "monitoring.dashboards.update", on=project)
    @rpc(f"{OBJECTIVES}.patch", "monitoring.slos.update", on=project)
    def patch(self, call: Call) -> Json:
        return self._update(call)

    @rpc(f"{POLICIES}.delete", "monitoring.alertPolicies.delete", on=project)
    @rpc(f"{CHANNELS}.delete", "monitoring.notificationChannels.delete", on=project)
    @rpc(f"{DASHBOARDS}.delete", "monitoring.dashboards.delete", on=project)
    @rpc(f"{SERVICES}.delete", "monitoring.services.delete", on=project)
    @rpc(f"{OBJECTIVES}.delete", "monitoring.slos.delete", on=project)
    def delete(self, call: Call) -> Json:
        return self._delete(call)

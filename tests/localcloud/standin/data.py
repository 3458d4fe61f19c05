"""The data sources."""

from __future__ import annotations

from collections.abc import Callable

from .engine import State
from .rest import ApiError, Cloud
from .tables import Table


def _project(cloud: Cloud, config: State) -> State:
    project = config["project_id"] or cloud.project
    answer = cloud.call("GET", "cloudresourcemanager", f"projects/{project}")
    if answer.get("lifecycleState") != "ACTIVE":
        raise ApiError(0, f"projects/{project} not found or not in ACTIVE state")
    billing = cloud.call("GET", "cloudbilling", f"projects/{project}/billingInfo")
    labels = answer.get("labels") or {}
    parent = answer.get("parent") or {}
    return {
        "billing_account": billing.get("billingAccountName", "").removeprefix("billingAccounts/"),
        "effective_labels": labels,
        "folder_id": parent.get("id") if parent.get("type") == "folder" else "",
        "id": f"projects/{project}",
        "labels": labels,
        "name": answer.get("name"),
        "number": str(answer["projectNumber"]),
        "org_id": parent.get("id") if parent.get("type") == "organization" else "",
        "project_id": answer["projectId"],
        "terraform_labels": labels,
    }


def _storage_account(cloud: Cloud, config: State) -> State:
    project = config["project"] or cloud.project
    email = cloud.call("GET", "storage", f"projects/{project}/serviceAccount")["email_address"]
    return {
        "email_address": email,
        "id": email,
        "member": f"serviceAccount:{email}",
        "project": project,
    }


def _client_config(cloud: Cloud, config: State) -> State:
    return {
        "access_token": cloud.token,
        "default_labels": cloud.default_labels,
        "id": f'projects/"{cloud.project}"/regions/"{cloud.region}"/zones/"{cloud.zone}"',
        "project": cloud.project,
        "region": cloud.region,
        "zone": cloud.zone,
    }


READERS: dict[str, Callable[[Cloud, State], State]] = {
    "google_client_config": _client_config,
    "google_project": _project,
    "google_storage_project_service_account": _storage_account,
}


def read_data(table: Table, cloud: Cloud, config: State) -> State:
    """The state of a data source."""
    return config | READERS[table.name](cloud, config)

"""Who may what: each declared binding is there, and nobody else may use what is declared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..declared import Resource, block
from ..look import Checks, Finding, Level, Look, short
from .resources import PUBSUB, STORAGE, TASKS

PROJECTS = "https://cloudresourcemanager.googleapis.com/v1/projects"
IMAGES = "https://artifactregistry.googleapis.com/v1"
RUN = "https://{region}-run.googleapis.com/v1"
# What bootstrap grants the account that builds functions: on the project, on the images.
BUILDS_WITH = ("roles/logging.logWriter", "roles/storage.objectViewer")
KEEPS_WITH = "roles/artifactregistry.writer"
EVERYBODY = ("allUsers", "allAuthenticatedUsers")
BASIC = ("projectOwner:", "projectEditor:", "projectViewer:")  # who holds a basic role
Pair = tuple[str, str]  # role, member


@dataclass(frozen=True)
class Place:
    """Something with a policy: how to read it, and the command that takes a binding away."""

    name: str
    verb: str
    url: str
    remove: str


def bindings(look: Look) -> Iterator[Finding]:
    declared: dict[str, set[Pair]] = {}
    places = {}
    for resource in look.state.resources:
        if place := _place(resource):
            declared.setdefault(place.name, set()).add(_pair(resource))
            if resource.module:
                places[place.name] = place
    for name, place in places.items():
        policy = look.get(place.verb, place.url)
        if policy is None:
            yield Finding("error", "bindings", f"{name} does not exist", look.apply)
            continue
        live = _pairs(policy)
        for role, member in sorted(declared[name] - live):
            yield Finding("error", "bindings", f"{member} lacks {role} on {name}", look.apply)
        yield from _surplus(place, live - declared[name])


def _surplus(place: Place, pairs: Iterable[Pair]) -> Iterator[Finding]:
    born = {(r, m) for r, m in pairs if "/storage.legacy" in r and m.startswith(BASIC)}
    if born:
        who = ", ".join(sorted({member for _, member in born}))
        what = f"{place.name} is open to {who}, as each new bucket is: docs/operations.md, Doctor"
        yield Finding("note", "bindings", what)
    for role, member in sorted({*pairs} - born):
        level: Level = "error" if member in EVERYBODY else "warning"
        what = f"{member} has {role} on {place.name}, which Terraform did not grant"
        fix = f"{place.remove} --role={role} --member={member}"
        yield Finding(level, "bindings", what, fix)


def project(look: Look) -> Iterator[Finding]:
    """What bootstrap granted is there, and the environment's accounts hold what is declared."""
    project = look.environment.project
    body = {"options": {"requestedPolicyVersion": 3}}
    held = _pairs(look.get("POST", f"{PROJECTS}/{project}:getIamPolicy", body) or {})
    yield from _builds(look, held)
    kind = "google_project_iam_member"
    for role, member in sorted({_pair(binding) for binding in look.state.of(kind)} - held):
        yield Finding("error", "project", f"{member} lacks {role} on {project}", look.apply)
    accounts = {a.values["member"] for a in look.state.of("google_service_account")}
    declared = {_pair(one) for one in look.state.resources if one.kind == kind}
    for role, member in sorted(held - declared):
        if member in accounts:
            what = f"{member} has {role} on {project}, which Terraform did not grant"
            fix = f"gcloud projects remove-iam-policy-binding {project}"
            fix += f" --role={role} --member={member}"
            yield Finding("warning", "project", what, fix)


def _builds(look: Look, held: set[Pair]) -> Iterator[Finding]:
    project = look.environment.project
    builds = {
        (f"serviceAccount:{short(build['service_account'])}", build["docker_repository"])
        for function in look.state.of("google_cloudfunctions2_function")
        for build in [block(function.values, "build_config")]
    }
    for account in sorted({account for account, _ in builds}):
        for role in BUILDS_WITH:
            if (role, account) not in held:
                what = f"{account} lacks {role} on {project}: no function can be built"
                yield Finding("error", "project", what, look.bootstrap)
    for account, images in sorted(builds):
        policy = look.get("GET", f"{IMAGES}/{images}:getIamPolicy") or {}
        if (KEEPS_WITH, account) not in _pairs(policy):
            what = f"{account} lacks {KEEPS_WITH} on {images}: no function can be built"
            yield Finding("error", "project", what, look.bootstrap)


def _place(resource: Resource) -> Place | None:
    """Where an IAM resource of the state puts its binding; None for other resources."""
    v = resource.values
    match resource.kind:
        case "google_storage_bucket_iam_member":
            bucket = v["bucket"].removeprefix("b/")
            url = f"{STORAGE}/{bucket}/iam?optionsRequestedPolicyVersion=3"
            remove = f"gcloud storage buckets remove-iam-policy-binding gs://{bucket}"
            return Place(f"gs://{bucket}", "GET", url, remove)
        case "google_pubsub_topic_iam_member":
            name = f"projects/{v['project']}/topics/{short(v['topic'])}"
            remove = f"gcloud pubsub topics remove-iam-policy-binding {name}"
            return Place(name, "GET", f"{PUBSUB}/{name}:getIamPolicy", remove)
        case "google_pubsub_subscription_iam_member":
            name = f"projects/{v['project']}/subscriptions/{short(v['subscription'])}"
            remove = f"gcloud pubsub subscriptions remove-iam-policy-binding {name}"
            return Place(name, "GET", f"{PUBSUB}/{name}:getIamPolicy", remove)
        case "google_cloud_tasks_queue_iam_member":
            where = f"projects/{v['project']}/locations/{v['location']}"
            name = f"{where}/queues/{short(v['name'])}"
            remove = (
                f"gcloud tasks queues remove-iam-policy-binding {short(name)} "
                f"--location={v['location']} --project={v['project']}"
            )
            return Place(name, "POST", f"{TASKS}/{name}:getIamPolicy", remove)
        case "google_service_account_iam_member":
            name = v["service_account_id"]
            remove = f"gcloud iam service-accounts remove-iam-policy-binding {short(name)}"
            return Place(name, "POST", f"https://iam.googleapis.com/v1/{name}:getIamPolicy", remove)
        case "google_cloud_run_service_iam_member":
            service, region = short(v["service"]), v["location"]
            name = f"projects/{v['project']}/locations/{region}/services/{service}"
            remove = f"gcloud run services remove-iam-policy-binding {service} --region={region}"
            remove += f" --project={v['project']}"
            return Place(name, "GET", f"{RUN.format(region=region)}/{name}:getIamPolicy", remove)
        case "google_cloud_run_v2_job_iam_member":
            job, region = short(v["name"]), v["location"]
            name = f"projects/{v['project']}/locations/{region}/jobs/{job}"
            remove = f"gcloud run jobs remove-iam-policy-binding {job} --region={region}"
            remove += f" --project={v['project']}"
            return Place(name, "GET", f"https://run.googleapis.com/v2/{name}:getIamPolicy", remove)
    return None


def _pair(binding: Resource) -> Pair:
    return binding.values["role"], binding.values["member"]


def _pairs(policy: dict[str, Any]) -> set[Pair]:
    return {(b["role"], m) for b in policy.get("bindings", []) for m in b["members"]}


CHECKS: Checks = {"bindings": bindings, "project": project}

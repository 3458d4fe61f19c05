"""What bootstrap gives the accounts that GitHub's runs become is enough to deliver an environment,
all of it is needed, and none of it could be narrower.

The environment was made by them (see tests/ci/site.py), with all that an environment can have and
every capability that asks for more, and is taken away by the one that applies. That GitHub's runs
become them: tests/ci/test_federation.py.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from scripts.docs_permissions import Grant, Reasons, check, grants, of_delivery, reasons
from tests.ci.site import CAPABLE, Site, delivering, everything
from tests.localcloud.client import LocalCloudError
from tests.localcloud.client.calls import call

from .tools import Binding, bind, narrower_for, redeploy, used, withheld

pytestmark = pytest.mark.timeout(1200)  # a delivery of everything, also where much else runs
Key = tuple[str, str, str]
FEDERATION = "roles/iam.workloadIdentityUser"
REGION = "us-central1"
STORAGE = "https://storage.googleapis.com/storage/v1"
VERSIONS = {"cloudtasks": "v2", "cloudfunctions": "v2", "logging": "v2"}  # of the others, v1
# What is checked on the project is got by a name below it.
BELOW = {
    "logging": "metrics/files-dev-failures",
    "monitoring": "dashboards/files-dev",
    "workflows": f"locations/{REGION}/workflows/files-dev-approvals",
}
Used = dict[str, list[list[str]]]  # {member: [[permission, on]]}
Step = Callable[[Any, str], str]
_serial = itertools.count(1)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with delivering(everything, *CAPABLE) as made:
        yield made


@pytest.fixture(scope="module")
def applied(site: Site) -> dict[Grant, Binding]:
    every = grants(site.deployment.cloud.get("/bindings"))
    held = of_delivery(every)
    return {grant: binding for grant, binding in every.items() if grant in held}


@pytest.fixture(scope="module")
def why(site: Site) -> Reasons:
    return reasons(site.told(), delivery=True)


@pytest.fixture(scope="module")
def delivered(site: Site) -> Used:
    """What each account used to plan, to apply, and to find that nothing differs."""
    told = site.ci("drift")
    assert not json.loads((site.root / "build/ci/dev.json").read_text())["differs"], told
    return dict(site.deployment.cloud.get("/permissions"))


# Necessary: what an account does, and what it was answered.


def gets(delivered: Used, binding: Binding, permission: str) -> Step:
    """Gets again what the delivery got with this binding."""
    on = next(on for own, on in used(binding, delivered) if own == permission)
    if on.startswith("projects/_/buckets/"):
        bucket, _, name = on.removeprefix("projects/_/buckets/").partition("/objects/")
        kept = f"/o/{quote(name, safe='')}" if name else ""
        return lambda site, account: asks(site, account, "GET", f"{STORAGE}/b/{bucket}{kept}")
    service = permission.partition(".")[0]
    on = f"{on}/{BELOW[service]}" if on == f"projects/{binding[0].rpartition('/')[2]}" else on
    url = f"https://{service}.googleapis.com/{VERSIONS.get(service, 'v1')}/{on}"
    return lambda site, account: asks(site, account, "GET", url)


def asks(site: Site, account: str, verb: str, url: str, **more: Any) -> str:
    answer = call(site.deployment.cloud, verb, url, site.member(account), **more)
    assert answer.ok or answer.status_code == 403, answer.text
    return "" if answer.ok else answer.text


def keeps_a_plan(site: Site, account: str) -> str:
    url = f"https://storage.googleapis.com/upload/storage/v1/b/{site.project}-files-plans/o"
    query = {"uploadType": "media", "name": f"reviewed/{next(_serial)}"}
    return asks(site, account, "POST", url, params=query, data=b"{}")


def says_who(site: Site, account: str, url: str, verb: str) -> str:
    """Writes a policy back as it is."""
    policy = call(site.deployment.cloud, verb, f"{url}:getIamPolicy").json()
    return asks(site, account, "POST", f"{url}:setIamPolicy", json={"policy": policy})


def says_who_invokes(site: Site, account: str) -> str:
    services = f"projects/{site.project}/locations/{REGION}/services"
    return says_who(
        site, account, f"https://run.googleapis.com/v1/{services}/files-dev-bridge", "GET"
    )


def says_who_acts(site: Site, account: str) -> str:
    email = f"files-dev-bridge@{site.project}.iam.gserviceaccount.com"
    url = f"https://iam.googleapis.com/v1/projects/{site.project}/serviceAccounts/{email}"
    return says_who(site, account, url, "POST")


def points(name: str) -> Step:
    """Gives a subscription's pushes to its account again."""

    def step(site: Site, account: str) -> str:
        url = f"https://pubsub.googleapis.com/v1/projects/{site.project}/subscriptions/{name}"
        held = call(site.deployment.cloud, "GET", url).json()
        change = {
            "subscription": {"name": held["name"], "pushConfig": held["pushConfig"]},
            "updateMask": "pushConfig",
        }
        return asks(site, account, "PATCH", url, json=change)

    return step


def gives(service: str, name: str, field: str, **query: str) -> Step:
    """Gives what has this name to its account again."""

    def step(site: Site, account: str) -> str:
        url = f"{regional(site, service)}/{name}"
        held = call(site.deployment.cloud, "GET", url).json()
        return asks(site, account, "PATCH", url, params=query, json={field: held[field]})

    return step


def schedules(name: str) -> Step:
    return gives("cloudscheduler", f"jobs/{name}", "httpTarget", updateMask="httpTarget")


def orders_an_image(site: Site, account: str) -> str:
    """One that cannot be built, from source that is not there."""
    bucket = f"{site.project}-files-builds"
    builder = f"files-build@{site.project}.iam.gserviceaccount.com"
    address = f"{REGION}-docker.pkg.dev/{site.project}/files-images/worker:none"
    step = {"name": "gcr.io/cloud-builders/docker", "args": ["build", "--tag", address, "."]}
    order = {
        "source": {"storageSource": {"bucket": bucket, "object": "none.zip"}},
        "steps": [step],
        "images": [address],
        "serviceAccount": f"projects/{site.project}/serviceAccounts/{builder}",
        "options": {"logging": "CLOUD_LOGGING_ONLY"},
    }
    return asks(site, account, "POST", f"{regional(site, 'cloudbuild')}/builds", json=order)


def regional(site: Site, service: str) -> str:
    version = "v2" if service == "run" else "v1"
    place = f"projects/{site.project}/locations/{REGION}"
    return f"https://{service}.googleapis.com/{version}/{place}"


def reads_the_project_s_policy(site: Site, account: str) -> str:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{site.project}:getIamPolicy"
    return asks(site, account, "POST", url, json={})


def builds(service: str) -> Step:
    return lambda site, account: redeploy(site.deployment.cloud, service, site.member(account))


ACTS = "iam.serviceAccounts.actAs"
# What cannot be done, and the permission that it lacks; or the permission to get what is there.
Proof = tuple[Step, str] | str
PROOFS: dict[Key, Proof] = {
    ("apply", "roles/storage.admin", "project"): "storage.objects.get",
    ("apply", "roles/pubsub.admin", "project"): "pubsub.topics.get",
    ("apply", "roles/cloudtasks.queueAdmin", "project"): "cloudtasks.queues.get",
    ("apply", "roles/cloudfunctions.developer", "project"): "cloudfunctions.functions.get",
    ("apply", "roles/run.admin", "project"): (says_who_invokes, "run.services.setIamPolicy"),
    ("apply", "roles/iam.serviceAccountAdmin", "project"): (
        says_who_acts,
        "iam.serviceAccounts.setIamPolicy",
    ),
    ("apply", "roles/logging.configWriter", "project"): "logging.logMetrics.get",
    ("apply", "roles/monitoring.editor", "project"): "monitoring.dashboards.get",
    ("apply", "roles/iam.securityReviewer", "project"): (
        reads_the_project_s_policy,
        "resourcemanager.projects.getIamPolicy",
    ),
    ("apply", "roles/iam.serviceAccountUser", "account build"): (builds("files-dev-bridge"), ACTS),
    ("apply", "roles/iam.serviceAccountUser", "account bridge"): (builds("files-dev-bridge"), ACTS),
    ("apply", "roles/iam.serviceAccountUser", "account processor"): (
        builds("files-dev-processor-default"),
        ACTS,
    ),
    ("apply", "roles/iam.serviceAccountUser", "account events-invoker"): (
        points("files-dev-bridge"),
        ACTS,
    ),
    ("plan", "roles/storage.objectViewer", "bucket tfstate"): "storage.objects.get",
    ("plan", "roles/storage.objectCreator", "bucket plans"): (
        keeps_a_plan,
        "storage.objects.create",
    ),
    ("plan", "roles/storage.objectViewer", "bucket plans"): "storage.objects.get",
    ("plan", "roles/storage.objectViewer", "project"): "storage.objects.get",
    ("plan", "roles/storage.bucketViewer", "project"): "storage.buckets.get",
    ("plan", "roles/pubsub.viewer", "project"): "pubsub.topics.get",
    ("plan", "roles/cloudtasks.viewer", "project"): "cloudtasks.queues.get",
    ("plan", "roles/cloudfunctions.viewer", "project"): "cloudfunctions.functions.get",
    ("plan", "roles/iam.securityReviewer", "project"): "iam.serviceAccounts.get",
    ("plan", "roles/logging.viewer", "project"): "logging.logMetrics.get",
    ("plan", "roles/monitoring.viewer", "project"): "monitoring.dashboards.get",
}

USER = "roles/iam.serviceAccountUser"
# Of the capabilities: the roles that they need, and the accounts that they hand over.
CAPABILITIES: dict[Key, Proof] = {
    ("apply", "roles/cloudbuild.builds.editor", "project"): (
        orders_an_image,
        "cloudbuild.builds.create",
    ),
    ("apply", "roles/cloudscheduler.admin", "project"): "cloudscheduler.jobs.get",
    ("plan", "roles/cloudscheduler.viewer", "project"): "cloudscheduler.jobs.get",
    ("apply", "roles/workflows.editor", "project"): "workflows.workflows.get",
    ("plan", "roles/workflows.viewer", "project"): "workflows.workflows.get",
    ("apply", USER, "account approvals"): (
        gives(
            "workflows", "workflows/files-dev-approvals", "description", updateMask="description"
        ),
        ACTS,
    ),
    ("apply", USER, "account approvals-starter"): (points("files-dev-approvals"), ACTS),
    ("apply", USER, "account to-hook"): (points("files-dev-completions-hook"), ACTS),
    ("apply", USER, "account upload"): (builds("files-dev-upload"), ACTS),
    ("apply", USER, "account status"): (builds("files-dev-status"), ACTS),
    ("apply", USER, "account sweep"): (builds("files-dev-sweep"), ACTS),
    ("apply", USER, "account sweep-invoker"): (schedules("files-dev-sweep"), ACTS),
    ("apply", USER, "account submit"): (builds("files-dev-submit"), ACTS),
    ("apply", USER, "account batch-worker"): (
        gives("run", "jobs/files-dev-worker-normal", "template"),
        ACTS,
    ),
    ("apply", USER, "account starter"): (schedules("files-dev-run-normal"), ACTS),
    ("apply", USER, "account batch-clock"): (schedules("files-dev-submits-daily"), ACTS),
}
ALL = PROOFS | CAPABILITIES


def test_every_binding_has_a_proof_and_a_reason(
    applied: dict[Grant, Binding], why: Reasons
) -> None:
    assert {grant.key for grant in applied if grant.role != FEDERATION} == ALL.keys()
    assert {key for key in why if key[1] != FEDERATION} == ALL.keys()


@pytest.mark.parametrize("key", ALL, ids=[" ".join(key) for key in ALL])
def test_without_its_binding_an_account_is_refused(
    site: Site, applied: dict[Grant, Binding], delivered: Used, key: Key
) -> None:
    proof, binding = ALL[key], applied[Grant(*key)]
    step, permission = (gets(delivered, binding, proof), proof) if isinstance(proof, str) else proof
    with withheld(site.deployment.cloud, binding):
        assert f"Permission '{permission}' denied" in step(site, key[0])


def test_with_their_bindings_again_they_are_not(site: Site) -> None:
    own = [proof for proof in ALL.values() if not isinstance(proof, str)]
    for step in {step for step, permission in own if permission == ACTS}:
        assert step(site, "apply") == ""


# Sufficient: the environment was planned and applied by them alone, with nobody its owner.


def test_the_account_that_applies_verifies_with_files_and_an_access_token_alone(site: Site) -> None:
    command = [sys.executable, "-c", "import google.auth; google.auth.default()"]
    no_other = subprocess.run(
        command,
        env=site.deployment.environ | site.login("apply") | {"NO_GCE_CHECK": "true"},
        capture_output=True,
        text=True,
    )
    assert "DefaultCredentialsError" in no_other.stderr
    told = site.deployment.make("verify", "ENV=dev", **site.login("apply")).stdout
    assert "deploy: dev is as configured" in told
    assert "no file was put through" not in told


@pytest.fixture(scope="module")
def exercised(site: Site, delivered: Used) -> Used:
    """What each account used from the first plan to the destroy."""
    told = site.deployment.make("destroy", "ENV=dev", "YES=1", **site.login("apply")).stdout
    assert re.search(r"Apply complete! Resources: 0 added, 0 changed, 1\d\d destroyed", told)
    return dict(site.deployment.cloud.get("/permissions"))


# Narrow

# A narrower role that would cover what is used, and why it does not do.
EXCEPTIONS = {
    ("plan", "roles/storage.objectViewer", "project"): (
        "roles/storage.legacyObjectReader",
        "a bucket carries it, not a project, and the bucket is not there before the first apply",
    ),
}


@pytest.mark.parametrize("key", ALL, ids=[" ".join(key) for key in ALL])
def test_no_narrower_role_would_do(
    applied: dict[Grant, Binding], exercised: Used, key: Key
) -> None:
    assert narrower_for(applied[Grant(*key)], exercised) == set(EXCEPTIONS.get(key, ())[:1])


def test_a_project_carries_no_legacy_role(site: Site, applied: dict[Grant, Binding]) -> None:
    """The reason for the exception."""
    (key,) = EXCEPTIONS
    project, _, member, _ = applied[Grant(*key)]
    with pytest.raises(LocalCloudError, match="not supported for this resource"):
        bind(site.deployment.cloud, [project, EXCEPTIONS[key][0], member, None])


def test_the_account_that_plans_changes_nothing_and_adds_plans(site: Site, exercised: Used) -> None:
    bucket = f"projects/_/buckets/{site.project}-files-plans"
    changed = {
        (permission, on.partition("/objects/")[0])
        for permission, on in exercised[site.member("plan")]
        if not permission.endswith((".get", ".list", ".getIamPolicy"))
    }
    assert changed == {("storage.objects.create", bucket)}


def test_the_document_holds_the_table_of_what_is_applied(
    applied: dict[Grant, Binding], why: Reasons
) -> None:
    # What capabilities add, needs.tf.json says.
    own = {grant: binding for grant, binding in applied.items() if grant.key not in CAPABILITIES}
    kept = {key: because for key, because in why.items() if key not in CAPABILITIES}
    check(own, "permissions of delivery", kept)

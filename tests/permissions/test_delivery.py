"""What bootstrap gives the accounts that GitHub's runs become is enough to deliver an environment,
all of it is needed, and none of it could be narrower.

The environment was made by them (see tests/ci/site.py), with all that an environment can have and
every capability that asks for more, and is taken away by the one that applies. That GitHub's runs
become them: tests/ci/test_federation.py.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.docs_permissions import Grant, Reasons, check, grants, of_delivery, reasons
from tests.ci.site import CAPABLE, Site, delivering, everything
from tests.localcloud.client import LocalCloudError

from .tools import Binding, bind, call, narrower_for, redeploy, withheld

pytestmark = pytest.mark.timeout(1200)  # a delivery of everything, also where much else runs
Key = tuple[str, str, str]
FEDERATION = "roles/iam.workloadIdentityUser"
REGION = "us-central1"
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


# Necessary: what an account does, and what it was answered.


def plans(site: Site, account: str, *options: str) -> str:
    command = ["terraform", "-chdir=environments/dev", "plan", "-input=false", "-lock=false"]
    inputs = {"TF_VAR_prefix": "files", "TF_VAR_project_id": site.project}
    done = site.deployment.run(*command, *options, check=False, **site.login(account) | inputs)
    # Terraform folds long lines in a frame.
    return re.sub(r"[│\s]+", " ", done.stdout)


def of(target: str) -> Step:
    """A plan of this part of dev, which tells as much in less time."""
    return lambda site, account: plans(site, account, f"-target=module.{target}")


def asks(site: Site, account: str, verb: str, url: str, **more: Any) -> str:
    answer = call(site.deployment.cloud, verb, url, site.member(account), **more)
    assert answer.ok or answer.status_code == 403, answer.text
    return "" if answer.ok else answer.text


def keeps_a_plan(site: Site, account: str) -> str:
    url = f"https://storage.googleapis.com/upload/storage/v1/b/{site.project}-files-plans/o"
    query = {"uploadType": "media", "name": f"reviewed/{next(_serial)}"}
    return asks(site, account, "POST", url, params=query, data=b"{}")


def reads_a_plan(site: Site, account: str) -> str:
    bucket = f"https://storage.googleapis.com/storage/v1/b/{site.project}-files-plans/o"
    kept = call(site.deployment.cloud, "GET", bucket, site.member("apply")).json()["items"]
    name = kept[0]["name"].replace("/", "%2F")
    return asks(site, account, "GET", f"{bucket}/{name}", params={"alt": "media"})


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
Proof = tuple[Step, str]  # and the permission that it lacks
PROOFS: dict[Key, Proof] = {
    ("apply", "roles/storage.admin", "project"): (
        of("pipeline.module.uploads"),
        "storage.objects.get",
    ),
    ("apply", "roles/pubsub.admin", "project"): (
        of("pipeline.module.object_events"),
        "pubsub.topics.get",
    ),
    ("apply", "roles/cloudtasks.queueAdmin", "project"): (
        of("pipeline.module.queue"),
        "cloudtasks.queues.get",
    ),
    ("apply", "roles/cloudfunctions.developer", "project"): (
        of("pipeline.module.bridge"),
        "cloudfunctions.functions.get",
    ),
    ("apply", "roles/run.admin", "project"): (says_who_invokes, "run.services.setIamPolicy"),
    ("apply", "roles/iam.serviceAccountAdmin", "project"): (
        says_who_acts,
        "iam.serviceAccounts.setIamPolicy",
    ),
    ("apply", "roles/logging.configWriter", "project"): (
        of("pipeline.module.monitoring"),
        "logging.logMetrics.get",
    ),
    ("apply", "roles/monitoring.editor", "project"): (
        of("pipeline.module.monitoring"),
        "monitoring.dashboards.get",
    ),
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
    ("plan", "roles/storage.objectViewer", "bucket tfstate"): (
        of("pipeline.module.uploads"),
        "storage.objects.get",
    ),
    ("plan", "roles/storage.objectCreator", "bucket plans"): (
        keeps_a_plan,
        "storage.objects.create",
    ),
    ("plan", "roles/storage.objectViewer", "bucket plans"): (
        reads_a_plan,
        "storage.objects.get",
    ),
    ("plan", "roles/storage.objectViewer", "project"): (
        of("pipeline.google_storage_bucket_object.zip"),
        "storage.objects.get",
    ),
    ("plan", "roles/storage.bucketViewer", "project"): (
        of("pipeline.module.uploads"),
        "storage.buckets.get",
    ),
    ("plan", "roles/pubsub.viewer", "project"): (
        of("pipeline.module.object_events"),
        "pubsub.topics.get",
    ),
    ("plan", "roles/cloudtasks.viewer", "project"): (
        of("pipeline.module.queue"),
        "cloudtasks.queues.get",
    ),
    ("plan", "roles/cloudfunctions.viewer", "project"): (
        of("pipeline.module.bridge"),
        "cloudfunctions.functions.get",
    ),
    ("plan", "roles/iam.securityReviewer", "project"): (
        of("pipeline.module.bridge_account"),
        "iam.serviceAccounts.get",
    ),
    ("plan", "roles/logging.viewer", "project"): (
        of("pipeline.module.monitoring"),
        "logging.logMetrics.get",
    ),
    ("plan", "roles/monitoring.viewer", "project"): (
        of("pipeline.module.monitoring"),
        "monitoring.dashboards.get",
    ),
}

USER = "roles/iam.serviceAccountUser"
# Of the capabilities: the roles that they need, and the accounts that they hand over.
CAPABILITIES: dict[Key, Proof] = {
    ("apply", "roles/cloudbuild.builds.editor", "project"): (
        orders_an_image,
        "cloudbuild.builds.create",
    ),
    ("apply", "roles/cloudscheduler.admin", "project"): (of("sweep"), "cloudscheduler.jobs.get"),
    ("plan", "roles/cloudscheduler.viewer", "project"): (of("sweep"), "cloudscheduler.jobs.get"),
    ("apply", "roles/workflows.editor", "project"): (of("approvals"), "workflows.workflows.get"),
    ("plan", "roles/workflows.viewer", "project"): (of("approvals"), "workflows.workflows.get"),
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
    site: Site, applied: dict[Grant, Binding], key: Key
) -> None:
    step, permission = ALL[key]
    with withheld(site.deployment.cloud, applied[Grant(*key)]):
        assert f"Permission '{permission}' denied" in step(site, key[0])


def test_with_their_bindings_again_they_are_not(site: Site) -> None:
    for step in {step for step, permission in ALL.values() if permission == ACTS}:
        assert step(site, "apply") == ""
    for account in ("apply", "plan"):
        told = plans(site, account)
        assert "No changes." in told, told[-3000:]


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
def exercised(site: Site) -> dict[str, list[list[str]]]:
    """What each account used from the first plan to the destroy: {member: [[permission, on]]}."""
    site.ci("drift")
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
    applied: dict[Grant, Binding], exercised: dict[str, list[list[str]]], key: Key
) -> None:
    assert narrower_for(applied[Grant(*key)], exercised) == set(EXCEPTIONS.get(key, ())[:1])


def test_a_project_carries_no_legacy_role(site: Site, applied: dict[Grant, Binding]) -> None:
    """The reason for the exception."""
    (key,) = EXCEPTIONS
    project, _, member, _ = applied[Grant(*key)]
    with pytest.raises(LocalCloudError, match="not supported for this resource"):
        bind(site.deployment.cloud, [project, EXCEPTIONS[key][0], member, None])


def test_the_account_that_plans_changes_nothing_and_adds_plans(
    site: Site, exercised: dict[str, list[list[str]]]
) -> None:
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

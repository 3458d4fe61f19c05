"""What bootstrap gives the accounts that GitHub's runs become is enough to deliver an environment,
all of it is needed, and none of it could be narrower.

The environment was made by them (see tests/ci/site.py), with all that an environment can have, and
is taken away by the one that applies. That GitHub's runs become them: tests/ci/test_federation.py.
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
from tests.ci.site import Site, delivering, watched
from tests.localcloud.client import LocalCloudError

from .tools import Binding, bind, call, narrower_for, redeploy, withheld

Key = tuple[str, str, str]
FEDERATION = "roles/iam.workloadIdentityUser"
REGION = "us-central1"
_serial = itertools.count(1)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with delivering(watched) as made:
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


def plans(site: Site, account: str) -> str:
    command = ["terraform", "-chdir=environments/dev", "plan", "-input=false", "-lock=false"]
    inputs = {"TF_VAR_prefix": "files", "TF_VAR_project_id": site.project}
    done = site.deployment.run(*command, check=False, **site.login(account) | inputs)
    # Terraform folds long lines in a frame.
    return re.sub(r"[│\s]+", " ", done.stdout)


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


def points_the_subscription(site: Site, account: str) -> str:
    url = f"https://pubsub.googleapis.com/v1/projects/{site.project}/subscriptions/files-dev-bridge"
    held = call(site.deployment.cloud, "GET", url).json()
    change = {
        "subscription": {"name": held["name"], "pushConfig": held["pushConfig"]},
        "updateMask": "pushConfig",
    }
    return asks(site, account, "PATCH", url, json=change)


def reads_the_project_s_policy(site: Site, account: str) -> str:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{site.project}:getIamPolicy"
    return asks(site, account, "POST", url, json={})


def builds(service: str) -> Callable[[Site, str], str]:
    return lambda site, account: redeploy(site.deployment.cloud, service, site.member(account))


ACTS = "iam.serviceAccounts.actAs"
Proof = tuple[Callable[[Site, str], str], str]  # the step, and the permission that it lacks
PROOFS: dict[Key, Proof] = {
    ("apply", "roles/storage.admin", "project"): (plans, "storage.objects.get"),
    ("apply", "roles/pubsub.admin", "project"): (plans, "pubsub.topics.get"),
    ("apply", "roles/cloudtasks.queueAdmin", "project"): (plans, "cloudtasks.queues.get"),
    ("apply", "roles/cloudfunctions.developer", "project"): (plans, "cloudfunctions.functions.get"),
    ("apply", "roles/run.admin", "project"): (says_who_invokes, "run.services.setIamPolicy"),
    ("apply", "roles/iam.serviceAccountAdmin", "project"): (
        says_who_acts,
        "iam.serviceAccounts.setIamPolicy",
    ),
    ("apply", "roles/logging.configWriter", "project"): (plans, "logging.logMetrics.get"),
    ("apply", "roles/monitoring.editor", "project"): (plans, "monitoring.dashboards.get"),
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
        points_the_subscription,
        ACTS,
    ),
    ("plan", "roles/storage.objectViewer", "bucket tfstate"): (plans, "storage.objects.get"),
    ("plan", "roles/storage.objectCreator", "bucket plans"): (
        keeps_a_plan,
        "storage.objects.create",
    ),
    ("plan", "roles/storage.objectViewer", "bucket plans"): (
        reads_a_plan,
        "storage.objects.get",
    ),
    ("plan", "roles/storage.objectViewer", "project"): (plans, "storage.objects.get"),
    ("plan", "roles/storage.bucketViewer", "project"): (plans, "storage.buckets.get"),
    ("plan", "roles/pubsub.viewer", "project"): (plans, "pubsub.topics.get"),
    ("plan", "roles/cloudtasks.viewer", "project"): (plans, "cloudtasks.queues.get"),
    ("plan", "roles/cloudfunctions.viewer", "project"): (plans, "cloudfunctions.functions.get"),
    ("plan", "roles/iam.securityReviewer", "project"): (plans, "iam.serviceAccounts.get"),
    ("plan", "roles/logging.viewer", "project"): (plans, "logging.logMetrics.get"),
    ("plan", "roles/monitoring.viewer", "project"): (plans, "monitoring.dashboards.get"),
}


def test_every_binding_has_a_proof_and_a_reason(
    applied: dict[Grant, Binding], why: Reasons
) -> None:
    assert {grant.key for grant in applied if grant.role != FEDERATION} == PROOFS.keys()
    assert {key for key in why if key[1] != FEDERATION} == PROOFS.keys()


@pytest.mark.parametrize("key", PROOFS, ids=[" ".join(key) for key in PROOFS])
def test_without_its_binding_an_account_is_refused(
    site: Site, applied: dict[Grant, Binding], key: Key
) -> None:
    step, permission = PROOFS[key]
    with withheld(site.deployment.cloud, applied[Grant(*key)]):
        assert f"Permission '{permission}' denied" in step(site, key[0])


def test_with_their_bindings_again_they_are_not(site: Site) -> None:
    for step, account in sorted({(proof[0], key[0]) for key, proof in PROOFS.items()}, key=str):
        told = step(site, account)
        assert "No changes." in told if step is plans else told == ""


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
    assert re.search(r"Apply complete! Resources: 0 added, 0 changed, [3-9]\d destroyed", told)
    return dict(site.deployment.cloud.get("/permissions"))


# Narrow

# A narrower role that would cover what is used, and why it does not do.
EXCEPTIONS = {
    ("plan", "roles/storage.objectViewer", "project"): (
        "roles/storage.legacyObjectReader",
        "a bucket carries it, not a project, and the bucket is not there before the first apply",
    ),
}


@pytest.mark.parametrize("key", PROOFS, ids=[" ".join(key) for key in PROOFS])
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
    check(applied, "permissions of delivery", why)

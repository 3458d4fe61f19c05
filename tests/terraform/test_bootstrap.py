"""What a project needs once: who may do what in it, with and without delivery from GitHub."""

from __future__ import annotations

import json

import pytest

from .conftest import MakeRoot
from .plans import ROOT, Case, Plan, Root, case_id, unseen

GITHUB = {"environment": "dev", "owner_id": "583231", "repository_id": "1296269"}
BUILD = {
    ("files-build", "roles/artifactregistry.writer", "repository/files-functions"),
    ("files-build", "roles/logging.logWriter", "project/demo-project"),
    (
        "files-build",
        "roles/storage.objectViewer",
        "project/demo-project only sources of functions",
    ),
}
READS = (
    "roles/cloudfunctions.viewer",
    "roles/cloudtasks.viewer",
    "roles/iam.securityReviewer",
    "roles/logging.viewer",
    "roles/monitoring.viewer",
    "roles/pubsub.viewer",
    "roles/storage.bucketViewer",
)
APPLIES = (
    "roles/cloudfunctions.developer",
    "roles/cloudtasks.queueAdmin",
    "roles/iam.securityReviewer",
    "roles/iam.serviceAccountAdmin",
    "roles/logging.configWriter",
    "roles/monitoring.editor",
    "roles/pubsub.admin",
    "roles/run.admin",
    "roles/storage.admin",
)
NEEDS = json.loads((ROOT / "environments/bootstrap/needs.tf.json").read_text())["locals"]["needs"]
CAPABILITIES = NEEDS.keys() - {"pipeline"}
PROVIDER = 'google_iam_workload_identity_pool_provider.github["{}"]'


@pytest.fixture(scope="module")
def bootstrap(root: MakeRoot) -> Root:
    return root("environments/bootstrap", project_id="demo-project")


@pytest.fixture(scope="module")
def default(bootstrap: Root) -> Plan:
    return bootstrap.plan()


@pytest.fixture(scope="module")
def delivered(bootstrap: Root) -> Plan:
    return bootstrap.plan(github=GITHUB)


# Defaults


def test_bootstrap_grants_this_and_nothing_else(default: Plan) -> None:
    assert default.bindings() == BUILD


def test_services_stay_enabled_when_bootstrap_goes(default: Plan) -> None:
    services = default.of_type("google_project_service")
    assert len(services) == 11
    assert {default[address]["disable_on_destroy"] for address in services} == {False}


def test_a_capability_brings_its_apis_and_grants_nothing(bootstrap: Root, default: Plan) -> None:
    plan = bootstrap.plan(capabilities=["portal", "sweep"])
    added = plan.resources.keys() - default.resources.keys()
    assert added == {
        f'google_project_service.this["{name}.googleapis.com"]'
        for name in ("cloudscheduler", "iamcredentials")
    }
    assert plan.bindings() == default.bindings()


def test_approvals_bring_two_roles_that_may_this_and_nothing_else(
    bootstrap: Root, default: Plan
) -> None:
    plan = bootstrap.plan(capabilities=["approvals"], approvers=["group:editors@example.com"])
    roles = {
        plan[address]["role_id"]: set(plan[address]["permissions"])
        for address in plan.of_type("google_project_iam_custom_role")
    }
    assert roles == {
        "files_approvals_approver": {
            "workflows.callbacks.list", "workflows.callbacks.send", "workflows.executions.get",
        },
        "files_approvals_starter": {"workflows.executions.create"},
    }  # fmt: skip
    role = "projects/demo-project/roles/files_approvals_{}"
    assert plan.bindings() - default.bindings() == {
        ("files-approvals-starter", role.format("starter"), "project/demo-project"),
        ("group:editors@example.com", role.format("approver"), "project/demo-project"),
    }
    audit = plan['google_project_iam_audit_config.approvals["this"]']
    assert audit["service"] == "workflowexecutions.googleapis.com"
    assert [one["log_type"] for one in audit["audit_log_config"]] == ["DATA_WRITE"]


def test_every_capability_is_known_and_no_other(bootstrap: Root) -> None:
    folders = {path.parent.name for path in (ROOT / "terraform").glob("*/main.tf")}
    assert NEEDS.keys() >= folders
    assert all(need.keys() == {"apis", "apply", "plan"} for need in NEEDS.values())


def test_who_delivers_a_capability_gets_the_roles_that_it_needs(
    root: MakeRoot, delivered: Plan
) -> None:
    """With a table of needs of the test's own."""
    needs = json.loads((ROOT / "environments/bootstrap/needs.tf.json").read_text())
    needs["locals"]["needs"]["portal"] |= {
        "apply": {"roles/cloudscheduler.admin": "schedules"},
        "plan": {"roles/cloudscheduler.viewer": "schedules", "roles/pubsub.viewer": "topics"},
    }
    files = {"needs_override.tf.json": json.dumps(needs)}
    bootstrap = root("environments/bootstrap", files=files, project_id="demo-project")
    without = bootstrap.plan(github=GITHUB, capabilities=["completions"])
    assert without.bindings() == delivered.bindings()
    with_it = bootstrap.plan(github=GITHUB, capabilities=["portal"])
    assert with_it.bindings() - delivered.bindings() == {
        ("files-apply", "roles/cloudscheduler.admin", "project/demo-project"),
        ("files-plan", "roles/cloudscheduler.viewer", "project/demo-project"),
    }


def test_nothing_is_made_before_its_api_is_on(delivered: Plan) -> None:
    waiting = {a for a, names in delivered.after.items() if "google_project_service.this" in names}
    assert waiting == {
        "google_artifact_registry_repository.functions",
        "google_artifact_registry_repository.images",
        "google_iam_workload_identity_pool.github",
        "google_project_iam_custom_role.approvals",
        "module.approvals_starter",
        "module.build_account",
        "module.builds",
        "module.plans",
        "module.state",
    }


def test_delivery_brings_the_apis_of_its_logins(default: Plan, delivered: Plan) -> None:
    kind = "google_project_service"
    assert {*delivered.of_type(kind)} - {*default.of_type(kind)} == {
        f'google_project_service.this["{name}.googleapis.com"]'
        for name in ("iamcredentials", "sts")
    }


def test_images_go_after_a_month_but_for_the_newest(default: Plan) -> None:
    images = default["google_artifact_registry_repository.functions"]
    policies = {one["id"]: one for one in images["cleanup_policies"]}
    assert policies.keys() == {"newest", "old"}
    assert policies["old"]["action"] == "DELETE"
    assert policies["old"]["condition"][0]["older_than"] == "2592000s"
    assert policies["newest"]["action"] == "KEEP"
    (newest,) = policies["newest"]["most_recent_versions"]
    assert newest["keep_count"] == 3
    assert not newest["package_name_prefixes"]
    assert not images.get("cleanup_policy_dry_run")


def test_the_state_is_versioned_and_kept(default: Plan) -> None:
    state = default["module.state.google_storage_bucket.this"]
    assert state["name"] == "demo-project-files-tfstate"
    assert state["force_destroy"] is False
    assert state["versioning"] == [{"enabled": True}]
    rules = [rule["condition"][0] for rule in state["lifecycle_rule"]]
    assert rules[0]["days_since_noncurrent_time"] == 90


def test_nobody_delivers_from_github(default: Plan) -> None:
    assert not default.of_type("google_iam_workload_identity_pool")
    assert len(default.of_type("google_service_account")) == 1
    assert default.outputs["github"] is None


# Overrides


def test_prefix_and_region_are_settings(bootstrap: Root) -> None:
    plan = bootstrap.plan(prefix="pix", region="europe-west1", force_destroy=True)
    state = plan["module.state.google_storage_bucket.this"]
    assert state["name"] == "demo-project-pix-tfstate"
    assert state["location"].upper() == "EUROPE-WEST1"
    assert state["force_destroy"] is True
    images = plan["google_artifact_registry_repository.functions"]
    assert (images["repository_id"], images["location"]) == ("pix-functions", "europe-west1")
    assert plan["module.build_account.google_service_account.this"]["account_id"] == "pix-build"


def test_delivery_from_github_grants_this_and_nothing_else(delivered: Plan) -> None:
    assert delivered.bindings() - BUILD == {
        # GitHub's runs become the two accounts; whose runs is known once the pool is there.
        ("(after apply)", "roles/iam.workloadIdentityUser", "account/files-apply"),
        ("(after apply)", "roles/iam.workloadIdentityUser", "account/files-plan"),
        # What does not exist before the first apply is reached by roles on the project.
        *(("files-apply", role, "project/demo-project") for role in APPLIES),
        *(("files-plan", role, "project/demo-project") for role in READS),
        ("files-apply", "roles/iam.serviceAccountUser", "account/files-build"),
        # A plan reads the state and the zips, and puts plans down for review.
        ("files-plan", "roles/storage.objectViewer", "bucket/files-tfstate"),
        (
            "files-plan",
            "roles/storage.objectViewer",
            "project/demo-project only zips of functions",
        ),
        ("files-plan", "roles/storage.objectViewer", "bucket/files-plans"),
        ("files-plan", "roles/storage.objectCreator", "bucket/files-plans"),
    }
    assert delivered.bindings() >= BUILD


def test_every_binding_is_told_with_its_reason(bootstrap: Root, delivered: Plan) -> None:
    with_all = bootstrap.plan(github=GITHUB, capabilities=sorted(CAPABILITIES))
    assert with_all.bindings() > delivered.bindings()
    for plan in (bootstrap.plan(), delivered, with_all):
        # Whose runs become an account is known after the apply, with the pool's name.
        bindings = {b for b in plan.bindings(conditions=False) if b[0] != "(after apply)"}
        assert plan.told() == bindings


def test_who_plans_reads_no_upload_and_writes_no_lock(delivered: Plan) -> None:
    """Names of objects, yes; what is in them, only of zips, states and plans."""
    held = json.loads((ROOT / "tests/localcloud/core/roles.json").read_text())["roles"]
    permissions = {permission for role in READS for permission in held[role]}
    assert {p for p in permissions if p.startswith("storage.objects.")} == {"storage.objects.list"}
    verbs = {permission.rsplit(".", 1)[-1] for permission in permissions}
    assert verbs <= {"fullView", "get", "getIamPolicy", "list"}
    (zips,) = delivered['google_project_iam_member.plan_reads_zips["plan"]']["condition"]
    assert zips["expression"] == (
        'resource.name.startsWith("projects/_/buckets/demo-project-files-dev-sources/objects/")'
    )


def test_each_account_is_for_its_own_runs_of_one_repository_by_number(delivered: Plan) -> None:
    repository = "assertion.repository_owner_id == '583231' && assertion.repository_id == '1296269'"
    assert delivered[PROVIDER.format("plan")]["attribute_condition"] == (
        f"{repository} && "
        "(assertion.event_name == 'pull_request' || assertion.ref == 'refs/heads/main')"
    )
    assert delivered[PROVIDER.format("apply")]["attribute_condition"] == (
        f"{repository} && assertion.ref == 'refs/heads/main' && assertion.environment == 'dev' && "
        "assertion.workflow_ref.endsWith('/.github/workflows/apply.yml@refs/heads/main')"
    )
    for name in ("plan", "apply"):
        values = delivered[PROVIDER.format(name)]
        assert values["oidc"][0]["issuer_uri"] == "https://token.actions.githubusercontent.com"
        assert values["attribute_mapping"]["attribute.access"] == f"'{name}'"


def test_plans_are_written_once_and_go_after_review(delivered: Plan) -> None:
    plans = delivered['module.plans["this"].google_storage_bucket.this']
    assert plans["name"] == "demo-project-files-plans"
    ages = {
        condition["matches_prefix"][0]: condition["age"]
        for rule in plans["lifecycle_rule"]
        for condition in rule["condition"]
        if condition["matches_prefix"]
    }
    assert ages == {"prepared/": 30, "reviewed/": 90}


# Rejections


REFUSED: list[Case] = [
    (
        {"approvers": ["allUsers"]},
        "approvers has allUsers; each names one account, user or group",
    ),
    (
        {"approvers": ["user:a@example.com"]},
        "approvers has user:a@example.com, and approvals is not among the capabilities",
    ),
    (
        {"capabilities": ["portle"]},
        "capabilities has portle; known are approvals, batch, completions, observers",
    ),
    ({"capabilities": ["pipeline"]}, "capabilities has pipeline; known are approvals, batch"),
    ({"github": GITHUB | {"owner_id": "octocat"}}, "github names octocat and 1296269"),
    ({"github": GITHUB | {"environment": ""}}, "github must say environment, owner_id and"),
    ({"github": {"repository_id": "1296269"}}, "github must say environment, owner_id and"),
    (
        {"github": GITHUB | {"environment": "dev' || true"}},
        "github.environment is dev' || true; it has lower-case",
    ),
    ({"prefix": "x"}, "prefix is x; it has 2 to 12 lower-case letters"),
    ({"prefix": "goog-files"}, "prefix is goog-files; it has 2 to 12 lower-case letters"),
    ({"project_id": "My Project"}, "project_id is My Project; it has 6 to 30"),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(bootstrap: Root, case: Case) -> None:
    assert case[1] in bootstrap.refused(case, REFUSED)


def test_every_rule_refuses_something(bootstrap: Root) -> None:
    assert unseen(bootstrap, "environments/bootstrap", REFUSED) == []

from __future__ import annotations

import json

import pytest

from .conftest import MakeRoot
from .plans import PROJECT, Case, Plan, Root, alerts, case_id, unseen

PIPELINE = {
    "bridge": {"settings": {"EXCLUDE_PREFIXES": "[]", "INCLUDE_PREFIXES": "[]", "LANES": "{}"}},
    "buckets": {
        "results": f"{PROJECT}-files-dev-results",
        "uploads": f"{PROJECT}-files-dev-uploads",
    },
    "build": {
        "account_email": f"files-build@{PROJECT}.iam.gserviceaccount.com",
        "kms_key_name": "",
        "repository": f"projects/{PROJECT}/locations/us-central1/repositories/files-functions",
        "source_bucket": f"{PROJECT}-files-dev-sources",
        "zips": "../../build",
    },
    "deployer": "",
    "environment": "dev",
    "lanes": {
        "default": {"prefixes": [], "records": True},
        "quiet": {"prefixes": ["videos/"], "records": False},
        "own": {"prefixes": ["photos/"], "records": True},
    },
    "max_file_bytes": {"default": 104857600},
    "monitoring": {"enabled": True, "notification_channels": [], "runbook_url": ""},
    "name": "files-dev",
    "policy": {"deletion_policy": "DELETE", "hash_object_names": False},
    "project_id": PROJECT,
    "region": "us-central1",
}
TOKENS = {"audience": "me", "issuer": "https://securetoken.google.com/shop"}
CALLERS = {"team": {"because": "the team tries it", "member": "group:team@example.com"}}


def without(name: str, prefix: str) -> dict[str, object]:
    """A pipeline with one prefix included or excluded."""
    settings = PIPELINE["bridge"]["settings"] | {f"{name}_PREFIXES": json.dumps([prefix])}
    return PIPELINE | {"bridge": {"settings": settings}}


@pytest.fixture(scope="module")
def portal(root: MakeRoot) -> Root:
    return root("terraform/portal", pipeline=PIPELINE)


@pytest.fixture(scope="module")
def default(portal: Root) -> Plan:
    return portal.plan()


def function(plan: Plan, name: str) -> dict[str, object]:
    (service,) = plan[f"module.{name}.google_cloudfunctions2_function.this"]["service_config"]
    return dict(service)


# Defaults


def test_two_accounts_hold_what_they_need_and_nothing_else(default: Plan) -> None:
    only = " only only the portal's folders"
    assert default.bindings() == {
        ("files-dev-upload", "roles/storage.objectCreator", f"bucket/files-dev-uploads{only}"),
        ("files-dev-status", "roles/storage.objectViewer", "bucket/files-dev-results"),
        ("files-dev-status", "roles/iam.serviceAccountTokenCreator", "account/files-dev-status"),
    }


def test_what_has_to_be_published_is_looked_for_in_its_bucket(portal: Root, default: Plan) -> None:
    plan = portal.plan(published_bucket="demo-project-published")
    assert plan.bindings() - default.bindings() == {
        ("files-dev-status", "roles/storage.objectViewer", "bucket/published"),
    }
    told = [
        function(one, "status")["environment_variables"]["PUBLISHED_BUCKET"]
        for one in (plan, default)
    ]
    assert told == ["demo-project-published", "-"]


def test_uploads_can_be_created_in_the_folders_alone(portal: Root) -> None:
    plan = portal.plan(folders={"a": {}, "b-c": {}})
    (condition,) = plan['google_storage_bucket_iam_member.this["upload"]']["condition"]
    objects = f"projects/_/buckets/{PROJECT}-files-dev-uploads/objects"
    assert condition["expression"] == (
        f'resource.name.startsWith("{objects}/a/") || resource.name.startsWith("{objects}/b-c/")'
    )


def test_nobody_but_named_members_may_call(default: Plan, portal: Root) -> None:
    assert not default.of_type("google_cloud_run_service_iam_member")
    plan = portal.plan(callers=CALLERS)
    invokers = {b for b in plan.bindings() if b[1] == "roles/run.invoker"}
    member = "group:team@example.com"
    assert invokers == {
        (member, "roles/run.invoker", "run/files-dev-upload"),
        (member, "roles/run.invoker", "run/files-dev-status"),
    }
    assert plan.told() == plan.bindings(conditions=False)


def test_streams_leave_threads_for_other_requests(default: Plan) -> None:
    status = function(default, "status")
    assert status["max_instance_request_concurrency"] == 80
    assert status["environment_variables"]["THREADS"] == "80"
    assert status["environment_variables"]["MAX_STREAMS"] == "64"
    assert status["timeout_seconds"] > 300


def test_pages_reach_the_functions_from_everywhere(default: Plan) -> None:
    for name in ("upload", "status"):
        assert function(default, name)["ingress_settings"] == "ALLOW_ALL"


def test_every_alert_has_its_section_of_the_runbook(default: Plan) -> None:
    assert alerts(default)


# Overrides


@pytest.mark.parametrize("access", ["anyone", "tokens"])
def test_who_is_not_asked_by_iam_is_let_in_aloud(portal: Root, access: str) -> None:
    plan = portal.plan(access=access, tokens=TOKENS if access == "tokens" else {})
    invokers = [b for b in plan.bindings() if b[1] == "roles/run.invoker"]
    assert {member for member, _, _ in invokers} == {"allUsers"}
    assert len(invokers) == 2
    assert plan.told() == plan.bindings(conditions=False)
    variables = function(plan, "status")["environment_variables"]
    told = json.loads(variables["ACCESS"])
    assert told == {"kind": access} | (TOKENS if access == "tokens" else {})


def test_the_deployer_acts_as_both_accounts(portal: Root) -> None:
    deployer = "serviceAccount:files-apply@demo-project.iam.gserviceaccount.com"
    bindings = portal.plan(pipeline=PIPELINE | {"deployer": deployer}).bindings()
    acts = {b for b in bindings if b[1] == "roles/iam.serviceAccountUser"}
    assert {resource for _, _, resource in acts} == {
        "account/files-dev-upload", "account/files-dev-status",
    }  # fmt: skip


def test_monitoring_can_be_off(portal: Root) -> None:
    off = PIPELINE | {"monitoring": PIPELINE["monitoring"] | {"enabled": False}}
    plan = portal.plan(pipeline=off)
    for kind in ("google_logging_metric", "google_monitoring_alert_policy"):
        assert plan.of_type(kind) == []


def test_a_folder_of_a_lane_with_a_target_of_its_own_has_no_limit_here(portal: Root) -> None:
    assert portal.plan(folders={"photos": {"max_bytes": 1 << 40}})


# Rejections

REFUSED: list[Case] = [
    ({"access": "everybody"}, "access is everybody; it must be iam, tokens or anyone"),
    ({"folders": {}}, "folders is empty; name at least one"),
    ({"folders": {"A/b": {}}}, "folders has A/b; a folder has 1 to 32 lower-case letters"),
    ({"folders": {"a": {"max_bytes": 0}}}, "folders has max_bytes of 0"),
    ({"folders": {"a": {"types": ["image"]}}}, "folders has the types image; a type is image/png"),
    ({"folders": {"videos": {}}}, "folders has videos (lane quiet), whose lane keeps no records"),
    (
        {"folders": {"a": {"max_bytes": 104857601}}},
        "a takes 104857601, its lane default 104857600. Lower max_bytes",
    ),
    (
        {"folders": {"a": {}}, "pipeline": without("EXCLUDE", "a/")},
        "folders has a, which the bridge ignores",
    ),
    (
        {"folders": {"b": {}}, "pipeline": without("INCLUDE", "b/vip/")},
        "folders has b, which the bridge ignores",
    ),
    ({"origins": ["*"]}, "origins has *; an origin is https://host"),
    ({"status": {"max_streams": 80}}, "status.max_streams is 80 of 80 requests at once"),
    ({"status": {"stream_seconds": 340}}, "status.stream_seconds is 340 with a timeout of 360"),
    ({"upload": {"memory_mib": 512}}, "upload.memory_mib is 512 and must be at least 968"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(portal: Root, case: Case) -> None:
    assert case[1] in portal.refused(case, REFUSED)


def test_every_rule_refuses_something(portal: Root) -> None:
    assert unseen(portal, "terraform/portal", REFUSED) == []

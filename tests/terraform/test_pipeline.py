"""The pipeline as one module: what it hands its functions, and the rules across its settings."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import pytest

from .conftest import MakeRoot
from .plans import (
    PROJECT,
    ROOT,
    TUTORIALS_QUEUE,
    Case,
    Plan,
    Root,
    case_id,
    rates_and_retries,
    unseen,
)

BRIDGE = "module.bridge.google_cloudfunctions2_function.this"
PROCESSOR = 'module.processor["default"].google_cloudfunctions2_function.this'
QUEUE = 'module.queue["default"].google_cloud_tasks_queue.this'
SUBSCRIPTION = "module.object_events.google_pubsub_subscription.push"
UPLOADS = "module.uploads.google_storage_bucket.this"
RESULTS = "module.results.google_storage_bucket.this"
SERVICE = {
    "account": "serviceAccount:videos@demo-project.iam.gserviceaccount.com",
    "audience": "https://videos.example.com",
    "url": "https://videos.example.com/tasks",
}

# No address of a function among them: those are known only once it is there, and with them LANES.
ELSEWHERE = {"audience": "https://x.example.com", "records": False, "url": "https://x.example.com"}
HANDED_OVER = {
    "default": {"target": ELSEWHERE},
    "videos": {
        "content_types": ["video/mp4"],
        "prefixes": ["videos/"],
        "target": SERVICE | {"records": False},
    },
}


@pytest.fixture(scope="module")
def pipeline(root: MakeRoot) -> Root:
    return root(
        "terraform/pipeline",
        project_id="demo-project",
        environment="dev",
        zips="../../build",
    )


@pytest.fixture(scope="module")
def default(pipeline: Root) -> Plan:
    return pipeline.plan()


def settings(plan: Plan, function: str) -> dict[str, str]:
    (service,) = plan[function]["service_config"]
    found: dict[str, str] = service["environment_variables"]
    return found


def instances(plan: Plan, function: str) -> tuple[Any, ...]:
    """Memory, CPU, fewest and most instances, requests at once, seconds."""
    (service,) = plan[function]["service_config"]
    names = "available_memory available_cpu min_instance_count max_instance_count"
    names += " max_instance_request_concurrency timeout_seconds"
    return tuple(service[name] for name in names.split())


def default_lane(**changed: Any) -> dict[str, Any]:
    return {"lanes": {"default": changed}}


def videos(**target: Any) -> dict[str, Any]:
    """A second lane whose target is a service of one's own."""
    return {"lanes": {"default": {}, "videos": {"prefixes": ["videos/"], "target": target}}}


# Defaults


def test_the_processor_is_told_the_sources_figures(default: Plan) -> None:
    assert settings(default, PROCESSOR) == {
        "CONCURRENCY": "8",
        "ENVIRONMENT": "dev",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "HASH_OBJECT_NAMES": "false",
        "KIND": "default",
        "LANE": "default",
        "MAX_ATTEMPTS": "3",
        "MAX_FILE_BYTES": "104857600",
        "MAX_PIXELS": "50000000",
        "MEMORY_BYTES": "2147483648",
        "PROJECT_ID": "demo-project",
        "RENDITIONS": json.dumps(
            {
                "thumbnail": {
                    "fit": "inside",
                    "format": "jpeg",
                    "height": 300,
                    "quality": 85,
                    "width": 300,
                }
            },
            separators=(",", ":"),
        ),
        "RESULTS_BUCKET": "demo-project-files-dev-results",
        "SOURCE_VERSION": hashlib.sha256(b"the zip of processor").hexdigest(),
        "TASK_SECONDS": "604800",
        "THREADS": "8",
        "UPLOADS_BUCKET": "demo-project-files-dev-uploads",
        "WORK_SECONDS": "300",
    }


def test_each_function_is_built_of_an_object_named_by_its_content_in_that_very_generation(
    default: Plan,
) -> None:
    for address, name in ((BRIDGE, "bridge"), (PROCESSOR, "processor")):
        version = hashlib.sha256(f"the zip of {name}".encode()).hexdigest()
        (source,) = default[address]["build_config"][0]["source"][0]["storage_source"]
        assert source["object"] == f"{name}/{version}.zip"
        assert "generation" not in source, "known once the object is there"


def test_work_ends_before_the_function_and_that_before_the_queue_gives_up(default: Plan) -> None:
    (service,) = default[PROCESSOR]["service_config"]
    assert int(settings(default, PROCESSOR)["WORK_SECONDS"]) < service["timeout_seconds"] == 330


def test_the_bridge_answers_before_its_event_is_pushed_again(default: Plan) -> None:
    (service,) = default[BRIDGE]["service_config"]
    assert service["timeout_seconds"] == 50 < default[SUBSCRIPTION]["ack_deadline_seconds"] == 60


def test_instances_are_the_sources_with_as_many_requests_as_threads(default: Plan) -> None:
    assert instances(default, PROCESSOR) == ("2Gi", "2", 0, 20, 8, 330)
    assert instances(default, BRIDGE) == ("512Mi", "1", 0, 10, 4, 50)


def test_the_queue_has_the_tutorials_rates_and_never_gives_up_early(default: Plan) -> None:
    assert rates_and_retries(default[QUEUE]) == TUTORIALS_QUEUE


def test_events_are_pushed_and_kept_as_in_the_tutorial(default: Plan) -> None:
    values = default[SUBSCRIPTION]
    assert (values["ack_deadline_seconds"], values["message_retention_duration"]) == (60, "604800s")


def test_replaced_uploads_outlive_all_that_can_name_them(default: Plan) -> None:
    conditions = [rule["condition"][0] for rule in default[UPLOADS]["lifecycle_rule"]]
    assert conditions[0]["days_since_noncurrent_time"] == 70


def test_only_claims_of_attempts_expire_among_results(default: Plan) -> None:
    expiring = {
        tuple(rule["condition"][0]["matches_prefix"]): rule["condition"][0]["age"]
        for rule in default[RESULTS]["lifecycle_rule"]
        if rule["condition"][0].get("matches_prefix")
    }
    assert expiring == {("attempts/",): 31}


def test_uploads_and_outputs_can_expire_and_records_cannot(pipeline: Root, default: Plan) -> None:
    plan = pipeline.plan(uploads_retention={"expire_days": 1}, results_retention={"expire_days": 9})
    ages = {
        bucket: [
            (condition["age"], condition.get("matches_prefix") or None)
            for (condition,) in (rule["condition"] for rule in plan[bucket]["lifecycle_rule"])
            if condition.get("with_state") == "LIVE"
        ]
        for bucket in (UPLOADS, RESULTS)
    }
    assert ages == {UPLOADS: [(1, None)], RESULTS: [(31, ["attempts/"]), (9, ["files/"])]}
    assert plan.outputs["uploads_are_gone"].startswith("78 days after it came: 1 until it expires")
    assert default.outputs["uploads_are_gone"].startswith(
        "77 days after it is deleted; it does not"
    )


def test_zips_are_named_by_their_hash(default: Plan) -> None:
    names = {
        default[address]["name"] for address in default.of_type("google_storage_bucket_object")
    }
    assert names == {
        f"{name}/{hashlib.sha256(b'the zip of ' + name.encode()).hexdigest()}.zip"
        for name in ("bridge", "processor")
    }


def test_there_are_two_functions_and_one_queue(default: Plan) -> None:
    assert len(default.of_type("google_cloudfunctions2_function")) == 2
    assert len(default.of_type("google_cloud_tasks_queue")) == 1


# Overrides


def test_what_the_modules_take_is_passed_on(pipeline: Root) -> None:
    """One plan for all that has nothing to do with each other."""
    days = {
        "incomplete_upload_days": 3,
        "soft_delete_days": 9,
        "storage_class_days": {"ARCHIVE": 5},
    }
    plan = pipeline.plan(
        bridge={
            "concurrency": 2,
            "cpu": 2,
            "max_instances": 3,
            "memory_mib": 1024,
            "min_instances": 1,
            "timeout_seconds": 45,
        },
        dead_letter_retention_days=5,
        delivery={
            "ack_deadline_seconds": 70,
            "max_attempts": 9,
            "max_backoff_seconds": 99,
            "min_backoff_seconds": 1,
            "retention_days": 2,
        },
        force_destroy=True,
        retry_days=4,
        results_retention=days | {"noncurrent_days": 11},
        uploads_retention=days | {"noncurrent_days": 44},
    )
    assert instances(plan, BRIDGE) == ("1Gi", "2", 1, 3, 2, 45)
    dead_letters = plan["module.object_events.google_pubsub_subscription.dead_letters"]
    assert dead_letters["message_retention_duration"] == "432000s"
    values = plan[SUBSCRIPTION]
    assert (values["ack_deadline_seconds"], values["message_retention_duration"]) == (70, "172800s")
    assert values["dead_letter_policy"][0]["max_delivery_attempts"] == 9
    assert values["retry_policy"] == [{"minimum_backoff": "1s", "maximum_backoff": "99s"}]
    assert plan[QUEUE]["retry_config"][0]["max_retry_duration"] == "345600s"
    assert settings(plan, PROCESSOR)["TASK_SECONDS"] == "345600"
    for bucket, noncurrent in ((RESULTS, 11), (UPLOADS, 44)):
        assert plan[bucket]["force_destroy"] is True
        assert plan[bucket]["soft_delete_policy"][0]["retention_duration_seconds"] == 9 * 86400
        rules = plan[bucket]["lifecycle_rule"]
        assert rules[0]["condition"][0]["days_since_noncurrent_time"] == noncurrent
        assert rules[1]["condition"][0]["age"] == 3
        assert rules[-1]["action"][0]["storage_class"] == "ARCHIVE"
        assert rules[-1]["condition"][0]["age"] == 5


def test_monitoring_is_made_when_asked_with_an_objective_and_channels_of_ones_own(
    pipeline: Root, default: Plan
) -> None:
    channels = ["projects/demo-project/notificationChannels/1"]
    plan = pipeline.plan(
        monitoring={
            "enabled": True,
            "notification_channels": channels,
            "objective_days": 7,
            "objective_goal": 0.99,
            "objective_seconds": 60,
            "runbook_url": "https://wiki.example.com/r",
        }
    )
    (slo,) = plan.of_type("google_monitoring_slo")
    assert (plan[slo]["goal"], plan[slo]["rolling_period_days"]) == (0.99, 7)
    late = plan['module.monitoring[0].google_logging_metric.counter["missed"]']
    assert "age_seconds>60" in late["filter"]
    for address in plan.of_type("google_monitoring_alert_policy"):
        assert plan[address]["notification_channels"] == channels
        (documentation,) = plan[address]["documentation"]
        assert documentation["links"][0]["url"].startswith("https://wiki.example.com/r#")
    assert not default.of_type("google_monitoring_alert_policy")
    assert plan.bindings() == default.bindings()


def test_the_deployer_may_act_as_the_accounts_that_it_hands_out(
    pipeline: Root, default: Plan
) -> None:
    deployer = "serviceAccount:files-apply@demo-project.iam.gserviceaccount.com"
    added = pipeline.plan(deployer=deployer).bindings() - default.bindings()
    assert added == {
        ("files-apply", "roles/iam.serviceAccountUser", f"account/files-dev-{role}")
        for role in ("bridge", "processor", "events-invoker")
    }


def test_every_binding_is_told_with_its_because(pipeline: Root) -> None:
    waits = {"delays": True, "queue": {"max_concurrent_dispatches": 72}}
    plan = pipeline.plan(
        deployer="serviceAccount:files-apply@demo-project.iam.gserviceaccount.com",
        lanes=videos(**SERVICE)["lanes"] | {"default": waits},
    )
    assert plan.told() == plan.bindings(conditions=False)


def test_a_second_lane_has_a_queue_and_a_processor_of_its_own(
    pipeline: Root, default: Plan
) -> None:
    lane = {
        "content_types": ["application/pdf"],
        "prefixes": ["papers/"],
        "processor": {
            "concurrency": 1,
            "cpu": 1,
            "max_file_bytes": 1048576,
            "max_instances": 4,
            "max_pixels": 1000000,
            "memory_mib": 1024,
            "min_instances": 1,
            "timeout_seconds": 900,
            "work_seconds": 800,
        },
        "queue": {
            "dispatch_deadline_seconds": 1000,
            "max_attempts": 5,
            "max_backoff_seconds": 30,
            "max_concurrent_dispatches": 3,
            "max_dispatches_per_second": 2,
            "max_doublings": 4,
            "min_backoff_seconds": 1,
            "paused": True,
        },
    }
    plan = pipeline.plan(lanes={"default": {}, "papers": lane})
    processor = 'module.processor["papers"].google_cloudfunctions2_function.this'
    (service,) = plan[processor]["service_config"]
    assert service["available_memory"] == "1Gi"
    assert service["available_cpu"] == "1"
    assert service["max_instance_count"] == 4
    assert service["max_instance_request_concurrency"] == 1
    assert service["min_instance_count"] == 1
    assert service["timeout_seconds"] == 900
    told = settings(plan, processor)
    assert {
        name: told[name] for name in ("LANE", "MAX_ATTEMPTS", "MAX_FILE_BYTES", "MAX_PIXELS")
    } == {
        "LANE": "papers",
        "MAX_ATTEMPTS": "5",
        "MAX_FILE_BYTES": "1048576",
        "MAX_PIXELS": "1000000",
    }
    assert told["WORK_SECONDS"] == "800"
    queue = plan['module.queue["papers"].google_cloud_tasks_queue.this']
    (rates,), (retry,) = queue["rate_limits"], queue["retry_config"]
    assert (rates["max_dispatches_per_second"], rates["max_concurrent_dispatches"]) == (2, 3)
    assert retry == {
        "max_attempts": 5,
        "max_backoff": "30s",
        "max_doublings": 4,
        "max_retry_duration": "604800s",
        "min_backoff": "1s",
    }
    assert queue["desired_state"] == "PAUSED"
    assert plan.bindings() - default.bindings() == {
        ("files-dev-bridge", "roles/cloudtasks.enqueuer", "queue/files-dev-papers"),
        ("files-dev-tasks-invoker", "roles/run.invoker", "run/files-dev-processor-papers"),
    }


def test_a_lane_can_call_a_service_of_ones_own(pipeline: Root, default: Plan) -> None:
    plan = pipeline.plan(**videos(**SERVICE))
    assert len(plan.of_type("google_cloudfunctions2_function")) == 2
    assert plan.bindings() - default.bindings() == {
        ("files-dev-bridge", "roles/cloudtasks.enqueuer", "queue/files-dev-videos"),
        ("videos", "roles/storage.objectViewer", "bucket/files-dev-uploads"),
        ("videos", "roles/storage.objectCreator", "bucket/files-dev-results"),
    }


def test_a_target_that_keeps_no_records_may_not_write_results(
    pipeline: Root, default: Plan
) -> None:
    plan = pipeline.plan(**videos(**SERVICE | {"records": False}))
    assert plan.bindings() - default.bindings() == {
        ("files-dev-bridge", "roles/cloudtasks.enqueuer", "queue/files-dev-videos"),
        ("videos", "roles/storage.objectViewer", "bucket/files-dev-uploads"),
    }


def test_renditions_reach_the_processor(pipeline: Root) -> None:
    rendition = {"fit": "cover", "format": "webp", "height": 80, "quality": 70, "width": 60}
    told = settings(pipeline.plan(renditions={"icon": rendition}), PROCESSOR)
    assert json.loads(told["RENDITIONS"]) == {"icon": rendition}


def test_a_lanes_kind_picks_its_zip(pipeline: Root) -> None:
    film = {"width": 640, "format": "mp4"}
    videos = {"kind": "media", "prefixes": ["videos/"], "renditions": {"film": film}}
    plan = pipeline.plan(lanes={"default": {}, "videos": videos})
    processor = 'module.processor["videos"].google_cloudfunctions2_function.this'
    told = settings(plan, processor)
    assert told["KIND"] == "media"
    assert told["SOURCE_VERSION"] == hashlib.sha256(b"the zip of processor-media").hexdigest()
    assert json.loads(told["RENDITIONS"])["film"]["format"] == "mp4"
    assert settings(plan, PROCESSOR)["KIND"] == "default"


def test_a_lane_may_have_renditions_of_its_own(pipeline: Root) -> None:
    page = {"fit": "inside", "format": "png", "height": 1600, "quality": 85, "width": 1200}
    papers = {"prefixes": ["papers/"], "renditions": {"page": page}}
    plan = pipeline.plan(lanes={"default": {}, "papers": papers})
    told = settings(plan, PROCESSOR.replace("default", "papers"))
    assert json.loads(told["RENDITIONS"]) == {"page": page}
    assert json.loads(settings(plan, PROCESSOR)["RENDITIONS"]).keys() == {"thumbnail"}


def test_filters_and_hashed_names_are_settings(pipeline: Root) -> None:
    filters = {"include_prefixes": ["in/", "videos/"], "exclude_prefixes": ["in/tmp/"]}
    told = settings(pipeline.plan(hash_object_names=True, **filters), PROCESSOR)
    assert told["HASH_OBJECT_NAMES"] == "true"
    told = settings(pipeline.plan(hash_object_names=True, lanes=HANDED_OVER, **filters), BRIDGE)
    assert told["HASH_OBJECT_NAMES"] == "true"
    assert told["INCLUDE_PREFIXES"] == '["in/","videos/"]'
    assert told["EXCLUDE_PREFIXES"] == '["in/tmp/"]'


def test_the_bridge_is_told_each_lane(pipeline: Root) -> None:
    told = settings(pipeline.plan(lanes=HANDED_OVER), BRIDGE)
    lane = json.loads(told["LANES"])["videos"]
    assert re.fullmatch(
        r"projects/demo-project/locations/us-central1/queues/files-dev-videos-\d{12}",
        lane.pop("queue"),
    )
    assert lane == {
        "audience": "https://videos.example.com",
        "content_types": ["video/mp4"],
        "delay_seconds": 0,
        "delays": False,
        "dispatch_deadline_seconds": 360,
        "later": "",
        "max_delay_seconds": 23 * 86400,
        "prefixes": ["videos/"],
        "records": False,
        "url": "https://videos.example.com/tasks",
    }
    invoker = "files-dev-tasks-invoker@demo-project.iam.gserviceaccount.com"
    assert told["TASKS_INVOKER"] == invoker


def test_a_lane_that_delays_has_a_second_queue(pipeline: Root, default: Plan) -> None:
    waits = {"delays": True, "queue": {"max_concurrent_dispatches": 72}}
    plan = pipeline.plan(lanes={"default": waits})
    queue = 'module.queue_later["default"].google_cloud_tasks_queue.this'
    assert plan.bindings() - default.bindings() == {
        ("files-dev-bridge", "roles/cloudtasks.enqueuer", "queue/files-dev-default-later"),
    }
    assert rates_and_retries(plan[queue]) == rates_and_retries(plan[QUEUE])


def test_the_bridge_is_told_of_delays(pipeline: Root) -> None:
    lanes = {"default": {"target": ELSEWHERE, "delay_seconds": 60}}
    told = json.loads(settings(pipeline.plan(lanes=lanes, retry_days=5), BRIDGE)["LANES"])
    lane = told["default"]
    assert re.search(r"/queues/files-dev-default-later-\d{12}$", lane["later"])
    assert (lane["delay_seconds"], lane["delays"]) == (60, False)
    assert lane["max_delay_seconds"] == 25 * 86400


def test_everything_can_be_kept(pipeline: Root) -> None:
    plan = pipeline.plan(deletion_policy="PREVENT")
    unprotected = {
        address
        for address, values in plan.resources.items()
        if values.get("deletion_policy") == "DELETE" and "google_service_account" not in address
    }
    assert unprotected == set(plan.of_type("google_storage_bucket_object"))


def test_a_key_of_ones_own_encrypts_all_that_takes_one(pipeline: Root, default: Plan) -> None:
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    plan = pipeline.plan(kms_key_name=key)
    for kind in ("google_cloudfunctions2_function", "google_pubsub_topic"):
        assert {plan[address]["kms_key_name"] for address in plan.of_type(kind)} == {key}
        assert {default[address].get("kms_key_name") for address in plan.of_type(kind)} == {None}
    for address in plan.of_type("google_storage_bucket"):
        assert not default[address].get("encryption"), address
        assert plan[address]["encryption"][0]["default_kms_key_name"] == key, address
    # Who may use a key is for its owner to say.
    assert plan.bindings() == default.bindings()


def test_names_follow_prefix_environment_and_region(pipeline: Root) -> None:
    plan = pipeline.plan(prefix="pix", environment="qa", region="europe-west1")
    assert plan.outputs["results_bucket"] == "demo-project-pix-qa-results"
    assert plan[RESULTS]["location"].upper() == "EUROPE-WEST1"
    assert plan[QUEUE]["location"] == "europe-west1"
    assert plan[BRIDGE]["location"] == "europe-west1"
    assert plan[BRIDGE]["name"] == "pix-qa-bridge"


def test_the_longest_names_are_within_googles_lengths(pipeline: Root) -> None:
    lane = "l" * 23
    plan = pipeline.plan(
        prefix="abcdefgh",
        environment="stages",
        lanes={"default": {}, lane: {"prefixes": ["x/"]}},
    )
    # A project id has up to 30 characters, and bucket names begin with it.
    shorter = 30 - len(PROJECT)
    limits = {
        "google_cloud_tasks_queue": ("name", 100),
        "google_cloudfunctions2_function": ("name", 49),
        "google_pubsub_subscription": ("name", 255),
        "google_service_account": ("account_id", 30),
        "google_storage_bucket": ("name", 63 - shorter),
    }
    for kind, (attribute, limit) in limits.items():
        assert plan.of_type(kind)
        for address in plan.of_type(kind):
            assert len(plan[address][attribute]) <= limit, address


def test_a_lane_may_lie_within_an_included_folder_or_around_one(pipeline: Root) -> None:
    plan = pipeline.plan(
        include_prefixes=["photos/", "scans/2026/"],
        exclude_prefixes=["scans/2026/private/"],
        lanes={
            "default": {},
            "portraits": {"prefixes": ["photos/portraits/"]},
            "scans": {"prefixes": ["scans/"]},
        },
    )
    assert len(plan.of_type("google_cloud_tasks_queue")) == 3


# Rejections


def needed_mib() -> int:
    """What a default lane takes, by the processor's own numbers: its largest file, 7 photos."""
    formats = json.loads((ROOT / "functions/processor/processor/formats.json").read_text())
    counted, images = formats["memory"], formats["images"]
    largest = 100 * max(takes["copies"] for takes in images)
    largest += max(takes["bytes_per_pixel"] for takes in images) * 50_000_000 / 2**20
    largest += counted["rendition_bytes_per_pixel"] * 300 * 300 / 2**20
    beside = counted["base_mib"] + counted["fixed_mib"] + 7 * counted["photo_mib"]
    return math.ceil(largest + beside)


REFUSED: list[Case] = [
    (
        {"bridge": {"timeout_seconds": 60}},
        "bridge.timeout_seconds is 60, but an event counts as undelivered",
    ),
    ({"bridge": {"timeout_seconds": 44}}, "bridge.timeout_seconds is 44; it must be at least 45"),
    ({"zips": "none"}, "Build them with: python3 scripts/build_functions.py"),
    ({"deployer": "files-apply"}, "deployer is files-apply; it must be an IAM member"),
    ({"environment": "Dev"}, "environment is Dev; it has 2 to 10 lower-case letters"),
    ({"deletion_policy": "KEEP"}, "deletion_policy is KEEP; it must be DELETE or PREVENT"),
    (
        {"force_destroy": True, "deletion_policy": "PREVENT"},
        "force_destroy is true while deletion_policy is PREVENT",
    ),
    (
        {"lanes": {"default": {}, "A": {"prefixes": ["a/"]}}},
        "each has 1 to 23 lower-case letters",
    ),
    (
        {"lanes": {"default": {}, "a" * 24: {"prefixes": ["a/"]}}},
        "each has 1 to 23 lower-case letters",
    ),
    ({"lanes": {"photos": {"prefixes": ["a/"]}}}, "lanes has the keys photos, but no default"),
    (
        {"lanes": {"default": {}, "photos": {}}},
        "Every lane but default names prefixes or content_types",
    ),
    (default_lane(prefixes=["a/"]), "default names none, since it takes what is left"),
    (
        {
            "include_prefixes": ["photos/"],
            "lanes": {"default": {}, "scans": {"prefixes": ["scans/"]}},
        },
        "outside exclude_prefixes, or no object comes to it; they are scans/.",
    ),
    (
        {
            "exclude_prefixes": ["scans/"],
            "lanes": {"default": {}, "old": {"prefixes": ["scans/old/"]}},
        },
        "outside exclude_prefixes, or no object comes to it; they are scans/old/.",
    ),
    (
        {"lanes": {"default": {}, "a": {"prefixes": ["x/"]}, "b": {"prefixes": ["x/", "y/"]}}},
        "stands in one lane only; they are x/ in a, x/ and y/ in b",
    ),
    (
        {
            "lanes": {
                "default": {},
                "a": {"content_types": ["text/csv"]},
                "b": {"content_types": ["text/csv"]},
            }
        },
        "they are text/csv in a, text/csv in b",
    ),
    (
        {"lanes": {"default": {}, "a": {"prefixes": ["gs://uploads/a/"]}}},
        "such as scans/, without gs:// and the bucket; they are gs://uploads/a/",
    ),
    ({"include_prefixes": ["gs://uploads/a/"]}, "include_prefixes has gs://uploads/a/; a prefix"),
    ({"exclude_prefixes": ["gs://uploads/a/"]}, "exclude_prefixes has gs://uploads/a/; a prefix"),
    (
        default_lane(kind="code"),
        "kind must be one of default, media, office, tables; it is code in default",
    ),
    ({"renditions": {"text": {}}}, "table and text are what other outputs are called"),
    (
        default_lane(renditions={"table": {}}),
        "renditions has the names thumbnail, default.table; table and text",
    ),
    (
        {"lanes": {"default": {}, "papers": {"content_types": ["pdf"]}}},
        "are written type/subtype or type/*, in lower case, or no object matches; they are pdf",
    ),
    (
        {"lanes": {"default": {}, "papers": {"content_types": ["Text/*", "text/c*"]}}},
        "they are Text/*, text/c*",
    ),
    (default_lane(delay_seconds=-1), "delay_seconds is -1 in default"),
    (default_lane(delay_seconds=1987201), "30 − retry_days days, 1987200 s, in whole seconds"),
    (default_lane(delays=True), "two such queues; default has 200 and takes 144"),
    (
        {
            "lanes": {
                "default": {"delays": True, "queue": {"max_concurrent_dispatches": 72}},
                "default-later": {"prefixes": ["x/"]},
            }
        },
        "has a second queue, called default-later",
    ),
    (default_lane(queue={"max_attempts": 0}), "max_attempts must be 1 to 100; it is 0 in default"),
    (
        default_lane(processor={"work_seconds": 330}),
        "work_seconds < processor.timeout_seconds < queue.dispatch_deadline_seconds",
    ),
    (default_lane(processor={"timeout_seconds": 360}), "they are 300, 360, 360 in default"),
    (
        default_lane(queue={"dispatch_deadline_seconds": 1801}),
        "must be 15 to 1800, as Cloud Tasks has it; it is 1801 in default",
    ),
    (
        default_lane(queue={"max_concurrent_dispatches": 145}),
        "queues; default has 145 and takes 144",
    ),
    (default_lane(processor={"concurrency": 9}), "concurrency must be at most 4 × cpu"),
    (default_lane(processor={"max_pixels": 100000000}), "default has 2048 and needs"),
    (default_lane(processor={"max_file_bytes": 1073741824}), "default has 2048 and needs"),
    ({"renditions": {"a": {"width": 8000, "height": 8000}}}, "default has 2048 and needs"),
    (
        default_lane(renditions={"a": {"width": 8000, "height": 8000}}),
        "default has 2048 and needs",
    ),
    (
        default_lane(processor={"memory_mib": 1024}),
        f"default has 1024 and needs {needed_mib()}",
    ),
    (videos(**SERVICE | {"account": "videos@x.com"}), "target.account must be an IAM member"),
    (videos(**SERVICE | {"url": "http://x.com"}), "target.url must be an https:// address"),
    (videos(**SERVICE | {"audience": ""}), "target.audience is empty"),
    (
        videos(**SERVICE | {"account": None}),
        "names the account that may read uploads and create results",
    ),
    ({"prefix": "Files"}, "prefix is Files; it has lower-case letters"),
    ({"prefix": "abcdefghijkl"}, "make abcdefghijkl-dev, 16 characters; 15 keep every name"),
    (
        {"prefix": "my-google"},
        "make my-google-dev; Cloud Storage takes no bucket whose name holds google",
    ),
    (
        {"kms_key_name": "projects/p/locations/us/keyRings/r/cryptoKeys/k"},
        "but the bucket is in us-central1",
    ),
    ({"project_id": "My Project"}, "project_id is My Project; it has 6 to 30"),
    ({"renditions": {"A": {}}}, "renditions has the names A; each has 1 to 32"),
    ({"renditions": {"a": {"fit": "fill"}}}, "fit must be inside or cover; it is fill in a"),
    (
        {"renditions": {"a": {"format": "gif"}}},
        "avif, jpeg, png, webp, or in a lane whose kind is media mp4 or webm; it is gif in a",
    ),
    (
        {"renditions": {"a": {"width": 0}}},
        "whole numbers from 1 to 8192; they are 0 × 300 in a",
    ),
    ({"renditions": {"a": {"format": "mp4"}}}, "whose kind is media mp4 or webm; it is mp4 in a"),
    (default_lane(renditions={"a": {"format": "webm"}}), "it is webm in default.a"),
    ({"renditions": {"a": {"quality": 101}}}, "quality must be 1 to 100; it is 101 in a"),
    (default_lane(renditions={"A": {}}), "renditions has the names default.A, thumbnail; each"),
    (default_lane(renditions={"a": {"quality": 0}}), "it is 0 in default.a, 85 in thumbnail"),
    (
        {"uploads_retention": {"noncurrent_days": 69}},
        "uploads_retention.noncurrent_days is 69, but an upload can be named for 69 days",
    ),
    # Passed on to the modules, which have the rule.
    (
        {"dead_letter_retention_days": 32, "uploads_retention": {"noncurrent_days": 99}},
        "at most 31 days",
    ),
    ({"delivery": {"max_attempts": 101}}, "max_attempts is 101; Pub/Sub takes 5 to 100"),
    ({"retry_days": 31}, "retry.retry_days is 31; it must be above 0"),
    ({"results_retention": {"soft_delete_days": 3}}, "soft_delete_days is 3"),
    ({"uploads_origins": ["*"]}, "cors.origins has *; an origin is https://host"),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(pipeline: Root, case: Case) -> None:
    assert case[1] in pipeline.refused(case, REFUSED)


def test_every_rule_refuses_something(pipeline: Root) -> None:
    assert unseen(pipeline, "terraform/pipeline", REFUSED) == []

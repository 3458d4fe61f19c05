"""Every IAM binding of an applied environment is needed; they are enough; none could be narrower.

The bindings are read from the cloud after `make bootstrap` and `make apply`, never written down
here: one without a proof fails by its name, as does a proof without a binding. Those of the
accounts that deliver from GitHub: tests/permissions/test_delivery.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from scripts.docs_permissions import (
    Grant,
    Reasons,
    Stale,
    check,
    grants,
    reasons,
    renewed,
    table,
)
from tests.localcloud.client import OWNER, LocalCloudError
from tests.localcloud.client.calls import call
from tests.localcloud.client.deployment import client
from tests.permissions.tools import (
    Binding,
    Key,
    Proof,
    Watch,
    account,
    bind,
    granted,
    made_by,
    narrower,
    narrower_for,
    publish_what_nobody_can_read,
    redeploy,
    used,
    withheld,
)
from tests.system.pipeline import Pipeline, jpeg

BRIDGE = "files-dev-bridge"
PROCESSOR = "files-dev-processor-default"
LONG = 700.0  # seconds: more than the longest back-off of push and queue
UPLOADER = "user:uploader@example.com"


@pytest.fixture(scope="session")
def applied(pipeline: Pipeline) -> dict[Grant, Binding]:
    return grants(pipeline.cloud.get("/bindings"))


@pytest.fixture(scope="session")
def why(pipeline: Pipeline) -> Reasons:
    bootstrap = pipeline.deployment.outputs("bootstrap")
    return reasons([*pipeline.outputs["grants"], *bootstrap["grants"]])


def binding_of(applied: dict[Grant, Binding], key: Key) -> Binding:
    assert Grant(*key) in applied, f"{key} is proved here, but not granted"
    return applied[Grant(*key)]


# Necessary


def a_file_waits(p: Pipeline, fresh: str, binding: Binding, refusal: dict[str, Any]) -> None:
    """An upload stands still at the step, spends nothing, and goes on with the binding."""
    name, watch = f"{fresh}/waiting.jpg", Watch(p.cloud)
    with withheld(p.cloud, binding):
        generation = p.upload(name, jpeg(64, 64))
        p.cloud.advance(LONG)
        assert watch.lines(**refusal), f"nothing refused: {refusal}"
        assert p.listing(f"manifests/{name}") + p.listing(f"failures/{name}") == []
    p.cloud.advance(LONG)
    p.settle()
    manifest = p.manifest(name, generation)
    assert manifest is not None
    assert manifest["attempt"] == 1


def a_dead_letter_stays(p: Pipeline, fresh: str, binding: Binding, refusal: dict[str, Any]) -> None:
    """An event that cannot be delivered is not given up until it can be kept."""
    watch, seconds = Watch(p.cloud), 100 * 600.0
    with withheld(p.cloud, binding):
        agent = f"serviceAccount:{p.client.get_service_account_email()}"
        message = publish_what_nobody_can_read(p.cloud, agent)
        p.cloud.advance(seconds)
        assert watch.lines(message=message, **refusal), f"nothing refused: {refusal}"
        assert not watch.lines(kind="pubsub.dead_letter", message=message)
    p.cloud.advance(LONG)
    assert len(watch.lines(kind="pubsub.dead_letter", message=message)) == 1


def a_build_fails(p: Pipeline, fresh: str, binding: Binding, refusal: dict[str, Any]) -> None:
    """Deploying fails with the permission's name, and what served before goes on serving."""
    with withheld(p.cloud, binding):
        error = redeploy(p.cloud, BRIDGE)
        assert refusal["says"] in error, error
        generation = p.process(f"{fresh}/still.txt", b"served", "text/plain")
        assert p.manifest(f"{fresh}/still.txt", generation)
    assert redeploy(p.cloud, BRIDGE) == ""


PROOFS: dict[Key, Proof] = {
    ("Cloud Storage's agent", "roles/pubsub.publisher", "topic uploads"): Proof(
        "upload event published",
        a_file_waits,
        {"kind": "storage.unpublished", "says": "pubsub.topics.publish"},
    ),
    ("events-invoker", "roles/run.invoker", "function bridge"): Proof(
        "push delivered",
        a_file_waits,
        {"kind": "run.request", "service": BRIDGE, "source": "pubsub", "status": 403},
    ),
    ("bridge", "roles/cloudtasks.enqueuer", "queue default"): Proof(
        "task created",
        a_file_waits,
        {"kind": "api", "code": 403, "says": "cloudtasks.tasks.create"},
    ),
    ("bridge", "roles/iam.serviceAccountUser", "account tasks-invoker"): Proof(
        "task created in the name of tasks-invoker",
        a_file_waits,
        {"kind": "api", "code": 403, "says": "iam.serviceAccounts.actAs"},
    ),
    ("tasks-invoker", "roles/run.invoker", "function processor-default"): Proof(
        "task dispatched",
        a_file_waits,
        {"kind": "run.request", "service": PROCESSOR, "source": "tasks", "status": 403},
    ),
    ("processor", "roles/storage.objectViewer", "bucket uploads"): Proof(
        "source read",
        a_file_waits,
        {"kind": "api", "method": "storage.objects.get", "code": 403},
    ),
    ("processor", "roles/storage.objectCreator", "bucket results"): Proof(
        "record written",
        a_file_waits,
        {"kind": "api", "method": "storage.objects.insert", "code": 403},
    ),
    ("Pub/Sub's agent", "roles/pubsub.publisher", "topic dead-letters"): Proof(
        "dead letter published",
        a_dead_letter_stays,
        {"kind": "pubsub.dead_letter_refused", "says": "pubsub.topics.publish"},
    ),
    ("Pub/Sub's agent", "roles/pubsub.subscriber", "subscription bridge"): Proof(
        "dead letter taken off the subscription",
        a_dead_letter_stays,
        {"kind": "pubsub.dead_letter_refused", "says": "pubsub.subscriptions.consume"},
    ),
    ("build", "roles/storage.objectViewer", "project"): Proof(
        "source copied by Google read by the build", a_build_fails, {"says": "storage.objects.get"}
    ),
    ("build", "roles/artifactregistry.writer", "repository functions"): Proof(
        "image pushed", a_build_fails, {"says": "artifactregistry.repositories.uploadArtifacts"}
    ),
    ("build", "roles/logging.logWriter", "project"): Proof(
        "build log written", a_build_fails, {"says": "logging.logEntries.create"}
    ),
}


def test_every_binding_has_a_proof(applied: dict[Grant, Binding]) -> None:
    assert {grant.key for grant in applied} - PROOFS.keys() == set()


def test_bootstrap_and_the_pipeline_made_them_all(
    pipeline: Pipeline, applied: dict[Grant, Binding]
) -> None:
    """What a capability grants is proved where its tests are: made_by tells what that is."""
    own = made_by(pipeline.deployment, "dev", "pipeline")
    there = {(on.rpartition("/")[2], role, member) for on, role, member, _ in applied.values()}
    assert own
    assert {member.partition("@")[0] for _, _, member in there - own} == {
        "serviceAccount:files-build"
    }
    assert made_by(pipeline.deployment, "dev", "pipe") == set()


@pytest.mark.parametrize("key", PROOFS, ids=[proof.step for proof in PROOFS.values()])
def test_without_its_binding_a_step_is_refused_and_with_it_again_it_happens(
    pipeline: Pipeline, applied: dict[Grant, Binding], fresh: str, key: Key
) -> None:
    proof = PROOFS[key]
    proof.story(pipeline, fresh, binding_of(applied, key), proof.refusal)


def test_a_binding_that_nothing_needs_would_be_found(
    pipeline: Pipeline, applied: dict[Grant, Binding], fresh: str
) -> None:
    resource = f"projects/_/buckets/{pipeline.uploads}"
    spare = [resource, "roles/storage.objectViewer", account(pipeline.cloud, "dev-bridge"), None]
    with granted(pipeline.cloud, spare):
        unproved = {grant.key for grant in grants(pipeline.cloud.get("/bindings"))} - PROOFS.keys()
        assert unproved == {("bridge", "roles/storage.objectViewer", "bucket uploads")}
        # And a proof of it, had one been written, fails: nothing is refused without it.
        refusal = PROOFS["processor", "roles/storage.objectViewer", "bucket uploads"].refusal
        with pytest.raises(AssertionError, match="nothing refused"):
            a_file_waits(pipeline, fresh, spare, refusal)


# Sufficient


@pytest.fixture(scope="session")
def exercised(
    pipeline: Pipeline, applied: dict[Grant, Binding], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[list[str]]]:
    """What each account used in the chain's whole work: {member: [[permission, resource], …]}.

    The project has no owner meanwhile, and whoever uploads has only the role that the documents
    name. It must be set up by one test alone: the record begins anew.
    """
    cloud = pipeline.cloud
    gsutil = client("gsutil")
    assert gsutil, "gsutil is missing: make test installs it"
    photo = tmp_path_factory.mktemp("upload") / "tom.jpg"
    photo.write_bytes(jpeg(640, 480))
    own = {k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE_", "CLOUDSDK_"))}
    # As gsutil uploads large files: in parts, that it composes and deletes.
    parts = [f"-oGSUtil:parallel_composite_upload_{k}=2K" for k in ("threshold", "component_size")]
    command = [*gsutil, "-q", *parts, "cp", photo, f"gs://{pipeline.uploads}/sufficient/tom.jpg"]
    uploads = f"projects/_/buckets/{pipeline.uploads}"
    owner = [f"projects/{cloud.project}", "roles/owner", OWNER, None]
    storage_agent = f"serviceAccount:{pipeline.client.get_service_account_email()}"
    cloud.delete("/permissions")
    with granted(cloud, [uploads, "roles/storage.objectUser", UPLOADER, None]):
        with withheld(cloud, owner):
            refused = call(
                cloud, "GET", f"https://storage.googleapis.com/storage/v1/b/{pipeline.uploads}/o"
            )
            assert refused.status_code == 403
            done = subprocess.run(
                command, env=own | cloud.environ(UPLOADER), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            publish_what_nobody_can_read(cloud, storage_agent)
            cloud.advance(100 * 600.0)
            pipeline.settle()
    assert redeploy(cloud, BRIDGE) == ""
    return dict(cloud.get("/permissions"))


def test_the_chain_runs_on_these_bindings_alone(
    pipeline: Pipeline, exercised: dict[str, list[list[str]]]
) -> None:
    (name,) = pipeline.listing("manifests/sufficient/tom.jpg/")
    assert json.loads(pipeline.read(name))["outputs"][0]["name"] == "thumbnail"
    assert {p for p, _ in exercised[UPLOADER]} == {
        f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list")
    }


def test_every_binding_is_used_by_the_chain(
    applied: dict[Grant, Binding], exercised: dict[str, list[list[str]]]
) -> None:
    assert [grant for grant, binding in applied.items() if not used(binding, exercised)] == []


# Narrow

# Narrower roles that would cover what the chain uses, and why they do not do.
EXCEPTIONS = {
    ("processor", "roles/storage.objectViewer", "bucket uploads"): (
        "roles/storage.legacyObjectReader",
        "without list a file that is gone reads as forbidden, and its task would wait for ever",
    ),
    ("build", "roles/storage.objectViewer", "project"): (
        "roles/storage.legacyObjectReader",
        "a bucket carries it, not a project, and the bucket is not there before the first build",
    ),
}


@pytest.mark.parametrize("key", PROOFS, ids=[" ".join(key) for key in PROOFS])
def test_no_narrower_role_would_do(
    applied: dict[Grant, Binding], exercised: dict[str, list[list[str]]], key: Key
) -> None:
    assert narrower_for(binding_of(applied, key), exercised) == set(EXCEPTIONS.get(key, ())[:1])


def test_a_role_that_is_too_wide_would_be_found() -> None:
    create = {"storage.objects.create"}
    assert "roles/storage.objectCreator" in narrower("roles/storage.objectUser", create)


def test_on_the_project_stands_only_what_nothing_narrower_carries(
    applied: dict[Grant, Binding],
) -> None:
    on_project = {
        grant: binding[3] for grant, binding in applied.items() if grant.resource == "project"
    }
    assert {grant.key[:2] for grant in on_project} == {
        ("build", "roles/logging.logWriter"),
        ("build", "roles/storage.objectViewer"),
    }
    (condition,) = [c for grant, c in on_project.items() if grant.role.startswith("roles/storage")]
    assert "gcf-v2-sources-" in condition["expression"]


def a_file_that_goes_before_its_task(p: Pipeline, name: str) -> int:
    p.cloud.post("/run/down", {"service": PROCESSOR})
    generation = p.upload(name, jpeg(64, 64))
    p.settle()
    p.client.bucket(p.uploads).blob(name, generation=generation).delete()
    p.cloud.post("/run/up", {"service": PROCESSOR})
    p.cloud.advance(LONG)
    p.settle()
    return generation


def test_with_a_role_that_may_not_list_a_missing_file_waits_for_ever(
    pipeline: Pipeline, applied: dict[Grant, Binding], fresh: str
) -> None:
    """The reason for the first exception."""
    key = ("processor", "roles/storage.objectViewer", "bucket uploads")
    resource, _, member, _ = viewer = binding_of(applied, key)
    narrow = [resource, EXCEPTIONS[key][0], member, None]
    name = f"{fresh}/gone.jpg"
    with withheld(pipeline.cloud, viewer), granted(pipeline.cloud, narrow):
        there = pipeline.process(f"{fresh}/there.jpg", jpeg(64, 64))
        assert pipeline.manifest(f"{fresh}/there.jpg", there)
        generation = a_file_that_goes_before_its_task(pipeline, name)
        assert pipeline.failure(name, generation) is None
    pipeline.cloud.advance(LONG)
    failure = pipeline.failure(name, generation)
    assert failure is not None
    assert failure["reason"] == "source_gone"


def test_a_project_carries_no_legacy_role_and_no_binding_stands_on_google_s_copy_of_the_source(
    pipeline: Pipeline, applied: dict[Grant, Binding]
) -> None:
    """The reason for the second exception."""
    key = ("build", "roles/storage.objectViewer", "project")
    project, _, member, condition = binding_of(applied, key)
    with pytest.raises(LocalCloudError, match="not supported for this resource"):
        bind(pipeline.cloud, [project, EXCEPTIONS[key][0], member, None])
    bucket = condition["expression"].split('"')[1].removesuffix("/objects/")
    assert bucket.startswith("projects/_/buckets/gcf-v2-sources-")
    assert [row for row in pipeline.cloud.get("/bindings") if row[0] == bucket] == []


# Told


def test_the_documents_hold_the_table_of_what_is_applied(
    applied: dict[Grant, Binding], why: Reasons
) -> None:
    check(applied, "permissions", why)


def test_a_binding_without_a_reason_is_told(applied: dict[Grant, Binding], why: Reasons) -> None:
    with pytest.raises(Stale, match="no reason is given"):
        table([*applied, Grant("bridge", "roles/storage.objectViewer", "bucket uploads")], why)
    with pytest.raises(Stale, match="not granted"):
        table(list(applied)[1:], why)


def test_a_stale_table_and_a_missing_place_are_told(
    applied: dict[Grant, Binding], why: Reasons
) -> None:
    made = table(applied, why)
    text = "# X\n<!-- t -->\nold\n<!-- /t -->\nmore\n"
    assert renewed(text, "t", made, "x") == f"# X\n<!-- t -->\n{made}\n<!-- /t -->\nmore\n"
    with pytest.raises(Stale, match="no place"):
        renewed("# X\n", "t", made, "x")


def test_every_reason_has_a_proof(why: Reasons) -> None:
    assert why.keys() == PROOFS.keys()

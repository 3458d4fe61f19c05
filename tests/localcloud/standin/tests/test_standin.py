"""The stand-in with Terraform itself, against a small fake of Google's REST interfaces."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .conftest import Terraform
from .fake import Fake

ALL = (Path(__file__).parent / "all.tf").read_text()
BUCKET = 'resource "google_storage_bucket" "b" {{\n  name = "b"\n  location = "us"\n  {}\n}}\n'
TOPIC = 'resource "google_pubsub_topic" "t" {{\n  name = "{}"\n  {}\n}}\n'
OBJECT = """
resource "google_storage_bucket_object" "o" {{
  bucket = "b"
  name   = "a b/c?"
  {}
}}
"""
MEMBER = """
resource "google_storage_bucket_iam_member" "m" {{
  bucket = "b"
  role   = "roles/storage.objectViewer"
  member = "{}"
}}
"""


def test_every_type_is_created_unchanged_after_and_destroyed(
    cloud: Fake, terraform: Terraform
) -> None:
    (terraform.folder / "source.txt").write_text("source")
    terraform.apply(ALL)
    assert terraform.plan(ALL) == {}
    terraform("destroy", "-auto-approve")
    left = [path for path in cloud.store if "/services/" not in path]
    assert left == []
    assert not any(policy.get("bindings") for policy in cloud.policies.values())


def test_computed_values_are_unknown_until_apply(terraform: Terraform) -> None:
    change = terraform.plan(BUCKET.format(""))["google_storage_bucket.b"]
    assert change["after_unknown"]["self_link"]
    assert change["after_unknown"]["versioning"]
    assert change["after"]["location"] == "US"
    assert change["after"]["storage_class"] == "STANDARD"


def test_labels_show_the_provider_s_own(terraform: Terraform) -> None:
    change = terraform.plan(TOPIC.format("t", 'labels = { a = "b" }'))["google_pubsub_topic.t"]
    expected = {"a": "b", "goog-terraform-provisioned": "true"}
    assert change["after"]["terraform_labels"] == change["after"]["effective_labels"] == expected
    assert change["after"]["project"] == "p"


def test_an_update_sends_the_changed_fields_alone(cloud: Fake, terraform: Terraform) -> None:
    terraform.apply(TOPIC.format("t", ""))
    text = TOPIC.format("t", 'message_retention_duration = "600s"')
    assert terraform.plan(text)["google_pubsub_topic.t"]["actions"] == ["update"]
    cloud.calls.clear()
    terraform.apply(text)
    query = {"updateMask": "messageRetentionDuration"}
    labels = {"goog-terraform-provisioned": "true"}
    body = {"topic": {"messageRetentionDuration": "600s", "labels": labels}}
    assert ("PATCH", "projects/p/topics/t", query, body) in cloud.calls


def test_a_new_name_replaces(terraform: Terraform) -> None:
    terraform.apply(TOPIC.format("t", ""))
    change = terraform.plan(TOPIC.format("u", ""))["google_pubsub_topic.t"]
    assert change["actions"] == ["delete", "create"]
    assert change["replace_paths"] == [["name"]]


def test_drift_is_seen(cloud: Fake, terraform: Terraform) -> None:
    text = TOPIC.format("t", 'message_retention_duration = "600s"')
    terraform.apply(text)
    cloud.store["projects/p/topics/t"]["messageRetentionDuration"] = "900s"
    change = terraform.plan(text)["google_pubsub_topic.t"]
    assert change["before"]["message_retention_duration"] == "900s"
    del cloud.store["projects/p/topics/t"]
    assert terraform.plan(text)["google_pubsub_topic.t"]["actions"] == ["create"]


def test_a_binding_taken_away_is_planned_again(cloud: Fake, terraform: Terraform) -> None:
    terraform.apply(MEMBER.format("user:a@example.com"))
    assert terraform.plan(MEMBER.format("user:a@example.com")) == {}
    cloud.policies["b/b"]["bindings"] = []
    change = terraform.plan(MEMBER.format("user:a@example.com"))
    assert change["google_storage_bucket_iam_member.m"]["actions"] == ["create"]


def test_a_policy_changed_meanwhile_is_read_again(cloud: Fake, terraform: Terraform) -> None:
    other = {"role": "roles/storage.admin", "members": ["user:z@example.com"]}
    cloud.policies["b/b"] = {"etag": "5", "bindings": [other]}
    cloud.fail("PUT", "b/b/iam", 409, "the policy has changed")
    terraform.apply(MEMBER.format("user:a@example.com"))
    own = {"role": "roles/storage.objectViewer", "members": ["user:a@example.com"]}
    assert cloud.policies["b/b"]["bindings"] == [other, own]
    terraform("destroy", "-auto-approve")
    assert cloud.policies["b/b"]["bindings"] == [other]


def test_prevented_deletion_is_refused(cloud: Fake, terraform: Terraform) -> None:
    terraform.apply(TOPIC.format("t", 'deletion_policy = "PREVENT"'))
    assert 'without setting deletion_policy="DELETE"' in terraform(
        "destroy", "-auto-approve", fails=True
    )
    cloud.changes()
    terraform.apply(TOPIC.format("t", 'deletion_policy = "ABANDON"'))
    terraform("destroy", "-auto-approve")
    assert cloud.changes() == []
    assert "projects/p/topics/t" in cloud.store


def test_a_bucket_with_objects_needs_force_destroy(cloud: Fake, terraform: Terraform) -> None:
    terraform.apply(BUCKET.format(""))
    cloud.store["b/b/o/x"] = {"name": "x", "generation": "3"}
    assert "without `force_destroy` set to true" in terraform(
        "destroy", "-auto-approve", fails=True
    )
    terraform.apply(BUCKET.format("force_destroy = true"))
    terraform("destroy", "-auto-approve")
    assert cloud.store == {}
    assert ("DELETE", "b/b/o/x", {"generation": "3"}, None) in cloud.calls


def test_changed_content_is_uploaded_again(cloud: Fake, terraform: Terraform) -> None:
    (terraform.folder / "source.txt").write_text("one")
    text = OBJECT.format('source = "source.txt"')
    terraform.apply(text)
    assert terraform.plan(text) == {}
    (terraform.folder / "source.txt").write_text("two")
    change = terraform.plan(text)["google_storage_bucket_object.o"]
    assert change["actions"] == ["update"]
    assert change["after_unknown"]["generation"]
    cloud.changes()
    terraform.apply(text)
    assert cloud.changes() == ["POST b/b/o"]
    assert terraform.plan(text) == {}


def test_unknown_attributes_and_values_are_refused(terraform: Terraform) -> None:
    assert "Unsupported argument" in terraform.refuses(TOPIC.format("t", "nmae = 1"), "plan")
    queue = 'resource "google_cloud_tasks_queue" "q" {{\nname="q"\nlocation="r"\n{}\n}}'
    error = terraform.refuses(queue.format('desired_state = "STOPPED"'), "plan")
    assert "expected one of RUNNING, PAUSED, got STOPPED" in error
    error = terraform.refuses(OBJECT.format("") + MEMBER.format("nobody"), "plan")
    assert "exactly one of content, source must be specified" in error
    assert 'member: "nobody" must match' in error


def test_the_server_s_message_is_shown(cloud: Fake, terraform: Terraform) -> None:
    cloud.fail("PUT", "projects/p/topics/t", 403, "User not authorized to perform this action.")
    error = terraform.refuses(TOPIC.format("t", ""))
    assert "Error 403: User not authorized to perform this action., FAULT" in error


def test_a_queue_is_paused_and_resumed(cloud: Fake, terraform: Terraform) -> None:
    queue = 'resource "google_cloud_tasks_queue" "q" {{\nname="q"\nlocation="r"\n{}\n}}'
    terraform.apply(queue.format('desired_state = "PAUSED"'))
    name = "projects/p/locations/r/queues/q"
    assert cloud.changes() == ["POST projects/p/locations/r/queues", f"POST {name}:pause"]
    terraform.apply(queue.format(""))
    assert cloud.changes() == [f"POST {name}:resume"]


def test_what_exists_can_be_imported(cloud: Fake, terraform: Terraform) -> None:
    text = BUCKET.format("") + TOPIC.format("t", "") + MEMBER.format("user:a@example.com")
    terraform.apply(text)
    (terraform.folder / "terraform.tfstate").unlink()
    terraform("import", "google_storage_bucket.b", "b")
    terraform("import", "google_pubsub_topic.t", "projects/p/topics/t")
    member = "b/b roles/storage.objectViewer user:a@example.com"
    terraform("import", "google_storage_bucket_iam_member.m", member)
    assert {change["actions"][0] for change in terraform.plan(text).values()} <= {"update"}
    terraform.apply(text)
    assert terraform.plan(text) == {}


def test_the_process_announces_itself_and_ends_without_traces(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.localcloud.standin", "--dir", str(tmp_path)]
    root = Path(__file__).parents[4]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        announced = json.loads(process.stdout.readline())
        address = announced["registry.terraform.io/hashicorp/google"]["Addr"]["String"]
        assert Path(address).exists()
        process.terminate()
        assert process.wait(10) == 0
    assert list(tmp_path.iterdir()) == []

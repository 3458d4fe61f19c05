from __future__ import annotations

from typing import Any

import pytest

from .conftest import MakeRoot
from .plans import Case, Root, case_id, unseen

BUCKET = "google_storage_bucket.this"
KEY = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"


INPUTS = {
    "project_id": "demo-project",
    "name": "demo-project-files",
    "location": "us-central1",
}

BECAUSE = "it reads what is uploaded"


@pytest.fixture(scope="module")
def bucket(root: MakeRoot) -> Root:
    return root("terraform/modules/bucket", **INPUTS)


@pytest.fixture(scope="module")
def made(root: MakeRoot) -> Root:
    """The module with a state in which the bucket's identity is remembered."""
    made = root("terraform/modules/bucket", "made", **INPUTS)
    made.plan()
    made.apply("terraform_data.identity")
    return made


def rules(values: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Lifecycle rules as (action, class, condition without unset fields)."""
    found = []
    for rule in values["lifecycle_rule"]:
        action, condition = rule["action"][0], rule["condition"][0]
        found.append(
            (
                action["type"],
                action.get("storage_class") or None,
                {k: v for k, v in condition.items() if v},
            )
        )
    return found


# Defaults


def test_a_bucket_is_private_versioned_and_kept(bucket: Root) -> None:
    values = bucket.plan()[BUCKET]
    assert values["name"] == "demo-project-files"
    assert values["location"].upper() == "US-CENTRAL1"
    assert values["public_access_prevention"] == "enforced"
    assert values["uniform_bucket_level_access"] is True
    assert values["versioning"] == [{"enabled": True}]
    assert values["force_destroy"] is False
    assert values["deletion_policy"] == "DELETE"
    assert not values.get("encryption")


def test_old_versions_and_broken_uploads_go_and_deletions_can_be_undone_for_a_week(
    bucket: Root,
) -> None:
    values = bucket.plan()[BUCKET]
    assert values["soft_delete_policy"][0]["retention_duration_seconds"] == 7 * 86400
    assert rules(values) == [
        ("Delete", None, {"days_since_noncurrent_time": 30, "with_state": "ARCHIVED"}),
        ("AbortIncompleteMultipartUpload", None, {"age": 7, "with_state": "ANY"}),
    ]


def test_nobody_is_granted_anything(bucket: Root) -> None:
    assert bucket.plan().bindings() == set()


def test_legacy_access_of_basic_roles_stays(bucket: Root) -> None:
    """As the README says: only additive bindings are made, so those of Google's stay."""
    plan = bucket.plan(
        iam_members={
            "a": {
                "because": BECAUSE,
                "role": "roles/storage.objectViewer",
                "member": "user:a@x.com",
            }
        }
    )
    kinds = {address.split(".")[0] for address in plan.resources}
    assert kinds == {"google_storage_bucket", "google_storage_bucket_iam_member", "terraform_data"}


# Overrides


def test_pages_of_named_origins_may_talk_to_it(bucket: Root) -> None:
    (cors,) = bucket.plan(cors={"origins": ["https://b.example", "https://a.example"]})[BUCKET][
        "cors"
    ]
    assert cors == {
        "max_age_seconds": 3600,
        "method": ["GET", "HEAD", "POST", "PUT"],
        "origin": ["https://a.example", "https://b.example"],
        "response_header": ["Content-Type", "ETag", "Location", "Range"],
    }
    assert bucket.plan()[BUCKET]["cors"] == []


def test_members_are_granted_their_role(bucket: Root) -> None:
    plan = bucket.plan(
        iam_members={
            "reader": {
                "because": BECAUSE,
                "role": "roles/storage.objectViewer",
                "member": "user:a@x.com",
            },
            "writer": {
                "because": BECAUSE,
                "role": "roles/storage.objectCreator",
                "member": "user:b@x.com",
            },
        }
    )
    assert plan.bindings() == {
        ("user:a@x.com", "roles/storage.objectViewer", "bucket/files"),
        ("user:b@x.com", "roles/storage.objectCreator", "bucket/files"),
    }


def test_a_customer_managed_key_encrypts_new_objects(bucket: Root) -> None:
    values = bucket.plan(kms_key_name=KEY)[BUCKET]
    assert values["encryption"][0]["default_kms_key_name"] == KEY


def test_destroy_can_delete_objects_or_be_refused(bucket: Root) -> None:
    assert bucket.plan(force_destroy=True)[BUCKET]["force_destroy"] is True
    assert bucket.plan(deletion_policy="PREVENT")[BUCKET]["deletion_policy"] == "PREVENT"


def test_every_retention_is_a_setting(bucket: Root) -> None:
    values = bucket.plan(
        retention={
            "expire_prefix_days": {"attempts/": 31},
            "incomplete_upload_days": 1,
            "noncurrent_days": 70,
            "soft_delete_days": 0,
            "storage_class_days": {"NEARLINE": 40},
        }
    )[BUCKET]
    assert values["soft_delete_policy"][0]["retention_duration_seconds"] == 0
    assert rules(values) == [
        ("Delete", None, {"days_since_noncurrent_time": 70, "with_state": "ARCHIVED"}),
        ("AbortIncompleteMultipartUpload", None, {"age": 1, "with_state": "ANY"}),
        ("Delete", None, {"age": 31, "matches_prefix": ["attempts/"], "with_state": "LIVE"}),
        ("SetStorageClass", "NEARLINE", {"age": 40, "with_state": "LIVE"}),
    ]


# Rejections


REFUSED: list[Case] = [
    ({"cors": {"origins": ["*"]}}, "an origin is https://host without a path, and never *"),
    ({"cors": {"origins": ["https://a.example/x"]}}, "cors.origins has https://a.example/x; an"),
    (
        {
            "iam_members": {
                "a": {"because": "", "role": "roles/storage.objectViewer", "member": "user:a@x.com"}
            }
        },
        "iam_members has an entry whose because does not say why it is granted",
    ),
    ({"deletion_policy": "KEEP"}, "deletion_policy is KEEP; it must be DELETE or PREVENT"),
    ({"name": "Files"}, "name is Files (5 characters); a bucket name has 3 to 63"),
    ({"name": "x" * 64}, "(64 characters); a bucket name has 3 to 63"),
    ({"kms_key_name": KEY + "/cryptoKeyVersions/1"}, "cryptoKeys/K, without a version"),
    (
        {"kms_key_name": KEY.replace("us-central1", "us")},
        "but the bucket is in us-central1; Cloud Storage takes only a key in the bucket's own",
    ),
    (
        {
            "iam_members": {
                "a": {"because": BECAUSE, "role": "roles/storage.admin", "member": "user:a@x.com"}
            }
        },
        "iam_members names roles/storage.admin; allowed are roles/storage.objectCreator",
    ),
    (
        {
            "iam_members": {
                "a": {
                    "because": BECAUSE,
                    "role": "roles/storage.objectViewer",
                    "member": "allUsers",
                }
            }
        },
        "public access is prevented, so name a user, group or service account",
    ),
    ({"retention": {"expire_prefix_days": {"a/": 0}}}, "an age of 0 days to expire at"),
    ({"retention": {"expire_days": 1.5}}, "an age of 1.5 days to expire at; lifecycle rules count"),
    (
        {"retention": {"incomplete_upload_days": 0}},
        "incomplete_upload_days is 0; it must be at least 1",
    ),
    ({"retention": {"noncurrent_days": 0}}, "noncurrent_days is 0; it must be at least 1"),
    (
        {"retention": {"soft_delete_days": 6}},
        "soft_delete_days is 6; Cloud Storage takes 0 (off) or 7 to 90",
    ),
    (
        {"retention": {"soft_delete_days": 91}},
        "soft_delete_days is 91; Cloud Storage takes 0 (off) or 7 to 90",
    ),
    (
        {"retention": {"storage_class_days": {"COLD": 1}}},
        "names COLD; colder classes are NEARLINE",
    ),
    ({"location": None}, "The given value is not suitable for var.location"),
]


def test_the_bounds_themselves_are_taken(bucket: Root) -> None:
    least = {"expire_prefix_days": {"a/": 1}, "noncurrent_days": 1, "soft_delete_days": 7}
    bucket.plan(retention=least)
    bucket.plan(retention={"soft_delete_days": 90})


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(bucket: Root, case: Case) -> None:
    assert case[1] in bucket.refused(case, REFUSED)


def test_every_rule_refuses_something(bucket: Root) -> None:
    (left,) = unseen(bucket, "terraform/modules/bucket", REFUSED)
    assert "would be re-created" in left


@pytest.mark.parametrize("changed", ["location", "name", "project_id"])
def test_what_would_recreate_the_bucket_is_refused(made: Root, changed: str) -> None:
    now = {"location": "US-EAST1", "name": "demo-project-others", "project_id": "other-project"}
    said = made.refusal(**{changed: now[changed]})
    assert "Bucket demo-project-files in US-CENTRAL1 would be re-created as" in said


def test_a_location_written_otherwise_is_the_same(made: Root) -> None:
    assert made.plan(location="US-central1")[BUCKET]

"""Authorization: who may do what where, and the table of roles that it rests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.localcloud.client import LocalCloud, LocalCloudError
from tests.localcloud.core import roles
from tests.localcloud.core.api import Api
from tests.localcloud.core.iam import KNOWN, ROLES

Http = Callable[..., requests.Response]
ADA = "user:ada@example.com"


@pytest.fixture
def topic(cloud: LocalCloud, http: Http, fresh: str) -> str:
    name = f"projects/{cloud.project}/topics/{fresh}-topic"
    http("PUT", f"https://pubsub.googleapis.com/v1/{name}", json={}).raise_for_status()
    return name


def may_read(http: Http, topic: str, member: str = ADA) -> int:
    return http("GET", f"https://pubsub.googleapis.com/v1/{topic}", member=member).status_code


def bound(cloud: LocalCloud, resource: str, role: str, member: str = ADA, **more: Any) -> None:
    row = {"resource": resource, "role": role, "member": member, "present": True}
    cloud.post("/bindings", row | more)


def test_a_role_on_a_resource_says_nothing_about_its_neighbour(
    cloud: LocalCloud, http: Http, topic: str
) -> None:
    other = topic + "-2"
    http("PUT", f"https://pubsub.googleapis.com/v1/{other}", json={}).raise_for_status()
    bound(cloud, topic, "roles/pubsub.editor")
    assert (may_read(http, topic), may_read(http, other)) == (200, 403)


def test_a_role_on_the_project_is_inherited(cloud: LocalCloud, http: Http, topic: str) -> None:
    member = "user:heir@example.com"
    assert may_read(http, topic, member) == 403
    bound(cloud, f"projects/{cloud.project}", "roles/viewer", member)
    assert may_read(http, topic, member) == 200


def test_a_denial_names_principal_permission_and_resource(http: Http, topic: str) -> None:
    url = f"https://pubsub.googleapis.com/v1/{topic}"
    error = http("GET", url, member="user:nobody@example.com").json()["error"]
    assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
    assert error["message"].startswith("nobody@example.com does not have pubsub.topics.get")
    (detail,) = error["details"]
    assert detail["reason"] == "IAM_PERMISSION_DENIED"
    assert detail["metadata"] == {"permission": "pubsub.topics.get", "resource": topic}


def test_a_call_without_token_is_401(http: Http, topic: str) -> None:
    url = f"https://pubsub.googleapis.com/v1/{topic}"
    assert http("GET", url, member=None).status_code == 401


def test_a_condition_on_the_name_limits_a_role_on_the_project(
    cloud: LocalCloud, http: Http, fresh: str
) -> None:
    def expression(bucket: str) -> str:
        return f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/")'

    bucket, member = f"{cloud.project}-{fresh}", "user:conditional@example.com"
    url = "https://storage.googleapis.com/storage/v1/b"
    made = http("POST", url, params={"project": cloud.project}, json={"name": bucket})
    made.raise_for_status()
    upload = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
    http("POST", upload, params={"uploadType": "media", "name": "x"}, data=b"x").raise_for_status()

    def read() -> int:
        return http("GET", f"{url}/{bucket}/o/x", member=member).status_code

    project, role = f"projects/{cloud.project}", "roles/storage.objectViewer"
    for place, status in (("elsewhere", 403), (bucket, 200)):
        condition = {"title": place, "expression": expression(place)}
        bound(cloud, project, role, member, condition=condition)
        assert read() == status, place
    assert [project, role, member, condition] in cloud.get("/bindings")


def test_an_owner_reads_objects_by_the_bucket_s_legacy_roles_only(
    cloud: LocalCloud, http: Http, fresh: str
) -> None:
    bucket, role = f"{cloud.project}-{fresh}", "roles/storage.legacyObjectOwner"
    url = "https://storage.googleapis.com/storage/v1/b"
    made = http("POST", url, params={"project": cloud.project}, json={"name": bucket})
    made.raise_for_status()
    upload = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
    http("POST", upload, params={"uploadType": "media", "name": "x"}, data=b"x").raise_for_status()
    assert http("GET", f"{url}/{bucket}/o/x").status_code == 200
    row = {"resource": f"projects/_/buckets/{bucket}", "role": role}
    row |= {"member": f"projectOwner:{cloud.project}", "present": False}
    cloud.post("/bindings", row)
    assert http("GET", f"{url}/{bucket}/o/x").status_code == 403


@pytest.mark.parametrize("role", ["roles/storage.legacyObjectReader", "roles/pubsub.wizard"])
def test_a_role_that_a_project_cannot_carry_is_refused(cloud: LocalCloud, role: str) -> None:
    with pytest.raises(LocalCloudError, match="not supported for this resource"):
        bound(cloud, f"projects/{cloud.project}", role)


def test_an_account_that_does_not_exist_is_bound_to_nothing(
    cloud: LocalCloud, http: Http, topic: str
) -> None:
    url = f"https://pubsub.googleapis.com/v1/{topic}"
    account = f"bound-soon@{cloud.project}.iam.gserviceaccount.com"

    def bind() -> requests.Response:
        binding = {"role": "roles/pubsub.viewer", "members": [f"serviceAccount:{account}"]}
        return http("POST", f"{url}:setIamPolicy", json={"policy": {"bindings": [binding]}})

    refused = bind()
    said = f"Service account {account} does not exist."
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, said)
    accounts = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
    http("POST", accounts, json={"accountId": "bound-soon"}).raise_for_status()
    assert bind().status_code == 200
    # What is bound already stays, when the account is gone.
    http("DELETE", f"{accounts}/{account}").raise_for_status()
    assert bind().status_code == 200


def test_a_late_change_leaves_the_old_policy_in_force(
    cloud: LocalCloud, http: Http, topic: str, no_faults: None
) -> None:
    cloud.post("/faults", {"iam_seconds": 120})
    bound(cloud, topic, "roles/pubsub.editor", "user:late@example.com")
    assert may_read(http, topic, "user:late@example.com") == 403
    cloud.advance(121)
    assert may_read(http, topic, "user:late@example.com") == 200


def test_what_was_used_is_recorded_and_what_is_lost_with_a_binding(
    cloud: LocalCloud, http: Http, topic: str
) -> None:
    member, role = "user:recorded@example.com", "roles/pubsub.editor"
    bound(cloud, topic, role, member)
    assert may_read(http, topic, member) == 200
    assert cloud.get("/permissions")[member] == [["pubsub.topics.get", topic]]
    assert cloud.post("/permissions", {"member": member}) == []
    row = {"resource": topic, "role": role, "member": member, "present": False}
    cloud.post("/bindings", row)
    assert cloud.post("/permissions", {"member": member}) == [["pubsub.topics.get", topic]]


def test_an_audit_configuration_stays_until_it_is_taken_away(cloud: LocalCloud, http: Http) -> None:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{cloud.project}"

    def write(policy: dict[str, Any], mask: str) -> None:
        body = {"policy": policy, "updateMask": mask}
        assert http("POST", f"{url}:setIamPolicy", json=body).ok

    def read() -> dict[str, Any]:
        return dict(http("POST", f"{url}:getIamPolicy", json={}).json())

    audit = [{"service": "x.googleapis.com", "auditLogConfigs": [{"logType": "DATA_WRITE"}]}]
    write(read() | {"auditConfigs": audit}, "bindings,etag,auditConfigs")
    kept = {key: value for key, value in read().items() if key != "auditConfigs"}
    write(kept, "bindings,etag")
    assert read()["auditConfigs"] == audit
    write({k: v for k, v in read().items() if k != "auditConfigs"}, "bindings,etag,auditConfigs")
    assert "auditConfigs" not in read()


def test_a_custom_role_grants_its_permissions_until_it_is_deleted(
    cloud: LocalCloud, http: Http, topic: str
) -> None:
    root = f"https://iam.googleapis.com/v1/projects/{cloud.project}/roles"
    role = {"title": "x", "stage": "GA", "includedPermissions": ["pubsub.topics.get"]}
    body = {"roleId": "topicReader", "role": role}
    made = http("POST", root, json=body).json()
    assert made["name"] == f"projects/{cloud.project}/roles/topicReader"
    assert http("POST", root, json=body).status_code == 409
    member = "user:custom@example.com"
    bound(cloud, topic, made["name"], member)
    assert may_read(http, topic, member) == 200
    url = f"https://iam.googleapis.com/v1/{made['name']}"
    changed = {"includedPermissions": ["pubsub.topics.update"]}
    http("PATCH", url, params={"updateMask": "includedPermissions"}, json=changed)
    assert may_read(http, topic, member) == 403
    http("PATCH", url, json=role)
    assert http("DELETE", url).json()["deleted"]
    assert may_read(http, topic, member) == 403
    assert http("POST", f"{url}:undelete", json={}).status_code == 200
    assert may_read(http, topic, member) == 200
    http("DELETE", url)
    cloud.advance(8 * 86400)
    assert http("GET", url).status_code == 404


# The table


def test_every_permission_that_a_method_needs_is_in_the_table(api: Api) -> None:
    """If not: make the table anew, see roles.py."""
    needed = {m.permission for m in api.methods.values() if m.handler and m.permission}
    assert needed - KNOWN == set()


def test_every_role_that_terraform_grants_is_in_the_table() -> None:
    files = [*roles.ROOT.glob("terraform/**/*.tf"), *roles.ROOT.glob("environments/**/*.tf")]
    granted = {r for f in files for r in roles.GRANTED.findall(f.read_text())}
    assert granted - set(ROLES) == set()
    assert granted, "no role is found: the pattern is wrong"


def test_no_role_is_in_the_table_that_nothing_names() -> None:
    assert set(ROLES) - roles.named() - set(roles.LEGACY) - set(roles.BASIC) == set()


def test_no_permission_is_in_the_table_that_nothing_asks_for() -> None:
    assert roles.asked_for(set(KNOWN)) == KNOWN

"""Workload identity pools of the local cloud: kept, refused and exchanged as Google does it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.localcloud.client import LocalCloud

from .conftest import Http

GITHUB = "https://token.actions.githubusercontent.com"
STS = "https://sts.googleapis.com/v1/token"
PROVIDER = {
    "oidc": {"issuerUri": GITHUB},
    "attributeMapping": {
        "google.subject": "assertion.sub",
        "attribute.repository": "assertion.repository_id",
    },
    "attributeCondition": "assertion.repository_id == '7'",
}


def parent(cloud: LocalCloud) -> str:
    return f"https://iam.googleapis.com/v1/projects/{cloud.project}/locations/global"


def pool(cloud: LocalCloud, http: Http, name: str) -> str:
    """A fresh pool's address."""
    root = f"{parent(cloud)}/workloadIdentityPools"
    http("POST", root, params={"workloadIdentityPoolId": name}, json={}).raise_for_status()
    return f"{root}/{name}"


def provider(http: Http, at: str, **changes: Any) -> Any:
    params = {"workloadIdentityPoolProviderId": "github"}
    return http("POST", f"{at}/providers", params=params, json=PROVIDER | changes)


def exchange(http: Http, at: str, audience: str = "", **claims: str) -> Any:
    name = at.removeprefix("https://iam.googleapis.com/v1/") + "/providers/github"
    full = f"//iam.googleapis.com/{name}"
    signed = {"sub": "repo:o/r", "repository_id": "7", "aud": audience or f"https:{full}"} | claims
    token = http("POST", f"{GITHUB}/forge", member=None, json=signed).json()["value"]
    return http(
        "POST",
        STS,
        member=None,
        json={
            "audience": full,
            "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
            "subjectToken": token,
        },
    )


@pytest.fixture(scope="module")
def at(cloud: LocalCloud, http: Http) -> str:
    made = pool(cloud, http, "exchange")
    provider(http, made).raise_for_status()
    return made


def test_a_token_that_meets_the_condition_is_exchanged(http: Http, at: str) -> None:
    answer = exchange(http, at)
    assert answer.status_code == 200
    assert answer.json()["access_token"]
    assert answer.json()["expires_in"] == 600


def test_another_repository_is_refused(http: Http, at: str) -> None:
    answer = exchange(http, at, repository_id="8")
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized_client")
    assert "attribute condition" in answer.json()["error_description"]


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"audience": "https://elsewhere.example"}, "Audience"),
        ({"iss": "https://elsewhere.example"}, "issuer"),
        ({"exp": 1}, "expired"),
        ({"sub": "r" * 128}, "127 bytes"),
    ],
)
def test_a_token_that_is_not_right_is_refused(
    http: Http, at: str, claims: dict[str, Any], why: str
) -> None:
    answer = exchange(http, at, **claims)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert why in answer.json()["error_description"]


def test_github_s_provider_needs_a_condition_on_its_claims(cloud: LocalCloud, http: Http) -> None:
    made = pool(cloud, http, "conditions")
    for condition in ("", "true", "attribute.unmapped == 'x'"):
        refused = provider(http, made, attributeCondition=condition)
        assert refused.status_code == 400
        assert "must reference one of the provider's claims" in refused.text
    mapped = provider(http, made, attributeCondition="attribute.repository == '7'")
    assert mapped.status_code == 200


def test_a_deleted_pool_blocks_its_id_for_30_days_and_comes_back_before(
    cloud: LocalCloud, http: Http
) -> None:
    made = pool(cloud, http, "kept")
    provider(http, made).raise_for_status()
    assert http("DELETE", made).status_code == 200
    assert http("GET", made).json()["state"] == "DELETED"
    assert exchange(http, made).json()["error"] == "invalid_target"
    root = made.removesuffix("/kept")
    again = {"params": {"workloadIdentityPoolId": "kept"}, "json": {}}
    assert http("POST", root, **again).status_code == 409
    assert http("POST", f"{made}:undelete").status_code == 200
    assert exchange(http, made).status_code == 200
    http("DELETE", made).raise_for_status()
    cloud.advance(31 * 86400)
    assert http("GET", made).status_code == 404
    assert http("POST", root, **again).status_code == 200


def test_a_disabled_provider_lets_nobody_in(cloud: LocalCloud, http: Http) -> None:
    made = pool(cloud, http, "disabled")
    provider(http, made).raise_for_status()
    change = {"params": {"updateMask": "disabled"}, "json": {"disabled": True}}
    http("PATCH", f"{made}/providers/github", **change).raise_for_status()
    assert exchange(http, made).json()["error"] == "invalid_target"


def test_who_may_not_make_pools_is_refused(cloud: LocalCloud, http: Http) -> None:
    root = f"{parent(cloud)}/workloadIdentityPools"
    query = {"workloadIdentityPoolId": "another"}
    refused = http("POST", root, "user:nobody@example.com", params=query, json={})
    assert refused.status_code == 403

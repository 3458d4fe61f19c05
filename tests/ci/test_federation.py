"""Who gets in from GitHub, by the providers that bootstrap makes: each part of their conditions is
needed, since without it a forged claim is accepted; and what whoever got in may become."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.localcloud.client.calls import Http, caller
from tests.permissions.tools import withheld

from .site import GITHUB, Site, bootstrapped

STS = "https://sts.googleapis.com/v1/token"
ISSUER = "https://token.actions.githubusercontent.com"
FLOW = "o/r/.github/workflows/apply.yml"
# What GitHub says of the runs that deliver; ids are strings in its tokens.
CLAIMS = {
    "apply": {
        "sub": "repo:o/r:environment:dev",
        "repository": "o/r",
        "repository_owner_id": GITHUB["owner_id"],
        "repository_id": GITHUB["repository_id"],
        "event_name": "push",
        "ref": "refs/heads/main",
        "environment": "dev",
        "workflow_ref": f"{FLOW}@refs/heads/main",
        "run_id": "100",
        "run_attempt": "1",
    },
    "plan": {
        "sub": "repo:o/r:pull_request",
        "repository": "o/r",
        "repository_owner_id": GITHUB["owner_id"],
        "repository_id": GITHUB["repository_id"],
        "event_name": "pull_request",
        "ref": "refs/pull/3/merge",
        "workflow_ref": "o/r/.github/workflows/plan.yml@refs/pull/3/merge",
        "run_id": "100",
        "run_attempt": "1",
    },
}
# Provider, what its condition says about, and a run elsewhere that differs in just that.
FORGED = [
    ("apply", "repository_owner_id", {"repository_owner_id": "12"}),
    ("apply", "repository_id", {"repository_id": "8"}),
    # A branch whose name makes the reference of another workflow end as the right one does.
    (
        "apply",
        "assertion.ref ==",
        {
            "ref": f"refs/heads/{FLOW}@refs/heads/main",
            "workflow_ref": f"o/r/.github/workflows/x.yml@refs/heads/{FLOW}@refs/heads/main",
        },
    ),
    ("apply", "environment", {"environment": "staging"}),
    ("apply", "workflow_ref", {"workflow_ref": "o/r/.github/workflows/plan.yml@refs/heads/main"}),
    ("plan", "repository_owner_id", {"repository_owner_id": "12"}),
    ("plan", "repository_id", {"repository_id": "8"}),
    ("plan", "event_name", {"event_name": "push", "ref": "refs/heads/feature"}),
]
Exchange = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """As it is before anything was delivered: less to wait for than the other tests' site."""
    with bootstrapped() as made:
        yield made


@pytest.fixture(scope="module")
def http(site: Site) -> Http:
    return caller(site.deployment.cloud)


def provider(site: Site, name: str) -> str:
    cloud = site.deployment.cloud
    pool = f"projects/{cloud.project}/locations/global/workloadIdentityPools/files-github"
    return f"https://iam.googleapis.com/v1/{pool}/providers/github-{name}"


@pytest.fixture(scope="module")
def exchange(site: Site, http: Http) -> Exchange:
    """`exchange("plan", **claims)`: GitHub's token for a run with these claims, taken to Google."""

    def send(name: str, **claims: str | None) -> requests.Response:
        audience = "//iam.googleapis.com/" + http("GET", provider(site, name)).json()["name"]
        signed = {"aud": f"https:{audience}"} | CLAIMS[name] | claims
        kept = {claim: value for claim, value in signed.items() if value is not None}
        token = http("POST", f"{ISSUER}/forge", member=None, json=kept).json()["value"]
        form = {
            "audience": audience,
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": token,
        }
        return http("POST", STS, member=None, data=form)

    return send


def become(site: Site, http: Http, account: str, federated: str) -> requests.Response:
    """A federated token, asked to act as an account."""
    email = f"files-{account}@{site.project}.iam.gserviceaccount.com"
    url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
    return http(
        "POST",
        f"{url}/{email}:generateAccessToken",
        member=None,
        headers={"Authorization": f"Bearer {federated}"},
        json={"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "900s"},
    )


@pytest.mark.parametrize("name", ["plan", "apply"])
def test_a_run_becomes_the_account_that_it_is_for_and_no_other(
    site: Site, http: Http, exchange: Exchange, name: str
) -> None:
    federated = exchange(name).json()["access_token"]
    assert become(site, http, name, federated).status_code == 200
    for other in {"plan", "apply", "build"} - {name}:
        assert become(site, http, other, federated).status_code == 403


@pytest.mark.parametrize("name", ["plan", "apply"])
def test_without_its_binding_a_run_that_got_in_becomes_nobody(
    site: Site, http: Http, exchange: Exchange, name: str
) -> None:
    cloud = site.deployment.cloud
    (binding,) = (
        row for row in cloud.get("/bindings") if row[2].endswith(f"/attribute.access/{name}")
    )
    federated = exchange(name).json()["access_token"]
    with withheld(cloud, binding):
        refused = become(site, http, name, federated)
        assert (refused.status_code, "getAccessToken" in refused.text) == (403, True)
    assert become(site, http, name, federated).status_code == 200


def test_main_plans_too(exchange: Exchange) -> None:
    for event in ("push", "schedule", "workflow_dispatch"):
        claims = {"event_name": event, "ref": "refs/heads/main"}
        assert exchange("plan", **claims).status_code == 200


def test_a_pull_request_does_not_apply(exchange: Exchange) -> None:
    claims: dict[str, Any] = CLAIMS["plan"]
    assert exchange("apply", **claims, environment="dev").status_code == 401


def test_a_job_without_an_environment_does_not_apply(exchange: Exchange) -> None:
    assert exchange("apply", environment=None).status_code == 400


def test_a_name_that_somebody_else_took_over_lets_nobody_in(exchange: Exchange) -> None:
    taken = {"repository": "o/r", "repository_id": "999", "repository_owner_id": "998"}
    for name in CLAIMS:
        assert exchange(name, **taken).status_code == 401


def test_a_repository_that_was_renamed_still_gets_in(exchange: Exchange) -> None:
    renamed = {"repository": "new/name", "sub": "repo:new/name:environment:dev"}
    flow = "new/name/.github/workflows/apply.yml@refs/heads/main"
    assert exchange("apply", **renamed, workflow_ref=flow).status_code == 200


def test_branches_may_have_long_names(exchange: Exchange) -> None:
    assert exchange("plan", sub=f"repo:o/r:ref:refs/heads/{'x' * 200}").status_code == 200


def test_every_part_of_the_conditions_is_forged_below(site: Site, http: Http) -> None:
    for name in CLAIMS:
        condition = http("GET", provider(site, name)).json()["attributeCondition"]
        about = [part for held, part, _ in FORGED if held == name]
        terms = condition.split(" && ")
        assert [sum(part in term for part in about) for term in terms] == [1] * len(terms)


@pytest.mark.parametrize(("name", "part", "forged"), FORGED)
def test_each_part_of_a_condition_is_needed(
    site: Site, http: Http, exchange: Exchange, name: str, part: str, forged: dict[str, str]
) -> None:
    url = provider(site, name)
    condition = http("GET", url).json()["attributeCondition"]
    rest = " && ".join(term for term in condition.split(" && ") if part not in term)

    def put(text: str) -> None:
        change = {"attributeCondition": text}
        http("PATCH", url, params={"updateMask": "attributeCondition"}, json=change)

    refused = exchange(name, **forged)
    assert refused.status_code == 401
    assert "rejected by the attribute condition" in refused.text
    put(rest)
    try:
        assert exchange(name, **forged).status_code == 200
    finally:
        put(condition)
    assert exchange(name, **forged).status_code == 401

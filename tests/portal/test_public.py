"""access = tokens on an applied environment: everybody reaches the functions, tokens say who."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.permissions.tools import call
from tests.portal.conftest import CALL, Portal
from tests.system.pipeline import jpeg

AUDIENCE, PAGE = "1234-shop.apps.googleusercontent.com", "https://shop.example"
TOKENS = f"""
  access  = "tokens"
  origins = ["{PAGE}"]
  tokens  = {{ audience = "{AUDIENCE}", issuer = "https://accounts.google.com" }}
}}

output"""


@pytest.fixture(scope="module")
def public(portal: Portal) -> Iterator[Portal]:
    deployment = portal.pipeline.deployment
    file = deployment.checkout / "environments/dev/portal.tf"
    file.write_text(CALL.replace("}\n\noutput", TOKENS, 1))
    deployment.make("apply", "ENV=dev", "YES=1")
    yield portal
    file.write_text(CALL)
    deployment.make("apply", "ENV=dev", "YES=1")


def bearer(
    portal: Portal, who: str, audience: str = AUDIENCE, seconds: int = 3600
) -> dict[str, str]:
    body = {"email": f"{who}@example.com", "audience": audience, "seconds": seconds}
    return {"Authorization": f"Bearer {portal.cloud.post('/oidc', body)['token']}"}


def offer(portal: Portal, headers: dict[str, str], **more: Any) -> Any:
    url = f"{portal.outputs['upload']}/files"
    body = {"name": "tom.jpg", "size": len(jpeg(32, 32)), "contentType": "image/jpeg"} | more
    return call(portal.cloud, "POST", url, None, json=body, headers=headers)


def told(portal: Portal, file_id: str, headers: dict[str, str]) -> Any:
    url = f"{portal.outputs['status']}/files/{file_id}"
    return call(portal.cloud, "GET", url, None, headers=headers)


def test_each_sees_their_own_files_alone(public: Portal) -> None:
    ann, bob = bearer(public, "ann"), bearer(public, "bob")
    accepted = offer(public, ann).json()
    file_id = accepted["file_id"]
    sent = call(public.cloud, "PUT", accepted["upload"]["url"], None, data=jpeg(32, 32))
    assert sent.status_code == 200
    public.pipeline.settle()
    assert told(public, file_id, ann).json()["status"] == "done"
    assert told(public, file_id, bob).json() == {"file_id": file_id, "status": "waiting"}
    assert told(public, file_id, {}).status_code == 401


def test_a_token_that_is_not_for_here_is_refused(public: Portal) -> None:
    other = bearer(public, "ann", audience="another")
    ended = bearer(public, "ann", seconds=-60)
    tampered = {"Authorization": bearer(public, "ann")["Authorization"][:-8] + "AAAAAAAA"}
    for headers in ({}, other, ended, tampered, {"Authorization": "Bearer x.y.z"}):
        answer = offer(public, headers)
        assert answer.status_code == 401, headers
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_allowed_page_gets_a_session_that_lets_it_in_and_another_none(public: Portal) -> None:
    ann = bearer(public, "ann")
    answer = offer(public, ann | {"Origin": PAGE})
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    url = answer.json()["upload"]["url"]
    sent = call(public.cloud, "PUT", url, None, data=jpeg(32, 32), headers={"Origin": PAGE})
    assert sent.headers["Access-Control-Allow-Origin"] == PAGE
    foreign = offer(public, ann | {"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_a_preflight_needs_no_token(public: Portal) -> None:
    url = f"{public.outputs['upload']}/files"
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    answer = call(public.cloud, "OPTIONS", url, None, headers=headers)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, PAGE)


def test_the_plan_said_that_the_internet_may_call(public: Portal) -> None:
    rows = [row for row in public.cloud.get("/bindings") if row[2] == "allUsers"]
    assert {row[1] for row in rows} == {"roles/run.invoker"}
    assert {row[0].rpartition("/")[2] for row in rows} == {"files-dev-upload", "files-dev-status"}

"""Functions that anyone may call, and answers that come in parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.localcloud.client import LocalCloud

from .test_run import Project, archive

MAIN = """
import time
import functions_framework
from flask import Response


@functions_framework.http
def handle(request):
    if request.path != "/events":
        return dict(request.headers)

    def events():
        try:
            for number in range(int(request.args["count"])):
                yield f"data: {number}\\n\\n"
                time.sleep(float(request.args.get("pause", 0)))
            if "fail" in request.args:
                raise RuntimeError
        finally:
            print("stream over", flush=True)

    return Response(events(), mimetype="text/event-stream")
"""


@pytest.fixture(scope="module")
def project(cloud: LocalCloud, http: Callable[..., requests.Response]) -> Project:
    return Project(cloud, http, "streams")


@pytest.fixture(scope="module")
def public(project: Project) -> Iterator[dict[str, Any]]:
    project.upload("events.zip", archive(main_py=MAIN))
    function = project.deploy("events", project.body("events.zip", maxInstanceRequestConcurrency=4))
    project.bind(function["serviceConfig"]["service"], "roles/run.invoker", "allUsers", True)
    yield function
    project.delete("events")


def open_stream(project: Project, function: dict[str, Any], query: str) -> requests.Response:
    uri = f"{function['serviceConfig']['uri']}/events?{query}"
    return project.http("GET", uri, member=None, stream=True)


def test_anyone_calls_a_public_function_and_its_own_tokens_reach_it(
    project: Project, public: dict[str, Any]
) -> None:
    uri = public["serviceConfig"]["uri"]
    own = {"Authorization": "Bearer an.applications.token"}
    seen = project.http("GET", uri, member=None, headers=own).json()
    assert seen["Authorization"] == "Bearer an.applications.token"
    assert project.http("GET", uri, member=None).status_code == 200


def test_x_serverless_authorization_counts_and_authorization_passes_unverified(
    project: Project, public: dict[str, Any]
) -> None:
    uri, service = public["serviceConfig"]["uri"], public["serviceConfig"]["service"]
    project.bind(service, "roles/run.invoker", "allUsers", False)
    try:
        token, other = project.oidc(uri), "Bearer an.applications.token"
        asks = {"X-Serverless-Authorization": f"Bearer {token}", "Authorization": other}
        seen = project.http("GET", uri, member=None, headers=asks).json()
        assert seen["Authorization"] == other
        assert seen["X-Serverless-Authorization"].endswith(".SIGNATURE_REMOVED_BY_GOOGLE")
        asks = {"X-Serverless-Authorization": other, "Authorization": f"Bearer {token}"}
        assert project.http("GET", uri, member=None, headers=asks).status_code == 401
    finally:
        project.bind(service, "roles/run.invoker", "allUsers", True)


def test_a_person_calls_with_the_identity_token_of_their_login(
    project: Project, public: dict[str, Any], cloud: LocalCloud
) -> None:
    service = public["serviceConfig"]["service"]
    project.bind(service, "roles/run.invoker", "allUsers", False)
    try:
        refresh = cloud.post("/refresh", {"member": "user:caller@example.com"})["token"]
        form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "local"}
        url = "https://oauth2.googleapis.com/token"
        login = project.http("POST", url, member=None, data=form).json()
        asks = {"Authorization": f"Bearer {login['id_token']}"}
        uri = public["serviceConfig"]["uri"]
        assert project.http("GET", uri, member=None, headers=asks).status_code == 403
        project.bind(service, "roles/run.invoker", "user:caller@example.com", True)
        assert project.http("GET", uri, member=None, headers=asks).status_code == 200
    finally:
        project.bind(service, "roles/run.invoker", "allUsers", True)


def test_events_arrive_as_they_are_sent_and_time_may_pass_meanwhile(
    project: Project, public: dict[str, Any], cloud: LocalCloud
) -> None:
    with open_stream(project, public, "count=3&pause=0.5") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        started = time.monotonic()
        assert next(lines) == b"data: 0"
        cloud.advance(60)  # nothing waits for the rest
        assert time.monotonic() - started < 0.9
        assert [line for line in lines if line] == [b"data: 1", b"data: 2"]


def test_a_caller_who_goes_away_ends_the_request_at_the_function(
    project: Project, public: dict[str, Any], cloud: LocalCloud
) -> None:
    def over() -> int:
        logs = [line for line in cloud.journal("log") if line.get("service") == "events"]
        return json.dumps(logs).count("stream over")

    before = over()
    stream = open_stream(project, public, "count=10000&pause=0.02")
    next(stream.iter_lines())
    stream.close()
    deadline = time.monotonic() + 20
    while over() == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert over() == before + 1
    (busy,) = {one["busy"] for one in cloud.post("/run/instances", {"service": "events"})}
    assert busy == 0
    assert cloud.journal("run.request")[-1]["status"] == 499


def test_a_stream_that_fails_breaks_off(project: Project, public: dict[str, Any]) -> None:
    with (
        open_stream(project, public, "count=1&fail=1") as stream,
        pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)),
    ):
        assert b"data: 0" in stream.content


def test_a_slow_reader_gets_a_large_answer_whole(project: Project, public: dict[str, Any]) -> None:
    with open_stream(project, public, "count=100000") as stream:
        time.sleep(0.2)
        assert stream.content.count(b"data: ") == 100_000

"""Cloud Tasks of the local cloud: queues, names, dispatch, retries, throttling; real clients."""

from __future__ import annotations

import asyncio
import base64
import datetime
import itertools
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import jwt
import pytest
import requests
from google.api_core import exceptions
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport
from google.oauth2.credentials import Credentials
from google.protobuf import duration_pb2, timestamp_pb2

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.services.run.service import NoAnswer
from tests.localcloud.services.tasks.queues import retry_of
from tests.localcloud.services.tasks.service import Tasks as Service
from tests.localcloud.tests.helpers import Inside, Receiver, grpc_channel, receiver

Http = Callable[..., requests.Response]
DAY = 86400
HOST = "https://cloudtasks.googleapis.com/v2/"


@pytest.fixture
def target(cloud: LocalCloud, fresh: str) -> Iterator[Receiver]:
    with receiver(cloud, fresh) as one:
        yield one


@pytest.fixture
def location(cloud: LocalCloud) -> str:
    return f"projects/{cloud.project}/locations/us-central1"


class Tasks:
    """A queue over REST, and what is done with it."""

    def __init__(self, cloud: LocalCloud, http: Http, queue: str, url: str) -> None:
        self.cloud, self.http, self.queue, self.url = cloud, http, queue, url

    def call(self, verb: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.http(verb, HOST + path, json=body, **more)

    def create(self, id: str = "", member: str = OWNER, **task: Any) -> requests.Response:
        request = {"url": self.url} | task.pop("httpRequest", {})
        body: dict[str, Any] = {"task": {"httpRequest": request} | task}
        if id:
            body["task"]["name"] = f"{self.queue}/tasks/{id}"
        return self.call("POST", f"{self.queue}/tasks", body, member=member)

    def ids(self) -> list[str]:
        listed = self.call("GET", f"{self.queue}/tasks").json().get("tasks", [])
        return [task["name"].rpartition("/")[2] for task in listed]

    def attempts(self) -> list[dict[str, Any]]:
        mine = self.queue.rpartition("/")[2]
        return [e for e in self.cloud.journal("tasks.attempt") if e["queue"] == mine]

    def times(self) -> list[float]:
        """Of the attempts, in seconds."""
        return [datetime.datetime.fromisoformat(e["time"]).timestamp() for e in self.attempts()]

    def end(self) -> list[str]:
        mine = self.queue.rpartition("/")[2]
        return [e["why"] for e in self.cloud.journal("tasks.end") if e["queue"] == mine]


@pytest.fixture
def queue(
    cloud: LocalCloud, http: Http, location: str, fresh: str, target: Receiver
) -> Iterator[Callable[..., Tasks]]:
    name = f"{location}/queues/{fresh}"

    def make(**spec: Any) -> Tasks:
        answer = http("POST", f"{HOST}{location}/queues", json={"name": name} | spec)
        assert answer.status_code == 200, answer.text
        return Tasks(cloud, http, name, target.url)

    yield make
    http("DELETE", HOST + name)


# Back-off


@pytest.mark.parametrize(
    ("low", "high", "doublings", "expected"),
    [
        ("10s", "300s", 3, [10, 20, 40, 80, 160, 240, 300, 300]),
        ("2s", "300s", 16, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        ("1s", "10s", 0, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]),
        ("0.100s", "3600s", 16, [0.1, 0.2, 0.4, 0.8]),
        ("5s", "5s", 4, [5, 5, 5]),
    ],
)
def test_backoff_doubles_then_grows_linearly_then_is_capped(
    low: str, high: str, doublings: int, expected: list[float]
) -> None:
    config = {"minBackoff": low, "maxBackoff": high, "maxDoublings": doublings, "maxAttempts": -1}
    retry = retry_of(config)
    assert [retry.delay(n) for n in range(1, len(expected) + 1)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("attempts", "duration", "attempt", "since_first", "over"),
    [
        (3, "0s", 2, 1e9, False),
        (3, "0s", 3, 0.0, True),
        (3, "3600s", 3, 60.0, False),  # attempts passed, duration not
        (3, "3600s", 2, 7200.0, False),  # duration passed, attempts not
        (3, "3600s", 3, 3600.0, True),
        (-1, "0s", 10**6, 1e9, False),
        (-1, "60s", 2, 61.0, True),
    ],
)
def test_retrying_stops_only_when_both_limits_are_passed(
    attempts: int, duration: str, attempt: int, since_first: float, over: bool
) -> None:
    config = {"minBackoff": "1s", "maxBackoff": "1s", "maxDoublings": 0, "maxAttempts": attempts}
    assert retry_of(config | {"maxRetryDuration": duration}).over(attempt, since_first) is over


def test_a_failing_task_is_retried_at_these_times(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver
) -> None:
    config = {"minBackoff": "10s", "maxBackoff": "300s", "maxDoublings": 3, "maxAttempts": 9}
    tasks = queue(retryConfig=config)
    target.statuses(then=500)
    tasks.create("t")
    cloud.advance(2 * DAY)
    delays = [b - a for a, b in itertools.pairwise(tasks.times())]
    assert delays == pytest.approx([10, 20, 40, 80, 160, 240, 300, 300], abs=1)
    assert tasks.end() == ["exhausted"]
    assert tasks.ids() == []


def test_attempts_and_duration_must_both_be_passed(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver
) -> None:
    config = {"minBackoff": "2s", "maxBackoff": "300s", "maxAttempts": 3}
    tasks = queue(retryConfig=config | {"maxRetryDuration": "604800s"})
    target.statuses(then=500)
    tasks.create("t")
    cloud.advance(6 * DAY)
    assert len(tasks.attempts()) > 1000
    assert tasks.ids() == ["t"]
    cloud.advance(1.1 * DAY)
    assert tasks.end() == ["exhausted"]


def test_a_day_without_worker_loses_nothing(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver
) -> None:
    tasks = queue(
        retryConfig={"maxAttempts": 3, "minBackoff": "2s", "maxBackoff": "300s"}
        | {"maxRetryDuration": "604800s"}
    )
    target.statuses(then=0)
    for n in range(4):
        tasks.create(f"t{n}")
    cloud.advance(DAY)
    assert len(tasks.ids()) == 4
    target.statuses(then=200)
    cloud.advance(400)
    assert tasks.end() == ["done"] * 4


def test_tasks_die_after_31_days(cloud: LocalCloud, queue: Callable[..., Tasks]) -> None:
    tasks = queue()
    tasks.call("POST", f"{tasks.queue}:pause")
    tasks.create("t")
    cloud.advance(30.9 * DAY)
    assert tasks.ids() == ["t"]
    cloud.advance(0.2 * DAY)
    assert tasks.ids() == []
    assert tasks.end() == ["expired"]


# Success, headers, deadlines


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_success(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver, status: int
) -> None:
    tasks = queue()
    target.statuses(then=status)
    tasks.create("t")
    cloud.idle()
    assert [e["status"] for e in tasks.attempts()] == [status]
    assert tasks.end() == ["done"]


@pytest.mark.parametrize("status", [302, 400, 403, 404, 409, 429, 500, 503, 0])
def test_anything_else_is_retried(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver, status: int
) -> None:
    tasks = queue()
    target.statuses(status)
    tasks.create("t")
    cloud.advance(60)
    assert [e["status"] for e in tasks.attempts()] == [status or None, 200]
    assert tasks.end() == ["done"]


def test_the_worker_learns_of_the_attempts_before(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver
) -> None:
    tasks = queue()
    target.statuses(500, 404, 503, 0)
    sent = {"Content-Type": "application/json", "X-Mine": "1", "User-Agent": "curl", "Host": "x"}
    body = base64.b64encode(b'{"a": 1}').decode()
    tasks.create("t", httpRequest={"url": target.url, "headers": sent, "body": body})
    cloud.advance(60)
    first = target.got[0].headers
    assert first["user-agent"] == "Google-Cloud-Tasks"
    assert first["content-type"] == "application/json"
    assert first["x-mine"] == "1"
    assert first["x-cloudtasks-queuename"] == tasks.queue.rpartition("/")[2]
    assert first["x-cloudtasks-taskname"] == "t"
    assert re.fullmatch(r"\d+\.\d{6}", first["x-cloudtasks-tasketa"])
    assert target.got[0].body == {"a": 1}
    assert "x-cloudtasks-taskpreviousresponse" not in first
    heads = [
        [got.headers.get(f"x-cloudtasks-task{name}") for got in target.got]
        for name in ("retrycount", "executioncount", "previousresponse")
    ]
    assert heads[0] == ["0", "1", "2", "3", "4"]
    assert heads[1] == ["0", "0", "1", "1", "1"]  # answers below 500 alone are counted
    assert heads[2] == [None, "500", "404", "503", None]


def test_oidc_token_names_account_and_audience(
    cloud: LocalCloud, http: Http, queue: Callable[..., Tasks], target: Receiver, fresh: str
) -> None:
    tasks = queue()
    email = _account(cloud, http, fresh)
    oidc = {"serviceAccountEmail": email, "audience": "https://me"}
    assert tasks.create("t", httpRequest={"oidcToken": oidc}).status_code == 200
    cloud.idle()
    assert target.got[0].headers["authorization"].startswith("Bearer ey")
    token = target.got[0].headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["email"], claims["aud"]) == (email, "https://me")


def test_an_oauth_token_calls_googles_apis_as_its_account(
    cloud: LocalCloud, http: Http, queue: Callable[..., Tasks], location: str, fresh: str
) -> None:
    email = _account(cloud, http, f"{fresh}-oauth")
    topic = f"projects/{cloud.project}/topics/{fresh}-oauth"
    http("PUT", f"https://pubsub.googleapis.com/v1/{topic}", json={})
    row = {"resource": topic, "role": "roles/pubsub.publisher", "present": True}
    tasks = queue(retryConfig={"maxAttempts": 1})
    body = base64.b64encode(b'{"messages": [{"attributes": {"a": "b"}}]}').decode()
    target = {"url": f"https://pubsub.googleapis.com/v1/{topic}:publish", "body": body}
    target |= {"oauthToken": {"serviceAccountEmail": email}}
    made = tasks.create(httpRequest=target)
    assert made.json()["httpRequest"]["oauthToken"]["scope"].endswith("cloud-platform")
    cloud.idle()
    cloud.post("/bindings", row | {"member": f"serviceAccount:{email}"})
    tasks.create(httpRequest=target)
    cloud.idle()
    assert [attempt["status"] for attempt in tasks.attempts()] == [403, 200]
    elsewhere = target | {"url": "https://example.com/"}
    assert tasks.create(httpRequest=elsewhere).status_code == 400


def test_creator_must_be_allowed_to_act_as_the_account(
    cloud: LocalCloud, http: Http, queue: Callable[..., Tasks], fresh: str
) -> None:
    tasks = queue()
    email = _account(cloud, http, fresh)
    member = "user:enqueuer@example.com"
    binding = {"resource": tasks.queue, "role": "roles/cloudtasks.enqueuer", "member": member}
    request = {"httpRequest": {"oidcToken": {"serviceAccountEmail": email}}}
    tasks.call("POST", f"{tasks.queue}:pause")
    assert tasks.create("t", member, **request).status_code == 403
    cloud.post("/bindings", binding | {"present": True})
    refused = tasks.create("t", member, **request)
    assert refused.status_code == 403
    assert "iam.serviceAccounts.actAs" in refused.text
    account = f"projects/{cloud.project}/serviceAccounts/{email}"
    user = {"resource": account, "role": "roles/iam.serviceAccountUser", "member": member}
    cloud.post("/bindings", user | {"present": True})
    assert tasks.create("t", member, **request).status_code == 200
    assert tasks.call("GET", f"{tasks.queue}/tasks/t", member=member).status_code == 403
    cloud.post("/bindings", binding | {"role": "roles/cloudtasks.viewer", "present": True})
    assert tasks.call("GET", f"{tasks.queue}/tasks/t", member=member).status_code == 200


# Names


def test_names_are_blocked_while_the_task_exists_and_a_day_after(
    cloud: LocalCloud, queue: Callable[..., Tasks]
) -> None:
    tasks = queue()
    tasks.call("POST", f"{tasks.queue}:pause")
    assert tasks.create("t").status_code == 200
    again = tasks.create("t")
    assert (again.status_code, again.json()["error"]["status"]) == (409, "ALREADY_EXISTS")
    tasks.call("POST", f"{tasks.queue}:resume")
    cloud.idle()
    assert tasks.end() == ["done"]
    cloud.advance(0.99 * DAY)
    assert tasks.create("t").status_code == 409
    assert tasks.call("GET", f"{tasks.queue}/tasks/t").status_code == 404
    cloud.advance(0.02 * DAY)
    assert tasks.create("t").status_code == 200


@pytest.mark.parametrize("how", ["delete", "purge"])
def test_names_are_blocked_after_deletion(queue: Callable[..., Tasks], how: str) -> None:
    tasks = queue()
    tasks.call("POST", f"{tasks.queue}:pause")
    tasks.create("t")
    if how == "delete":
        tasks.call("DELETE", f"{tasks.queue}/tasks/t")
    else:
        assert "purgeTime" in tasks.call("POST", f"{tasks.queue}:purge").json()
    assert tasks.ids() == []
    assert tasks.create("t").status_code == 409


def test_queue_names_are_blocked_for_three_days(
    cloud: LocalCloud, queue: Callable[..., Tasks]
) -> None:
    tasks = queue()
    parent = tasks.queue.rpartition("/")[0]
    assert tasks.call("POST", parent, {"name": tasks.queue}).status_code == 409
    assert tasks.call("DELETE", tasks.queue).status_code == 200
    assert tasks.call("GET", tasks.queue).status_code == 404
    cloud.advance(2.9 * DAY)
    error = tasks.call("POST", parent, {"name": tasks.queue}).json()["error"]
    assert (error["code"], error["status"]) == (400, "FAILED_PRECONDITION")
    assert "existed too recently" in error["message"]
    cloud.advance(0.2 * DAY)
    assert tasks.call("POST", parent, {"name": tasks.queue}).status_code == 200


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"name": "{q}/tasks/no.dots"}, "Task name must be"),
        ({"name": "{q}/tasks/" + "x" * 501}, "Task name must be"),
        ({"name": "projects/other/locations/x/queues/q/tasks/t"}, "Task name must be"),
        ({"dispatchDeadline": "14s"}, "between [15s, 30m]"),
        ({"dispatchDeadline": "1801s"}, "between [15s, 30m]"),
        ({"dispatchDeadline": "15"}, "duration"),
        ({"scheduleTime": "2099-01-01T00:00:00Z"}, "too far in the future"),
        ({"httpRequest": {"url": "ftp://x.example/"}}, "url must start with"),
        ({"httpRequest": {"url": "https://x.example/" + "y" * 2083}}, "url must start with"),
        ({"httpRequest": {"httpMethod": "GET", "body": "YQ=="}}, "not allowed for GET"),
        ({"httpRequest": {"body": "YWFh" * 40000}}, "too large"),
        ({"httpRequest": {"verb": "GET"}}, "Unknown name"),
    ],
)
def test_bad_tasks_are_refused(
    queue: Callable[..., Tasks], task: dict[str, Any], message: str
) -> None:
    tasks = queue()
    if "name" in task:
        task = task | {"name": task["name"].replace("{q}", tasks.queue)}
    answer = tasks.create(**task)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]["message"]
    assert tasks.ids() == []


@pytest.mark.parametrize(
    "spec",
    [
        {"rateLimits": {"maxDispatchesPerSecond": 501}},
        {"rateLimits": {"maxConcurrentDispatches": 5001}},
        {"retryConfig": {"maxAttempts": -2}},
        {"retryConfig": {"minBackoff": "20s", "maxBackoff": "10s"}},
        {"name": "{l}/queues/no_underscore"},
    ],
)
def test_bad_queues_are_refused(
    http: Http, location: str, fresh: str, spec: dict[str, Any]
) -> None:
    body = {"name": f"{location}/queues/{fresh}"} | spec
    body["name"] = body["name"].replace("{l}", location)
    assert http("POST", f"{HOST}{location}/queues", json=body).status_code == 400


# Rate, concurrency, pause


def test_queue_has_googles_defaults_and_patch_changes_only_what_the_mask_names(
    queue: Callable[..., Tasks],
) -> None:
    tasks = queue()
    spec = tasks.call("GET", tasks.queue).json()
    assert spec["state"] == "RUNNING"
    assert spec["rateLimits"] == {
        "maxDispatchesPerSecond": 500,
        "maxBurstSize": 100,
        "maxConcurrentDispatches": 1000,
    }
    assert spec["retryConfig"] == {
        "maxAttempts": 100,
        "minBackoff": "0.100s",
        "maxBackoff": "3600s",
        "maxDoublings": 16,
    }
    body = {"rateLimits": {"maxDispatchesPerSecond": 20}, "retryConfig": {"maxAttempts": 5}}
    patched = tasks.call(
        "PATCH", f"{tasks.queue}?updateMask=rateLimits.maxDispatchesPerSecond", body
    )
    assert patched.json()["rateLimits"]["maxDispatchesPerSecond"] == 20
    assert patched.json()["rateLimits"]["maxBurstSize"] == 10
    assert patched.json()["retryConfig"] == spec["retryConfig"]


def test_dispatch_follows_the_token_bucket(cloud: LocalCloud, queue: Callable[..., Tasks]) -> None:
    tasks = queue(rateLimits={"maxDispatchesPerSecond": 2})
    tasks.call("POST", f"{tasks.queue}:pause")
    for n in range(30):
        tasks.create(f"t{n}")
    tasks.call("POST", f"{tasks.queue}:resume")
    cloud.advance(11)
    burst, rate = 10, 2
    since = [time - tasks.times()[0] for time in tasks.times()]
    assert since[:burst] == pytest.approx([0] * burst, abs=1)
    assert since[burst:] == pytest.approx([n / rate for n in range(1, 21)], abs=1)


def test_concurrency_is_bounded(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver
) -> None:
    running, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(3)

    def answer(got: Any) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(10)
        with lock:
            running -= 1
        return 200

    tasks = queue(rateLimits={"maxConcurrentDispatches": 3})
    target.answer = answer
    for n in range(9):
        tasks.create(f"t{n}")
    cloud.idle()
    assert tasks.end() == ["done"] * 9
    assert most == 3


def test_tasks_wait_for_their_schedule_time(cloud: LocalCloud, queue: Callable[..., Tasks]) -> None:
    tasks = queue()
    now = datetime.datetime.fromisoformat(cloud.get("/clock")["now"])
    when = {n: (now + datetime.timedelta(seconds=n)).isoformat() for n in (300, 100, 200)}
    for n, at in when.items():
        assert tasks.create(f"t{n}", scheduleTime=at).status_code == 200
    cloud.advance(99)
    assert tasks.attempts() == []
    cloud.advance(202)
    assert [e["task"] for e in tasks.attempts()] == ["t100", "t200", "t300"]


def test_a_paused_queue_accepts_tasks_and_dispatches_none(
    cloud: LocalCloud, queue: Callable[..., Tasks]
) -> None:
    tasks = queue()
    assert tasks.call("POST", f"{tasks.queue}:pause").json()["state"] == "PAUSED"
    tasks.create("a")
    tasks.create("b")
    cloud.advance(3600)
    assert tasks.attempts() == []
    assert tasks.call("POST", f"{tasks.queue}:resume").json()["state"] == "RUNNING"
    cloud.idle()
    assert sorted(e["task"] for e in tasks.attempts()) == ["a", "b"]


@pytest.mark.parametrize("status", [429, 503])
def test_429_and_503_slow_the_whole_queue_down_and_success_restores_it(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver, status: int
) -> None:
    def slow(seconds: float) -> int:
        before = len(tasks.attempts())
        cloud.advance(seconds)
        return len(tasks.attempts()) - before

    tasks = queue(
        rateLimits={"maxDispatchesPerSecond": 10, "maxConcurrentDispatches": 1},
        retryConfig={"minBackoff": "1s", "maxBackoff": "1s"},
    )
    target.statuses(then=status)
    for n in range(300):
        tasks.create(f"t{n}")
    slow(30)
    assert slow(20) < 20  # of 200 at the full rate
    target.statuses(then=200)
    cloud.advance(20)
    assert slow(5) >= 45
    shares = [e["share"] for e in cloud.journal("tasks.throttle") if e["queue"] in tasks.queue]
    assert shares[:4] == [1 / 2, 1 / 4, 1 / 8, 1 / 16]


QUEUE = "projects/p/locations/l/queues/q"


def _inside(**spec: Any) -> Inside:
    cloud = Inside(Service)
    cloud.call("create_queue", {"parent": QUEUE.rpartition("/queues/")[0]}, name=QUEUE, **spec)
    return cloud


def test_10000_waiting_tasks_drain_in_order_at_the_configured_rate() -> None:
    async def run() -> None:
        cloud = _inside(rateLimits={"maxDispatchesPerSecond": 100})
        cloud.call("pause_queue", {"name": QUEUE})
        for n in range(10_000):
            task = {"httpRequest": {"url": f"https://x.example/{n}"}}
            cloud.call("create_task", {"parent": QUEUE}, task=task)
        await cloud.clock.advance(DAY)
        began = cloud.clock.now()
        cloud.call("resume_queue", {"name": QUEUE})
        await cloud.clock.advance(50)
        assert 5000 <= len(cloud.got) <= 5200
        await cloud.clock.advance(60)
        assert [got[1] for got in cloud.got] == [f"https://x.example/{n}" for n in range(10_000)]
        assert cloud.got[-1][0] - began == pytest.approx(9980 / 100, rel=0.01)

    asyncio.run(run())


def test_expiry_of_the_dispatch_deadline_is_told_from_a_broken_connection() -> None:
    async def run() -> None:
        cloud = _inside()
        took = 20.0

        async def invoke(*rest: Any) -> Any:
            cloud.clock.offset += took
            raise NoAnswer("nothing came")

        cloud.run.invoke = invoke
        task = {"httpRequest": {"url": "https://x.example/"}, "dispatchDeadline": "20s"}
        name = cloud.call("create_task", {"parent": QUEUE}, task=task)["name"]
        await cloud.clock.advance(0.01)
        last = cloud.call("get_task", {"name": name})["lastAttempt"]["responseStatus"]
        assert last == {"code": 4, "message": "DEADLINE_EXCEEDED"}
        took = 3.0
        await cloud.clock.advance(0.2)
        seen = cloud.call("get_task", {"name": name})
        assert seen["lastAttempt"]["responseStatus"]["message"] == "UNAVAILABLE"
        assert seen["responseCount"] == 0

    asyncio.run(run())


# Faults


def test_duplicates_and_lost_answers_repeat_a_task(
    cloud: LocalCloud, queue: Callable[..., Tasks], target: Receiver, no_faults: None
) -> None:
    tasks = queue()
    cloud.post("/faults", {"seed": 1, "rates": {"tasks.duplicate": 1.0}})
    tasks.create("t")
    cloud.idle()
    assert len(target.got) == 2
    assert tasks.end() == ["done"]
    cloud.post("/faults", {"rates": {"tasks.duplicate": 0.0, "tasks.lost_answer": 0.5}})
    for n in range(20):
        tasks.create(f"t{n}")
    cloud.advance(DAY)  # which task loses how many in a row is chance, and back-off doubles
    assert tasks.end() == ["done"] * 21
    assert cloud.get("/faults")["counts"]["tasks.lost_answer"] == len(target.got) - 22


# Real clients


def _account(cloud: LocalCloud, http: Http, name: str) -> str:
    url = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
    answer = http("POST", url, json={"accountId": f"{name}-account", "serviceAccount": {}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["email"])


def _grpc(cloud: LocalCloud, token: str | None = None) -> tasks_v2.CloudTasksClient:
    channel = grpc_channel(cloud, "cloudtasks.googleapis.com", token)
    return tasks_v2.CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))


def _rest(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> tasks_v2.CloudTasksClient:
    monkeypatch.setenv("HTTPS_PROXY", cloud.proxy)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cloud.authority))
    return tasks_v2.CloudTasksClient(credentials=Credentials(cloud.token()), transport="rest")


@pytest.fixture(params=["grpc", "rest"])
def client(
    request: pytest.FixtureRequest, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> tasks_v2.CloudTasksClient:
    return _grpc(cloud) if request.param == "grpc" else _rest(cloud, monkeypatch)


def test_the_python_client_creates_reads_lists_and_deletes(
    client: tasks_v2.CloudTasksClient,
    cloud: LocalCloud,
    http: Http,
    queue: Callable[..., Tasks],
    target: Receiver,
    fresh: str,
) -> None:
    tasks = queue()
    email = _account(cloud, http, fresh)
    listed = client.list_queues(parent=tasks.queue.rpartition("/queues/")[0])
    assert tasks.queue in [one.name for one in listed]
    client.pause_queue(name=tasks.queue)
    later = timestamp_pb2.Timestamp()
    later.FromDatetime(datetime.datetime.fromisoformat(cloud.get("/clock")["now"]))
    task = tasks_v2.Task(
        name=f"{tasks.queue}/tasks/one",
        http_request=tasks_v2.HttpRequest(
            url=target.url,
            http_method=tasks_v2.HttpMethod.PUT,
            headers={"Content-Type": "text/plain"},
            body=b"\x00\xff",
            oidc_token=tasks_v2.OidcToken(service_account_email=email, audience="https://me"),
        ),
        schedule_time=later,
        dispatch_deadline=duration_pb2.Duration(seconds=900),
    )
    made = client.create_task(parent=tasks.queue, task=task)
    assert made.name == task.name
    assert made.http_request.body == b""  # the basic view
    full = tasks_v2.GetTaskRequest(name=made.name, response_view=tasks_v2.Task.View.FULL)
    seen = client.get_task(full)
    assert (seen.http_request.body, seen.dispatch_deadline.seconds) == (b"\x00\xff", 900)
    assert seen.http_request.http_method == tasks_v2.HttpMethod.PUT
    with pytest.raises(exceptions.Conflict, match="already exists"):
        client.create_task(parent=tasks.queue, task=task)
    unnamed = client.create_task(parent=tasks.queue, task={"http_request": {"url": target.url}})
    listed = tasks_v2.ListTasksRequest(parent=tasks.queue, page_size=1)
    assert {t.name for t in client.list_tasks(listed)} == {made.name, unnamed.name}
    client.delete_task(name=unnamed.name)
    client.resume_queue(name=tasks.queue)
    cloud.idle()
    assert [got.body for got in target.got] == [b"\x00\xff"]
    with pytest.raises(exceptions.NotFound):
        client.get_task(name=made.name)


def test_denials_reach_the_python_client(cloud: LocalCloud, queue: Callable[..., Tasks]) -> None:
    tasks = queue()
    client = _grpc(cloud, cloud.token("user:nobody@example.com"))
    with pytest.raises(exceptions.PermissionDenied, match=r"cloudtasks\.tasks\.create") as caught:
        client.create_task(parent=tasks.queue, task={"http_request": {"url": tasks.url}})
    assert caught.value.grpc_status_code is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.reason == "IAM_PERMISSION_DENIED"
    with pytest.raises(exceptions.Unauthenticated):
        _grpc(cloud, "expired").get_queue(name=tasks.queue)


def test_gcloud_lists_describes_pauses_resumes_and_purges(
    cloud: LocalCloud, queue: Callable[..., Tasks]
) -> None:
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed")
    tasks = queue()
    short = tasks.queue.rpartition("/")[2]

    def gcloud(*words: str) -> str:
        command = [
            "gcloud",
            "tasks",
            *words,
            "--location=us-central1",
            "--format=value(name,state)",
        ]
        done = subprocess.run(
            command, env=os.environ | cloud.environ(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    gcloud("queues", "pause", short)
    assert gcloud("queues", "describe", short).split() == [tasks.queue, "PAUSED"]
    tasks.create("t")
    assert gcloud("list", f"--queue={short}").split() == ["t"]
    assert gcloud("describe", "t", f"--queue={short}").split() == [f"{tasks.queue}/tasks/t"]
    gcloud("queues", "purge", short)
    assert tasks.ids() == []
    gcloud("queues", "resume", short)
    assert f"{short}\tRUNNING" in gcloud("queues", "list").splitlines()

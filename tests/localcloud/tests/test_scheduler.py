"""Cloud Scheduler of the local cloud: cron on the driven clock, targets, tokens, retries."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.core.errors import ApiError
from tests.localcloud.services.run.service import NoAnswer
from tests.localcloud.services.scheduler import cron
from tests.localcloud.services.scheduler.service import Scheduler

from .helpers import Inside, Receiver, receiver

Http = Callable[..., requests.Response]
HOST = "https://cloudscheduler.googleapis.com/v1/"


def following(schedule: str, start: str, count: int, tz: str = "Europe/Berlin") -> list[str]:
    """The next times after `start`, as clocks in UTC show them."""
    now, found = datetime.fromisoformat(start).timestamp(), []
    for _ in range(count):
        now = cron.next_time(schedule, ZoneInfo(tz), now) or 0.0
        found.append(datetime.fromtimestamp(now, UTC).strftime("%d %H:%M"))
    return found


# ---- cron ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/15 * * * *", ["26 11:15", "26 11:30"]),
        ("0 3 * * *", ["27 02:00", "28 02:00"]),
        ("30 8 * * mon-fri", ["27 07:30", "30 07:30"]),
        ("0 0 1 * sun", ["28 23:00", "30 23:00"]),  # either day counts, as in cron
        ("5,10 9-10 * nov *", ["27 08:05", "27 08:10"]),
        ("0 0 * * 7", ["28 23:00", "05 23:00"]),
    ],
)
def test_unix_cron_on_the_zones_clocks(schedule: str, expected: list[str]) -> None:
    assert following(schedule, "2026-11-26T11:00:00+00:00", 2) == expected


def test_what_falls_into_the_skipped_hour_is_left_out() -> None:
    assert following("30 2 * * *", "2026-03-28T12:00:00+00:00", 1) == ["30 00:30"]
    assert following("0 3 * * *", "2026-03-28T12:00:00+00:00", 2) == ["29 01:00", "30 01:00"]
    every = following("*/30 * * * *", "2026-03-29T00:00:00+00:00", 3)
    assert every == ["29 00:30", "29 01:00", "29 01:30"]


def test_what_falls_into_the_repeated_hour_comes_twice() -> None:
    times = following("30 2 * * *", "2026-10-24T12:00:00+00:00", 3)
    assert times == ["25 00:30", "25 01:30", "26 01:30"]
    every = following("*/30 * * * *", "2026-10-24T23:30:00+00:00", 5)
    assert every == ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00"]


@pytest.mark.parametrize("schedule", ["", "* * * *", "61 * * * *", "0 0 L * *", "@daily", "a b"])
def test_what_is_not_unix_cron_is_refused(schedule: str) -> None:
    with pytest.raises(ApiError) as refused:
        cron.check(schedule)
    assert refused.value.code == 400


def test_a_leap_day_is_found_years_ahead() -> None:
    found = cron.next_time("0 0 29 2 *", ZoneInfo("UTC"), 1772323200.0)
    assert found == datetime(2028, 2, 29, tzinfo=UTC).timestamp()


# ---- jobs ---------------------------------------------------------------------------------------


class Jobs:
    """Jobs of one test, and the account that they speak for."""

    def __init__(self, cloud: LocalCloud, http: Http, name: str) -> None:
        self.cloud, self.http, self.name = cloud, http, name
        self.parent = f"projects/{cloud.project}/locations/us-central1"
        self.email = f"{name}-clock@{cloud.project}.iam.gserviceaccount.com"
        self.account = f"projects/{cloud.project}/serviceAccounts/{self.email}"
        root = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
        made = http("POST", root, json={"accountId": f"{name}-clock", "serviceAccount": {}})
        assert made.ok, made.text

    def create(self, member: str = OWNER, id: str = "", **fields: Any) -> requests.Response:
        body = {"name": f"{self.parent}/jobs/{id or self.name}", "schedule": "0 * * * *"} | fields
        return self.http("POST", f"{HOST}{self.parent}/jobs", member=member, json=body)

    def made(self, **fields: Any) -> dict[str, Any]:
        answer = self.create(**fields)
        assert answer.ok, answer.text
        return dict(answer.json())

    def ask(self, verb: str = "GET", suffix: str = "", **more: Any) -> dict[str, Any]:
        answer = self.http(verb, f"{HOST}{self.parent}/jobs/{self.name}{suffix}", **more)
        assert answer.ok, answer.text
        return dict(answer.json())

    def bind(self, resource: str, role: str, member: str) -> None:
        row = {"resource": resource, "role": role, "member": member, "present": True}
        self.cloud.post("/bindings", row)

    def to_the_hour(self) -> None:
        """Just after a full hour, so that the next one is nearly an hour away."""
        now = datetime.fromisoformat(self.cloud.get("/clock")["now"])
        self.cloud.advance(3600 - (now.minute * 60 + now.second) + 5)


@pytest.fixture
def jobs(cloud: LocalCloud, http: Http, fresh: str) -> Iterator[Jobs]:
    made = Jobs(cloud, http, fresh)
    made.to_the_hour()
    yield made
    http("DELETE", f"{HOST}{made.parent}/jobs/{fresh}")


@pytest.fixture
def target(cloud: LocalCloud, fresh: str) -> Iterator[Receiver]:
    with receiver(cloud, fresh) as made:
        yield made


def test_a_job_calls_its_target_at_each_scheduled_time(jobs: Jobs, target: Receiver) -> None:
    body = base64.b64encode(b'{"a": 1}').decode()
    made = jobs.made(httpTarget={"uri": target.url, "body": body, "headers": {"X-A": "b"}})
    assert (made["state"], made["timeZone"], made["attemptDeadline"]) == ("ENABLED", "UTC", "180s")
    jobs.cloud.advance(2 * 3600)
    first, second = target.got
    assert first.body == {"a": 1}
    assert first.headers["user-agent"] == "Google-Cloud-Scheduler"
    assert first.headers["content-type"] == "application/octet-stream"
    assert first.headers["x-a"] == "b"
    assert first.headers["x-cloudscheduler"] == "true"
    assert first.headers["x-cloudscheduler-jobname"] == jobs.name
    times = [got.headers["x-cloudscheduler-scheduletime"][14:19] for got in (first, second)]
    assert times == ["00:00", "00:00"]
    assert jobs.ask()["status"] == {}


def test_a_paused_job_waits_until_it_is_resumed_and_runs_on_request(
    jobs: Jobs, target: Receiver
) -> None:
    jobs.made(httpTarget={"uri": target.url})
    assert jobs.ask("POST", ":pause", json={})["state"] == "PAUSED"
    jobs.cloud.advance(2 * 3600)
    assert not target.got
    assert "scheduleTime" not in jobs.ask()
    jobs.ask("POST", ":run", json={})
    jobs.cloud.idle()
    assert len(target.got) == 1
    assert jobs.ask("POST", ":resume", json={})["state"] == "ENABLED"
    jobs.cloud.advance(3600)
    assert len(target.got) == 2


def test_an_oidc_token_speaks_for_the_job_s_account(jobs: Jobs, target: Receiver) -> None:
    oidc = {"serviceAccountEmail": jobs.email, "audience": "https://a.example"}
    made = jobs.made(httpTarget={"uri": target.url, "oidcToken": oidc})
    assert made["httpTarget"]["oidcToken"]["audience"] == "https://a.example"
    jobs.ask("POST", ":run", json={})
    jobs.cloud.idle()
    token = target.got[0].headers["authorization"].partition(" ")[2]
    middle = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    assert (claims["email"], claims["aud"]) == (jobs.email, "https://a.example")


def test_an_oauth_token_calls_googles_own_apis_as_the_job_s_account(jobs: Jobs) -> None:
    bucket = f"{jobs.cloud.project}-{jobs.name}"
    uri = f"https://storage.googleapis.com/storage/v1/b/{bucket}"
    jobs.http("POST", "https://storage.googleapis.com/storage/v1/b",
              params={"project": jobs.cloud.project}, json={"name": bucket})  # fmt: skip
    oauth = {"serviceAccountEmail": jobs.email}
    jobs.made(httpTarget={"uri": uri, "httpMethod": "GET", "oauthToken": oauth})
    for role, expected in (("", {"code": 7, "message": "HTTP 403"}), ("roles/storage.admin", {})):
        if role:
            jobs.bind(f"projects/_/buckets/{bucket}", role, f"serviceAccount:{jobs.email}")
        jobs.ask("POST", ":run", json={})
        jobs.cloud.idle()
        assert jobs.ask()["status"] == expected


def test_whoever_makes_a_job_must_act_as_its_account(jobs: Jobs, target: Receiver) -> None:
    maker = "user:maker@example.com"
    jobs.bind(f"projects/{jobs.cloud.project}", "roles/cloudscheduler.admin", maker)
    wanted = {"uri": target.url, "oidcToken": {"serviceAccountEmail": jobs.email}}
    refused = jobs.create(maker, httpTarget=wanted)
    assert refused.status_code == 403
    assert "iam.serviceAccounts.actAs" in refused.text
    jobs.bind(jobs.account, "roles/iam.serviceAccountUser", maker)
    assert jobs.create(maker, httpTarget=wanted).status_code == 200
    nobody = jobs.http("GET", f"{HOST}{jobs.parent}/jobs/{jobs.name}", member="user:x@example.com")
    assert nobody.status_code == 403


def test_a_pubsub_target_publishes_its_message(jobs: Jobs) -> None:
    topic = f"projects/{jobs.cloud.project}/topics/{jobs.name}"
    pubsub = "https://pubsub.googleapis.com/v1/"
    wanted = {"topicName": topic, "data": base64.b64encode(b"x").decode(), "attributes": {"k": "v"}}
    assert jobs.create(pubsubTarget=wanted).status_code == 404
    jobs.http("PUT", pubsub + topic, json={})
    subscription = topic.replace("/topics/", "/subscriptions/")
    jobs.http("PUT", pubsub + subscription, json={"topic": topic})
    jobs.made(pubsubTarget=wanted)
    jobs.cloud.advance(3600)
    pulled = jobs.http("POST", f"{pubsub}{subscription}:pull", json={"maxMessages": 5}).json()
    (message,) = (item["message"] for item in pulled["receivedMessages"])
    assert (message["data"], message["attributes"]) == (wanted["data"], {"k": "v"})


def attempts(jobs: Jobs) -> list[dict[str, Any]]:
    return [line for line in jobs.cloud.journal("scheduler.attempt") if line["job"] == jobs.name]


def test_without_retries_a_failed_attempt_waits_for_the_next_time(
    jobs: Jobs, target: Receiver
) -> None:
    target.statuses(500)
    jobs.made(httpTarget={"uri": target.url})
    jobs.cloud.advance(3600)
    assert jobs.ask()["status"] == {"code": 2, "message": "HTTP 500"}
    assert len(target.got) == 1
    jobs.cloud.advance(3600)
    assert [line["status"] for line in attempts(jobs)] == [500, 200]


def test_retries_back_off_until_both_limits_are_passed(jobs: Jobs, target: Receiver) -> None:
    target.answer = lambda got: 503
    retry = {"retryCount": 3, "minBackoffDuration": "10s", "maxDoublings": 1}
    made = jobs.made(httpTarget={"uri": target.url}, retryConfig=retry)
    assert made["retryConfig"]["maxBackoffDuration"] == "3600s"
    jobs.cloud.advance(3600)
    jobs.cloud.advance(300)
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in attempts(jobs)]
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(times)]
    assert gaps == [10, 20, 40]
    scheduled = {got.headers["x-cloudscheduler-scheduletime"] for got in target.got}
    assert len(scheduled) == 1


def test_a_passed_attempt_deadline_is_told_and_tried_again() -> None:
    async def run() -> None:
        cloud, answers, waited = Inside(Scheduler), iter((None, 200)), list[float]()
        parent = "projects/p/locations/l"

        async def invoke(*call: Any) -> Any:
            waited.append(call[4])
            if (status := next(answers)) is None:
                cloud.clock.offset += call[4]
                raise NoAnswer("nothing came")
            return SimpleNamespace(status=status)

        cloud.run.invoke = invoke
        name = cloud.call(
            "create", {"parent": parent}, name=f"{parent}/jobs/j", schedule="0 * * * *",
            httpTarget={"uri": "https://x.example/"}, attemptDeadline="20s",
            retryConfig={"retryCount": 1, "minBackoffDuration": "15s"},
        )["name"]  # fmt: skip
        await cloud.clock.advance(3600 - cloud.clock.now() % 3600)
        late = {"code": 4, "message": "DEADLINE_EXCEEDED"}
        assert cloud.call("get", {"name": name})["status"] == late
        await cloud.clock.advance(16)
        assert cloud.call("get", {"name": name})["status"] == {}
        assert waited == [20, 20]

    asyncio.run(run())


def test_an_execution_that_is_due_while_one_retries_starts_after_it(
    jobs: Jobs, target: Receiver
) -> None:
    target.statuses(500, 500)
    retry = {"retryCount": 5, "minBackoffDuration": "5000s", "maxBackoffDuration": "5000s"}
    jobs.made(httpTarget={"uri": target.url}, retryConfig=retry)
    jobs.cloud.advance(3600 + 5 * 5000)
    hours = [got.headers["x-cloudscheduler-scheduletime"][11:13] for got in target.got]
    first = int(hours[0])
    late = [(int(hour) - first) % 24 for hour in hours]
    # Three attempts of the first; the next one at once, late; then every hour again.
    assert late[:4] == [0, 0, 0, 1]
    assert late[4:] == sorted(set(late[4:]))
    assert late[4] >= 3


def test_a_deleted_job_ends_and_an_unknown_one_is_404(jobs: Jobs, target: Receiver) -> None:
    jobs.made(httpTarget={"uri": target.url})
    assert jobs.create(httpTarget={"uri": target.url}).status_code == 409
    listed = jobs.http("GET", f"{HOST}{jobs.parent}/jobs").json()["jobs"]
    assert jobs.name in [job["name"].rpartition("/")[2] for job in listed]
    jobs.ask("DELETE")
    jobs.cloud.advance(2 * 3600)
    assert not target.got
    for verb, suffix in (("GET", ""), ("POST", ":run"), ("DELETE", "")):
        answer = jobs.http(verb, f"{HOST}{jobs.parent}/jobs/{jobs.name}{suffix}",
                           json={} if verb == "POST" else None)  # fmt: skip
        assert answer.status_code == 404


def test_a_changed_schedule_counts_at_once(jobs: Jobs, target: Receiver) -> None:
    jobs.made(httpTarget={"uri": target.url})
    changed = jobs.ask("PATCH", "?updateMask=schedule", json={"schedule": "*/10 * * * *"})
    assert (changed["schedule"], changed["httpTarget"]["uri"]) == ("*/10 * * * *", target.url)
    jobs.cloud.advance(1800)
    assert len(target.got) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "every 5 minutes?"},
        {"schedule": "x", "httpTarget": {"uri": "https://a.example"}},
        {"timeZone": "Europe/Bärlin", "httpTarget": {"uri": "https://a.example"}},
        {"httpTarget": {"uri": "ftp://a.example"}},
        {"httpTarget": {"uri": "https://a.example", "httpMethod": "GET", "body": "eA=="}},
        {"httpTarget": {"uri": "https://a.example"}, "attemptDeadline": "5s"},
        {"httpTarget": {"uri": "https://a.example"}, "retryConfig": {"retryCount": 6}},
        {"httpTarget": {"uri": "https://a.example", "oauthToken": {"serviceAccountEmail": "x"}}},
        {},
    ],
)
def test_bad_jobs_are_refused(jobs: Jobs, fields: dict[str, Any]) -> None:
    assert jobs.create(**fields).status_code in (400, 501)

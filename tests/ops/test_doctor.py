"""The doctor against made-up states and answers: whose resources it looks at, and what it sees."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from scripts.ops import ROOT, declared, modules
from scripts.ops.clients import Clients
from scripts.ops.declared import Resource, State
from scripts.ops.doctor import Doctor, Finding, access
from scripts.ops.environment import Environment, load

from .test_parts import OUTPUTS

P = "projects/my-project"
NEEDS = json.loads((ROOT / "environments/bootstrap/needs.tf.json").read_text())["locals"]["needs"]


class Google:
    """Clients whose answers are made up: what a URL begins with → the answer, None for 404."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def rest(self, verb: str, url: str, body: Any = None) -> Any:
        for start, answer in self.answers.items():
            if url.startswith(start):
                return answer(url) if callable(answer) else answer
        return None

    pages = Clients.pages


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    path = tmp_path_factory.mktemp("outputs") / "outputs.json"
    path.write_text(json.dumps({name: {"value": value} for name, value in OUTPUTS.items()}))
    return load("dev", outputs=path)


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """terraform/ with a pipeline and a portal; and scripts/ops/modules with a folder more."""
    for name in ("pipeline", "portal", "gallery", "modules/bucket"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "main.tf").touch()
    monkeypatch.setattr(declared, "TERRAFORM", tmp_path)
    more = tmp_path / "more"
    more.mkdir()
    monkeypatch.setattr(modules, "__path__", [*modules.__path__, str(more)])
    return more


def examined(
    environment: Environment, state: list[Resource], answers: dict[str, Any], *only: str
) -> list[Finding]:
    google: Any = Google(answers)
    return Doctor(google, environment, State("dev", state)).examine(*only)


def function(module: str, name: str) -> Resource:
    values = {"project": "my-project", "location": "us-central1", "name": name}
    return Resource(f"{module}google_cloudfunctions2_function.this", FUNCTION, values)


FUNCTION = "google_cloudfunctions2_function"
SUBSCRIPTION = "google_pubsub_subscription"


def subscription(module: str, endpoint: str) -> Resource:
    values = {
        "project": "my-project",
        "name": "s",
        "topic": "t",
        "ack_deadline_seconds": 10,
        "push_config": [{"push_endpoint": endpoint}],
    }
    return Resource(f"{module}{SUBSCRIPTION}.this", SUBSCRIPTION, values)


PUSHES = {
    f"https://pubsub.googleapis.com/v1/{P}/subscriptions/s": {
        "topic": "t",
        "ackDeadlineSeconds": 10,
        "pushConfig": {"pushEndpoint": "https://a.example/x"},
    }
}


@pytest.mark.parametrize("module", ["", "module.theirs.", "module.modules.", 'module.a["b"].'])
def test_what_is_not_of_a_module_here_is_no_finding(
    environment: Environment, folders: Path, module: str
) -> None:
    state = [function(module, "foreign"), subscription(module, "https://a.example")]
    found = examined(environment, state, {}, "functions", "subscriptions")
    assert {finding.level for finding in found} == {"ok"}


@pytest.mark.parametrize("module", ["module.pipeline.", 'module.portal.module.upload["a"].'])
def test_what_is_of_a_module_here_is_looked_at(
    environment: Environment, folders: Path, module: str
) -> None:
    state = [function(module, "gone"), subscription(module, "https://a.example")]
    found = examined(environment, state, {}, "functions", "subscriptions")
    assert [finding.what.split(" ")[0] for finding in found] == [
        f"{P}/subscriptions/s", f"{P}/locations/us-central1/functions/gone"
    ]  # fmt: skip
    assert all("does not exist" in finding.what for finding in found)


def test_a_subscription_of_another_module_may_push_to_somebody_s_own_address(
    environment: Environment, folders: Path
) -> None:
    for module, level in (("pipeline", "error"), ("portal", "ok")):
        state = [subscription(f"module.{module}.", "https://a.example/x")]
        (finding,) = examined(environment, state, PUSHES, "subscriptions")
        assert finding.level == level, finding.what


def test_a_binding_that_the_user_declares_is_not_surplus(
    environment: Environment, folders: Path
) -> None:
    def binding(address: str, member: str) -> Resource:
        kind = "google_storage_bucket_iam_member"
        values = {"bucket": "b/up", "role": "roles/storage.objectViewer", "member": member}
        return Resource(f"{address}{kind}.this", kind, values)

    live = [{"role": "roles/storage.objectViewer", "members": ["user:a", "user:b", "user:c"]}]
    answers = {"https://storage.googleapis.com/storage/v1/b/up/iam": {"bindings": live}}
    state = [binding("module.pipeline.", "user:a"), binding("", "user:b")]
    (finding,) = examined(environment, state, answers, "bindings")
    assert finding.what.startswith("user:c has roles/storage.objectViewer on gs://up")


def test_a_module_brings_its_checks_and_what_it_cannot_be_without(
    environment: Environment, folders: Path
) -> None:
    (folders / "gallery.py").write_text(
        "from scripts.ops.look import Finding\n"
        "CHECKS = {'gallery': lambda look: iter([Finding('error', 'gallery', 'it is closed')])}\n"
        "def least(look): return {'google_cloudfunctions2_function': 2}\n"
    )
    state = [function("module.gallery.", "upload")]
    found = examined(environment, state, {}, "gallery")
    assert [finding.what for finding in found] == ["it is closed"]
    google: Any = Google({})
    told = [finding.what for finding in Doctor(google, environment, State("dev", state)).complete()]
    assert "the state has 1 google_cloudfunctions2_function of gallery, 2 are needed" in told
    assert "the state has 0 google_service_account of pipeline, 4 are needed" in told
    assert "portal" not in Doctor(google, environment, State("dev", [])).checks()


def test_the_apis_of_the_modules_in_use_are_needed_and_all_pages_are_read(
    environment: Environment, folders: Path
) -> None:
    every = sorted(NEEDS["pipeline"]["apis"])

    def services(url: str) -> dict[str, Any]:
        asked = parse_qs(urlsplit(url).query)
        assert asked["filter"] == ["state:ENABLED"]  # else those that are off come, too
        page = int(asked.get("pageToken", ["0"])[0])
        answer: dict[str, Any] = {"services": [{"config": {"name": every[page]}}]}
        return answer | ({"nextPageToken": str(page + 1)} if page + 1 < len(every) else {})

    answers = {"https://serviceusage.googleapis.com": services}
    state = [function("module.pipeline.", "bridge")]
    assert [f.level for f in examined(environment, state, answers, "apis")] == ["ok"]
    state.append(function("module.portal.", "upload"))
    (finding,) = examined(environment, state, answers, "apis")
    assert finding.what == "iamcredentials.googleapis.com is not enabled"
    assert finding.fix == 'make bootstrap PROJECT=my-project CAPABILITIES="portal"'


# What it sees of each thing, beside what it lacks


ACCESS = {
    "uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"
}  # fmt: skip
BUCKET: dict[str, Any] = {
    "versioning": {"enabled": True},
    "iamConfiguration": ACCESS,
}


def seen(environment: Environment, check: str, kind: str, values: Any, **answers: Any) -> list[str]:
    """What the check says of one resource of the pipeline; answers by the host's first part."""
    declared_ = Resource(f"module.pipeline.{kind}.this", kind, values)
    urls = {f"https://{host}.googleapis.com/": answer for host, answer in answers.items()}
    return [f.what for f in examined(environment, [declared_], urls, check) if f.level != "ok"]


@pytest.mark.parametrize(
    ("protection", "said"),
    [
        ({}, []),
        ({"versioning": {}}, ["gs://up: versioning is off"]),
        (
            {"iamConfiguration": {"publicAccessPrevention": "enforced"}},
            ["gs://up: uniform access is off"],
        ),
        (
            {
                "iamConfiguration": BUCKET["iamConfiguration"]
                | {"publicAccessPrevention": "inherited"}
            },
            ["gs://up: public access prevention is off"],
        ),
    ],
)
def test_a_bucket_without_one_of_its_protections_is_told(
    environment: Environment, protection: dict[str, Any], said: list[str]
) -> None:
    answer = BUCKET | protection
    told = seen(environment, "buckets", "google_storage_bucket", {"name": "up"}, storage=answer)
    assert told == said


NOTIFICATION = {
    "bucket": "up", "topic": "projects/p/topics/t", "payload_format": "JSON_API_V1",
    "event_types": ["OBJECT_FINALIZE"],
}  # fmt: skip
ANNOUNCED = {
    "id": "1", "topic": "//pubsub.googleapis.com/projects/p/topics/t",
    "payload_format": "JSON_API_V1", "event_types": ["OBJECT_FINALIZE"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ([ANNOUNCED], ""),
        ([], "gs://up announces no objects to t: uploads stay pending"),
        ([ANNOUNCED | {"topic": "//pubsub.googleapis.com/projects/p/topics/x"}], "announces no"),
        ([ANNOUNCED | {"event_types": ["OBJECT_DELETE"]}], "events is ['OBJECT_DELETE']"),
        ([ANNOUNCED | {"payload_format": "NONE"}], "format is NONE, declared is JSON_API_V1"),
        ([ANNOUNCED, ANNOUNCED], "announces each object 2 times to t"),
    ],
)
def test_a_notification_that_is_missing_or_another_is_told(
    environment: Environment, there: list[dict[str, Any]], said: str
) -> None:
    answer = {"items": there}
    kind = "google_storage_notification"
    told = seen(environment, "notifications", kind, NOTIFICATION, storage=answer)
    assert len(told) == bool(said)
    assert said in "".join(told)


RUNS: dict[str, Any] = {
    "state": "ACTIVE",
    "serviceConfig": {
        "serviceAccountEmail": "a@p", "ingressSettings": "ALLOW_INTERNAL_ONLY",
        "environmentVariables": {"A": "1", "SOURCE_VERSION": "v", "LOG_EXECUTION_ID": "true"},
    },
}  # fmt: skip
DEPLOYED = {
    "project": "p", "location": "l", "name": "f",
    "service_config": [{
        "service_account_email": "a@p", "ingress_settings": "ALLOW_INTERNAL_ONLY",
        "environment_variables": {"A": "1", "SOURCE_VERSION": "v"},
    }],
    "build_config": [{"source": [{"storage_source": [{"object": "none/v.zip"}]}]}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("live", "said"),
    [
        ({}, []),
        ({"ingressSettings": "ALLOW_ALL"}, ["ingress is ALLOW_ALL"]),
        ({"serviceAccountEmail": "b@p"}, ["account is b@p"]),
        (
            {"environmentVariables": {"A": "2", "SOURCE_VERSION": "v"}},
            ["settings is changed in A"],
        ),
        (
            {"environmentVariables": {"A": "1", "SOURCE_VERSION": "w"}},
            ["source is w, declared is v"],
        ),
    ],
)
def test_a_function_that_is_not_as_declared_is_told(
    environment: Environment, live: dict[str, Any], said: list[str]
) -> None:
    answer = RUNS | {"serviceConfig": RUNS["serviceConfig"] | live}
    told = seen(environment, "functions", FUNCTION, DEPLOYED, cloudfunctions=answer)
    errors = [what for what in told if "declared is" in what]
    assert [words in what for words, what in zip(said, errors, strict=True)] == [True] * len(said)


@pytest.mark.parametrize("state", ["FAILED", "DEPLOYING", "UNKNOWN"])
def test_a_function_that_is_not_active_is_told_with_its_reason(
    environment: Environment, state: str
) -> None:
    answer = RUNS | {"state": state, "stateMessages": [{"message": "no such image"}]}
    told = seen(environment, "functions", FUNCTION, DEPLOYED, cloudfunctions=answer)
    assert f"projects/p/locations/l/functions/f is {state}: no such image" in told


def test_a_subscription_with_another_dead_letter_topic_is_told(environment: Environment) -> None:
    dead = "projects/p/topics/dead"
    values = {
        "project": "p", "name": "s", "topic": "t", "ack_deadline_seconds": 10,
        "dead_letter_policy": [{"dead_letter_topic": dead, "max_delivery_attempts": 100}],
    }  # fmt: skip
    live = {"topic": "t", "ackDeadlineSeconds": 10}
    for policy, said in (
        ({"deadLetterTopic": dead, "maxDeliveryAttempts": 100}, []),
        ({"deadLetterTopic": "_deleted-topic_", "maxDeliveryAttempts": 100}, ["dead-letter topic"]),
        ({"deadLetterTopic": dead, "maxDeliveryAttempts": 5}, ["delivery attempts is 5"]),
        ({}, ["dead-letter topic is None", "delivery attempts is None"]),
    ):
        answer = live | {"deadLetterPolicy": policy}
        told = seen(environment, "subscriptions", SUBSCRIPTION, values, pubsub=answer)
        assert [words in what for words, what in zip(said, told, strict=True)] == [True] * len(said)


@pytest.mark.parametrize(
    ("declared_", "live", "level", "said"),
    [
        ("RUNNING", "RUNNING", "ok", "as declared"),
        ("RUNNING", "PAUSED", "error", "is PAUSED, by hand"),
        ("PAUSED", "RUNNING", "warning", "runs, although it is declared PAUSED"),
        ("PAUSED", "PAUSED", "warning", "is PAUSED, as declared"),
    ],
)
def test_a_queue_that_runs_or_rests_against_its_declaration_is_told(
    environment: Environment, declared_: str, live: str, level: str, said: str
) -> None:
    kind = "google_cloud_tasks_queue"
    values = {"project": "p", "location": "l", "name": "q", "desired_state": declared_}
    state = [Resource(f"module.pipeline.{kind}.this", kind, values)]
    answers = {"https://cloudtasks.googleapis.com/": {"state": live}}
    (finding,) = examined(environment, state, answers, "queues")
    assert finding.level == level
    assert said in finding.what


def test_every_kind_of_binding_in_terraform_is_looked_at() -> None:
    texts = [path.read_text() for path in (ROOT / "terraform").rglob("*.tf")]
    kinds = {kind for text in texts for kind in re.findall(r'"(google_\w+_iam_\w+)" "', text)}
    assert len(kinds) >= 6
    values = dict.fromkeys(
        ("bucket", "location", "name", "project", "service", "service_account_id", "subscription",
         "topic"), "x",
    )  # fmt: skip
    unseen = [kind for kind in kinds if access._place(Resource("a", kind, values)) is None]
    assert [kind for kind in unseen if kind != "google_project_iam_member"] == []

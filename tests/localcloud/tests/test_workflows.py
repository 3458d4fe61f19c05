"""Workflows of the local cloud: expressions, steps, calls, callbacks, pushes of Pub/Sub."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tests.localcloud.client import LocalCloud
from tests.localcloud.core.errors import ApiError
from tests.localcloud.services.workflows.expressions import Expression, Malformed, Raised
from tests.localcloud.services.workflows.interpreter import BUILTIN, Machine, Program
from tests.localcloud.services.workflows.library import perform
from tests.localcloud.services.workflows.service import LARGEST, MOST, Workflows

from .helpers import Receiver, receiver

Http = Callable[..., requests.Response]
FLOWS, RUNS = (
    "https://workflows.googleapis.com/v1/",
    "https://workflowexecutions.googleapis.com/v1/",
)
VARIABLES = {"a": 2, "s": "text", "m": {"b": [1, {"c": 3}], "k-y": 4}, "n": None}


def value(text: str) -> Any:
    async def call(name: str, given: list[Any]) -> Any:
        return perform(name, given)

    return asyncio.run(Expression(text).value(VARIABLES, call))


# ---- expressions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - -1", 8),
        ("(1 + 2) * 3", 9),
        ("7 // 2 + 7 % 2", 4),
        ('"a" + s', "atext"),
        ("m.b[1].c", 3),
        ('m["k-y"]', 4),
        ("a == 2 and not (a > 2 or s != 'text')", True),
        ('"b" in m and not ("x" in m)', True),
        ("default(map.get(m, 'x'), 5)", 5),
        ("map.get(m, ['x', 'y'])", None),
        ("len(m.b) + len(s)", 6),
        ("text.split('a,b', ',')[1]", "b"),
        ("json.decode('[1]')[0]", 1),
        ("get_type(m.b) + get_type(a) + get_type(n)", "listintegernull"),
        ("text.replace_all_regex('x/x.json', '^x/|[.]json$', '')", "x"),
        ("n == null", True),
        ("if_is_a_name_only == 1 or true", None),
        (r'"a\"b\n"', 'a"b\n'),
    ],
)
def test_expressions_have_these_values(text: str, expected: Any) -> None:
    if expected is None and "if_is" in text:
        with pytest.raises(Raised, match="not set"):
            value(text)
    else:
        assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "tag"),
    [("m.x", "KeyError"), ("m.b[9]", "IndexError"), ("s + 1", "TypeError"), ("a.b", "TypeError"),
     ("json.decode('{')", "ValueError")],
)  # fmt: skip
def test_what_goes_wrong_has_its_tag(text: str, tag: str) -> None:
    with pytest.raises(Raised) as raised:
        value(text)
    assert raised.value.value["tags"] == [tag]


# ---- steps --------------------------------------------------------------------------------------


class Run:
    """A source, run without a cloud; what it calls answers in order."""

    def __init__(self, source: str, *answers: Any) -> None:
        self.calls: list[tuple[str, Any]] = []
        rest = list(answers)

        def builtin(name: str) -> Callable[[Any], Any]:
            async def call(given: Any) -> Any:
                self.calls.append((name, given))
                answer = rest.pop(0) if rest and name != "sys.sleep" else None
                if isinstance(answer, Raised):
                    raise answer
                return answer

            return call

        machine = Machine(Program(source), {name: builtin(name) for name in BUILTIN})
        self.result = asyncio.run(machine.run({"list": [1, 2, 3]}))


def failed(code: int) -> Raised:
    return Raised({"tags": ["HttpError"], "code": code, "message": "x"})


STEPS = """
main:
  params: [input]
  steps:
    - start:
        assign:
          - sum: 0
          - seen: {}
    - each:
        for:
          value: item
          index: place
          in: ${input.list}
          steps:
            - choose:
                switch:
                  - condition: ${item == 2}
                    next: continue
                  - condition: ${item > 3}
                    next: break
            - add:
                assign:
                  - sum: ${sum + item}
                  - seen[string(place)]: ${item}
    - twice:
        call: doubled
        args: {number: "${sum}"}
        result: answer
    - judge:
        switch:
          - condition: ${answer > 100}
            return: large
          - condition: true
            next: finish
    - never:
        return: never
    - finish:
        return: ["${answer}", "${seen}"]
doubled:
  params: [number, {by: 2}]
  steps:
    - give: {return: "${number * by}"}
"""


def test_loops_jumps_and_subworkflows() -> None:
    assert Run(STEPS).result == [8, {"0": 1, "2": 3}]


RETRY = """
- fetch:
    try:
      call: http.get
      args: {url: "https://a.example"}
      result: answer
    retry: POLICY
    except:
      as: e
      steps:
        - known:
            switch:
              - condition: ${e.code == 404}
                return: missing
        - other: {raise: "${e}"}
- done: {return: "${answer.body}"}
"""


def test_errors_are_caught_retried_with_backoff_and_raised_again() -> None:
    policy = RETRY.replace("POLICY", "${http.default_retry}")
    run = Run(policy, failed(503), failed(503), {"body": 7})
    assert run.result == 7
    waits = [given["seconds"] for name, given in run.calls if name == "sys.sleep"]
    assert waits == [1, 1.25]
    assert Run(policy, failed(404)).result == "missing"
    with pytest.raises(Raised) as raised:
        Run(policy, failed(400))
    assert raised.value.value["code"] == 400
    own = RETRY.replace("POLICY", "{predicate: '${wants}', max_retries: 1, backoff: "
                                  "{initial_delay: 2, max_delay: 9, multiplier: 2}}")  # fmt: skip
    own = "main:\n  steps:\n" + "".join(f"    {line}\n" for line in own.strip().splitlines())
    own += "wants:\n  params: [e]\n  steps:\n    - say: {return: '${e.code == 418}'}\n"
    with pytest.raises(Raised):
        Run(own, failed(418), failed(418))
    assert Run(own, failed(418), {"body": 1}).result == 1


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("- a: {parallel: {}}", "parallel"),
        ("- a: {call: googleapis.storage.v1.objects.get}", "googleapis.storage"),
        ("- a: {return: 'x ${b}'}", "within a text"),
        ("- a: {return: '${b ? c : d}'}", "expression"),
        ("sub: {steps: []}", "needs main"),
        ("- a", "a step of main"),
    ],
)
def test_what_is_not_served_is_named(source: str, named: str) -> None:
    with pytest.raises(Malformed, match=named.replace("(", r"\(")):
        Program(source)


# ---- the cloud ----------------------------------------------------------------------------------

APPROVAL = """
main:
  params: [event]
  steps:
    - ask:
        call: events.create_callback_endpoint
        args: {http_callback_method: POST}
        result: callback
    - keep:
        call: http.post
        args:
          url: ${sys.get_env("UPLOAD")}
          query: {uploadType: media, name: asked.json, ifGenerationMatch: "0"}
          auth: {type: OAuth2}
          body: {url: "${callback.url}", data: "${event.data}"}
    - wait:
        try:
          call: events.await_callback
          args: {callback: "${callback}", timeout: 86400}
          result: answer
        except:
          as: e
          steps:
            - late: {return: "${e.tags[0]}"}
    - pause: {call: sys.sleep, args: {seconds: 3600}}
    - tell:
        call: http.post
        args:
          url: ${sys.get_env("HOOK")}
          auth: {type: OIDC}
          body: {approved: "${answer.http_request.body.approved}"}
    - done: {return: "${answer.http_request.method}"}
"""


class Flow:
    """A workflow with its account and bucket."""

    def __init__(self, cloud: LocalCloud, http: Http, name: str, hook: str) -> None:
        self.cloud, self.http, self.name = cloud, http, name
        self.parent = f"projects/{cloud.project}/locations/us-central1"
        self.workflow = f"{self.parent}/workflows/{name}"
        self.bucket = f"{cloud.project}-{name}"
        self.email = f"{name}-flow@{cloud.project}.iam.gserviceaccount.com"
        root = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
        self.ask("POST", root, {"accountId": f"{name}-flow", "serviceAccount": {}})
        self.ask("POST", f"https://storage.googleapis.com/storage/v1/b?project={cloud.project}",
                 {"name": self.bucket})  # fmt: skip
        upload = f"https://storage.googleapis.com/upload/storage/v1/b/{self.bucket}/o"
        self.variables = {"UPLOAD": upload, "HOOK": hook}

    def ask(self, verb: str, url: str, body: Any = None) -> dict[str, Any]:
        answer = self.http(verb, url, json=body)
        assert answer.ok, answer.text
        return dict(answer.json())

    def bind(self, resource: str, role: str, member: str) -> None:
        row = {"resource": resource, "role": role, "member": member, "present": True}
        self.cloud.post("/bindings", row)

    def create(self, source: str, **more: Any) -> requests.Response:
        body = {"sourceContents": source, "serviceAccount": self.email}
        url = f"{FLOWS}{self.parent}/workflows?workflowId={self.name}"
        return self.http("POST", url, json=body | {"userEnvVars": self.variables}, **more)

    def start(self, argument: Any) -> str:
        body = {"argument": json.dumps(argument)}
        return str(self.ask("POST", f"{RUNS}{self.workflow}/executions", body)["name"])

    def state(self, execution: str) -> dict[str, Any]:
        self.cloud.idle()
        return self.ask("GET", RUNS + execution)

    def asked(self) -> dict[str, Any]:
        url = f"https://storage.googleapis.com/storage/v1/b/{self.bucket}/o/asked.json?alt=media"
        return self.ask("GET", url)


@pytest.fixture
def hook(cloud: LocalCloud, fresh: str) -> Iterator[Receiver]:
    with receiver(cloud, fresh) as made:
        yield made


@pytest.fixture
def flow(cloud: LocalCloud, http: Http, fresh: str, hook: Receiver) -> Flow:
    made = Flow(cloud, http, fresh, hook.url)
    role = "roles/storage.objectCreator"
    made.bind(f"projects/_/buckets/{made.bucket}", role, f"serviceAccount:{made.email}")
    assert made.create(APPROVAL).ok
    return made


def test_an_execution_waits_for_its_callback_while_time_passes(flow: Flow, hook: Receiver) -> None:
    execution = flow.start({"data": {"a": 1}})
    assert flow.state(execution)["status"]["currentSteps"][0]["step"] == "wait"
    flow.cloud.advance(3600)
    assert flow.state(execution)["state"] == "ACTIVE"
    asked = flow.asked()
    assert asked["data"] == {"a": 1}
    (listed,) = flow.ask("GET", f"{RUNS}{execution}/callbacks")["callbacks"]
    assert (listed["method"], listed["waiters"]) == ("POST", "1")
    somebody = flow.http("POST", asked["url"], member="user:x@example.com", json={})
    assert (somebody.status_code, "workflows.callbacks.send" in somebody.text) == (403, True)
    assert flow.http("GET", asked["url"]).status_code == 405
    flow.ask("POST", asked["url"], {"approved": True})
    assert flow.state(execution)["status"]["currentSteps"][0]["step"] == "pause"
    assert not hook.got
    flow.cloud.advance(3600)
    done = flow.state(execution)
    assert (done["state"], done["result"]) == ("SUCCEEDED", '"POST"')
    assert hook.got[0].body == {"approved": True}
    assert hook.got[0].headers["authorization"].startswith("Bearer ey")
    assert flow.http("POST", asked["url"], json={}).status_code == 404


def test_a_callback_that_does_not_come_is_a_timeout(flow: Flow) -> None:
    execution = flow.start({"data": 1})
    flow.cloud.advance(86_401)
    assert flow.state(execution)["result"] == '"TimeoutError"'


def test_an_error_that_nobody_catches_fails_the_execution(flow: Flow) -> None:
    flow.start({"data": 1})
    flow.cloud.idle()
    again = flow.state(flow.start({"data": 1}))  # asked.json is there already
    error = json.loads(again["error"]["payload"])
    assert (again["state"], error["tags"], error["code"]) == ("FAILED", ["HttpError"], 412)
    assert "pre-conditions" in json.dumps(error["body"])


READING = """
main:
  steps:
    - read:
        call: http.get
        args: {url: "${sys.get_env(\\"OBJECT\\")}", auth: {type: OAuth2}}
        result: it
    - done: {return: "${len(it.body)}"}
"""


def test_a_large_object_is_read_whole(cloud: LocalCloud, http: Http, fresh: str) -> None:
    flow = Flow(cloud, http, fresh, "")
    member = f"serviceAccount:{flow.email}"
    flow.bind(f"projects/_/buckets/{flow.bucket}", "roles/storage.objectViewer", member)
    upload = f"{flow.variables['UPLOAD']}?uploadType=media&name=large.txt"
    headers = {"Content-Type": "text/plain"}
    assert http("POST", upload, data=b"x" * 1_000_000, headers=headers).ok
    read = f"https://storage.googleapis.com/storage/v1/b/{flow.bucket}/o/large.txt?alt=media"
    flow.variables["OBJECT"] = read
    assert flow.create(READING).ok
    assert flow.state(flow.start({}))["result"] == "1000000"


def test_a_cancelled_execution_stays_cancelled(flow: Flow) -> None:
    execution = flow.start({"data": 1})
    flow.cloud.idle()
    assert flow.ask("POST", f"{RUNS}{execution}:cancel", {})["state"] == "CANCELLED"
    flow.cloud.advance(86_401)
    assert flow.state(execution)["state"] == "CANCELLED"


def test_what_a_workflow_logs_is_a_log_entry(flow: Flow) -> None:
    source = "- a: {call: sys.log, args: {json: {event: hello}, severity: WARNING}}"
    url = f"{FLOWS}{flow.workflow}?updateMask=sourceContents"
    flow.ask("PATCH", url, {"sourceContents": source})
    flow.state(flow.start(None))
    wanted = f'resource.labels.workflow_id="{flow.name}" AND severity>=WARNING'
    body = {"resourceNames": [f"projects/{flow.cloud.project}"], "filter": wanted}
    (entry,) = flow.ask("POST", "https://logging.googleapis.com/v2/entries:list", body)["entries"]
    assert entry["resource"]["type"] == "workflows.googleapis.com/Workflow"
    assert (entry["jsonPayload"], entry["logName"].rpartition("/")[2]) == (
        {"event": "hello"}, "Workflows",
    )  # fmt: skip


def test_a_push_of_pubsub_starts_an_execution_as_its_account(flow: Flow) -> None:
    project, pubsub = f"projects/{flow.cloud.project}", "https://pubsub.googleapis.com/v1/"
    topic = f"{project}/topics/{flow.name}"
    subscription = f"{project}/subscriptions/{flow.name}"
    url = f"{RUNS}{flow.workflow}:triggerPubsubExecution"
    mode = f"CUSTOM_PUBSUB_{topic}".replace("/", "%2F")
    flow.ask("PUT", pubsub + topic, {})
    push = {"pushEndpoint": f"{url}?__GCP_CloudEventsMode={mode}",
            "oidcToken": {"serviceAccountEmail": flow.email, "audience": url}}  # fmt: skip
    retry = {"minimumBackoff": "10s", "maximumBackoff": "10s"}
    flow.ask("PUT", pubsub + subscription,
             {"topic": topic, "pushConfig": push, "retryPolicy": retry})  # fmt: skip
    message = {"attributes": {"objectId": "x"}}
    flow.ask("POST", f"{pubsub}{topic}:publish", {"messages": [message]})
    flow.cloud.idle()
    assert flow.ask("GET", f"{RUNS}{flow.workflow}/executions") == {}
    flow.bind(project, "roles/workflows.invoker", f"serviceAccount:{flow.email}")
    flow.cloud.advance(11)
    deadline = time.monotonic() + 20
    while not flow.ask("GET", f"{RUNS}{flow.workflow}/executions"):
        assert time.monotonic() < deadline
        flow.cloud.advance(10)
    seen = flow.asked()["data"]
    assert seen["message"]["attributes"] == {"objectId": "x"}
    assert seen["subscription"] == subscription
    (one,) = flow.ask("GET", f"{RUNS}{flow.workflow}/executions")["executions"]
    argument = json.loads(one["argument"])
    assert argument["type"] == "google.cloud.pubsub.topic.v1.messagePublished"


def test_a_long_argument_is_refused(flow: Flow) -> None:
    url = f"{RUNS}{flow.workflow}/executions"
    for more, status in ((-2, 200), (-1, 400)):  # beside two quotation marks
        answer = flow.http("POST", url, json={"argument": json.dumps("x" * (LARGEST + more))})
        assert answer.status_code == status, answer.text


def test_no_more_than_ten_thousand_executions_of_a_region_run_or_wait() -> None:
    place = "projects/p/locations/us-central1/workflows"

    one = SimpleNamespace(name=f"{place}/other/executions/x", spec={"state": "ACTIVE"})
    flows: Any = Workflows.__new__(Workflows)
    flows.workflows = {f"{place}/mine": {}}
    flows.executions = dict.fromkeys(range(MOST), one)
    with pytest.raises(ApiError, match="10000 concurrent executions in a region") as refused:
        flows._start(f"{place}/mine", None)
    assert refused.value.code == 429


def test_whoever_deploys_a_workflow_acts_as_its_account(
    cloud: LocalCloud, http: Http, fresh: str
) -> None:
    flow, member = Flow(cloud, http, fresh, "https://a.example"), "user:flows@example.com"
    flow.bind(f"projects/{cloud.project}", "roles/workflows.editor", member)
    refused = flow.create("- a: {return: 1}", member=member)
    assert "iam.serviceAccounts.actAs" in refused.text
    account = f"projects/{cloud.project}/serviceAccounts/{flow.email}"
    flow.bind(account, "roles/iam.serviceAccountUser", member)
    assert flow.create("- a: {return: 1}", member=member).ok
    assert flow.state(flow.start(None))["result"] == "1"
    changed = {"sourceContents": "- a: {return: 2}"}
    flow.ask("PATCH", f"{FLOWS}{flow.workflow}?updateMask=sourceContents", changed)
    assert flow.state(flow.start(None))["result"] == "2"
    assert flow.ask("DELETE", f"{FLOWS}{flow.workflow}")["done"]
    assert http("GET", FLOWS + flow.workflow).status_code == 404


@pytest.mark.parametrize(("source", "status"), [("- a: {parallel: {}}", 501), (": [", 400)])
def test_a_source_that_cannot_run_is_refused(flow: Flow, source: str, status: int) -> None:
    body = {"sourceContents": source, "serviceAccount": flow.email}
    url = f"{FLOWS}{flow.parent}/workflows?workflowId={flow.name}-other"
    assert flow.http("POST", url, json=body).status_code == status

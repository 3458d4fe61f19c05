"""Whoever is not meant to is refused, and every refusal stands in the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import call
from tests.permissions.tools import Watch, account
from tests.system.pipeline import Pipeline, events, jpeg

Headers = dict[str, str]
FORGED = {
    "X-CloudTasks-QueueName": "files-dev-default",
    "X-CloudTasks-TaskName": "0",
    "X-CloudTasks-TaskRetryCount": "0",
    "User-Agent": "Google-Cloud-Tasks",
}
STORAGE = "https://storage.googleapis.com/storage/v1/b"
UPLOAD = "https://storage.googleapis.com/upload/storage/v1/b"


@pytest.fixture(scope="session")
def uris(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    """Function → (its address, the account that may call it)."""
    api = f"https://cloudfunctions.googleapis.com/v2/projects/{pipeline.cloud.project}"
    functions = call(pipeline.cloud, "GET", f"{api}/locations/us-central1/functions").json()
    uri = {f["name"].rpartition("/")[2]: f["serviceConfig"]["uri"] for f in functions["functions"]}
    return {
        "files-dev-bridge": (uri["files-dev-bridge"], "dev-events-invoker"),
        "files-dev-processor-default": (uri["files-dev-processor-default"], "dev-tasks-invoker"),
    }


def bearer(
    cloud: LocalCloud,
    name: str,
    audience: str,
    seconds: float = 3600,
    project: str | None = None,
) -> Headers:
    """A genuine identity token of an account."""
    email = account(cloud, name, project).removeprefix("serviceAccount:")
    body = {"email": email, "audience": audience, "seconds": seconds}
    return {"Authorization": f"Bearer {cloud.post('/oidc', body)['token']}"}


def forged(cloud: LocalCloud, name: str, audience: str) -> Headers:
    """What looks like one, signed by somebody else."""
    email = account(cloud, name).removeprefix("serviceAccount:")
    now = int(time.time())
    claims = {"iss": "https://accounts.google.com", "aud": audience, "email": email, "iat": now}
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode(claims | {"exp": now + 3600}, key, "RS256", headers={"kid": "local"})
    return {"Authorization": f"Bearer {token}"}


# What a caller inside the project's network tries: (headers, status, what the journal says).
TRIES: dict[str, tuple[Callable[[LocalCloud, str, str], Headers], int, str]] = {
    "no token": (lambda c, who, to: {}, 403, "no identity token"),
    "no token but a task's headers": (lambda c, who, to: FORGED, 403, "no identity token"),
    "an expired token": (lambda c, who, to: bearer(c, who, to, -60), 401, "expired"),
    "another audience": (lambda c, who, to: bearer(c, who, "https://x.run.app"), 401, "udience"),
    "a forged signature": (lambda c, who, to: forged(c, who, to), 401, "ignature"),
    "an access token": (
        lambda c, who, to: {"Authorization": f"Bearer {c.token(account(c, who))}"},
        401,
        "identity token",
    ),
    "another account and a task's headers": (
        lambda c, who, to: FORGED | bearer(c, "dev-processor", to),
        403,
        "run.routes.invoke",
    ),
    "another project's account": (
        lambda c, who, to: bearer(c, who, to, project="somebody-elses"),
        403,
        "run.routes.invoke",
    ),
}


@pytest.mark.parametrize("service", ["files-dev-bridge", "files-dev-processor-default"])
@pytest.mark.parametrize("what", TRIES)
def test_a_caller_inside_the_network_is_refused_with(
    pipeline: Pipeline, uris: dict[str, tuple[str, str]], service: str, what: str
) -> None:
    make, status, says = TRIES[what]
    uri, meant = uris[service]
    watch = Watch(pipeline.cloud)
    headers = make(pipeline.cloud, meant, uri)
    answer = pipeline.cloud.post("/call", {"url": uri, "headers": headers})
    assert answer == {"status": status}
    (line,) = watch.lines(kind="run.request", service=service, status=status, source="inside")
    assert says in line["refused"]
    assert not watch.lines(kind="log", service=service), "the function itself was reached"


@pytest.mark.parametrize("service", ["files-dev-bridge", "files-dev-processor-default"])
def test_the_account_that_is_meant_is_let_in(
    pipeline: Pipeline, uris: dict[str, tuple[str, str]], service: str
) -> None:
    """So the refusals above are not for want of a way in."""
    uri, meant = uris[service]
    watch = Watch(pipeline.cloud)
    headers = bearer(pipeline.cloud, meant, uri)
    pipeline.cloud.post("/call", {"url": uri, "headers": headers})
    assert watch.lines(kind="log", service=service)


@pytest.mark.parametrize("service", ["files-dev-bridge", "files-dev-processor-default"])
def test_the_public_is_turned_away_even_with_the_right_token(
    pipeline: Pipeline, uris: dict[str, tuple[str, str]], service: str
) -> None:
    uri, meant = uris[service]
    for headers in ({}, FORGED | bearer(pipeline.cloud, meant, uri)):
        watch = Watch(pipeline.cloud)
        answer = call(pipeline.cloud, "POST", uri, None, headers=headers, json={})
        assert answer.status_code == 404
        (line,) = watch.lines(kind="run.request", service=service, status=404)
        assert line["refused"] == "ingress is internal only"


@pytest.mark.parametrize("meant_for", ["dev-bridge", "dev-tasks-invoker"])
def test_a_push_of_another_subscription_is_refused(
    pipeline: Pipeline, uris: dict[str, tuple[str, str]], fresh: str, meant_for: str
) -> None:
    cloud, uri = pipeline.cloud, uris["files-dev-bridge"][0]
    name = f"projects/{cloud.project}/subscriptions/{fresh}-other"
    url = f"https://pubsub.googleapis.com/v1/{name}"
    email = account(cloud, meant_for).removeprefix("serviceAccount:")
    token = {"serviceAccountEmail": email, "audience": uri}
    push = {"pushEndpoint": uri, "oidcToken": token}
    call(cloud, "PUT", url, json={"topic": events(pipeline), "pushConfig": push}).raise_for_status()
    watch = Watch(cloud)
    try:
        generation = pipeline.process(f"{fresh}/a.jpg", jpeg(64, 64))
        pushes = watch.lines(kind="pubsub.push", subscription=f"{fresh}-other")
        assert {line["status"] for line in pushes} == {403}
        assert watch.lines(
            kind="run.request", status=403, source="pubsub", says="run.routes.invoke"
        )
        assert pipeline.manifest(f"{fresh}/a.jpg", generation)
    finally:
        call(cloud, "DELETE", url).raise_for_status()


# What an account tries beyond its role: (account, verb, url, more, the permission it lacks).
REACHES: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "the bridge writes a result": (
        "dev-bridge", "POST", f"{UPLOAD}/RESULTS/o",
        {"params": {"uploadType": "media", "name": "manifests/x.json"}, "data": b"{}"},
        "storage.objects.create",
    ),
    "the bridge reads an upload": (
        "dev-bridge", "GET", f"{STORAGE}/UPLOADS/o/OBJECT", {"params": {"alt": "media"}},
        "storage.objects.get",
    ),
    "the bridge lets a task speak for the processor": (
        "dev-bridge", "POST", "https://cloudtasks.googleapis.com/v2/QUEUE/tasks",
        {"json": {"task": {"httpRequest": {"url": "https://x.run.app/", "oidcToken": {
            "serviceAccountEmail": "files-dev-processor@PROJECT.iam.gserviceaccount.com"}}}}},
        "iam.serviceAccounts.actAs",
    ),
    "the bridge purges the queue": (
        "dev-bridge", "POST", "https://cloudtasks.googleapis.com/v2/QUEUE:purge", {"json": {}},
        "cloudtasks.queues.purge",
    ),
    "the bridge publishes an event": (
        "dev-bridge", "POST", "https://pubsub.googleapis.com/v1/TOPIC:publish",
        {"json": {"messages": [{"data": "eA=="}]}}, "pubsub.topics.publish",
    ),
    "the processor writes an upload": (
        "dev-processor", "POST", f"{UPLOAD}/UPLOADS/o",
        {"params": {"uploadType": "media", "name": "new.jpg"}, "data": b"x"},
        "storage.objects.create",
    ),
    "the processor deletes an upload": (
        "dev-processor", "DELETE", f"{STORAGE}/UPLOADS/o/OBJECT", {}, "storage.objects.delete",
    ),
    "the processor replaces a result": (
        "dev-processor", "POST", f"{UPLOAD}/RESULTS/o",
        {"params": {"uploadType": "media", "name": "MANIFEST"}, "data": b"{}"},
        "storage.objects.delete",
    ),
    "the processor deletes a result": (
        "dev-processor", "DELETE", f"{STORAGE}/RESULTS/o/QUOTED", {}, "storage.objects.delete",
    ),
    "the processor reads a result": (
        "dev-processor", "GET", f"{STORAGE}/RESULTS/o/QUOTED", {"params": {"alt": "media"}},
        "storage.objects.get",
    ),
    "the processor makes a task": (
        "dev-processor", "POST", "https://cloudtasks.googleapis.com/v2/QUEUE/tasks",
        {"json": {"task": {"httpRequest": {"url": "https://x.run.app/"}}}},
        "cloudtasks.tasks.create",
    ),
    "the tasks' invoker reads an upload": (
        "dev-tasks-invoker", "GET", f"{STORAGE}/UPLOADS/o/OBJECT", {}, "storage.objects.get",
    ),
    "the events' invoker makes a task": (
        "dev-events-invoker", "POST", "https://cloudtasks.googleapis.com/v2/QUEUE/tasks",
        {"json": {"task": {"httpRequest": {"url": "https://x.run.app/"}}}},
        "cloudtasks.tasks.create",
    ),
    "the build reads an upload": (
        "build", "GET", f"{STORAGE}/UPLOADS/o/OBJECT", {}, "storage.objects.get",
    ),
    "the build reads the state": (
        "build", "GET", f"{STORAGE}/STATE/o/dev%2Fdefault.tfstate", {}, "storage.objects.get",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def places(pipeline: Pipeline) -> dict[str, str]:
    """What the words in capitals stand for."""
    generation = pipeline.process("closed.jpg", jpeg(64, 64))
    manifest = f"manifests/closed.jpg/{generation}.json"
    assert pipeline.read(manifest)
    return {
        "UPLOADS": pipeline.uploads,
        "RESULTS": pipeline.results,
        "STATE": f"{pipeline.cloud.project}-files-tfstate",
        "OBJECT": "closed.jpg",
        "MANIFEST": manifest,
        "QUOTED": manifest.replace("/", "%2F"),
        "QUEUE": pipeline.outputs["queues"]["default"],
        "TOPIC": events(pipeline),
        "PROJECT": pipeline.cloud.project,
    }


def filled(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: filled(v, places) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v, places) for v in value]
    if isinstance(value, str):
        for word, meaning in places.items():
            value = value.replace(word, meaning)
    return value


@pytest.mark.parametrize("what", REACHES)
def test_it_is_refused_that(pipeline: Pipeline, places: dict[str, str], what: str) -> None:
    name, verb, url, more, permission = REACHES[what]
    member = account(pipeline.cloud, name)
    before, watch = pipeline.read(places["MANIFEST"]), Watch(pipeline.cloud)
    answer = call(pipeline.cloud, verb, filled(url, places), member, **filled(more, places))
    assert (answer.status_code, permission in answer.text) == (403, True), answer.text
    assert watch.lines(kind="api", principal=member, code=403, says=permission)
    assert pipeline.read(places["MANIFEST"]) == before


def test_a_result_that_is_there_is_left_alone_by_a_create_only_write(
    pipeline: Pipeline, places: dict[str, str]
) -> None:
    """As the processor writes. Google may answer 403 instead: the functions take both."""
    params = {"uploadType": "media", "name": places["MANIFEST"], "ifGenerationMatch": 0}
    member, before = account(pipeline.cloud, "dev-processor"), pipeline.read(places["MANIFEST"])
    url = f"{UPLOAD}/{pipeline.results}/o"
    answer = call(pipeline.cloud, "POST", url, member, params=params, data=b"{}")
    assert answer.status_code == 412
    assert pipeline.read(places["MANIFEST"]) == before


OTHERS: dict[str, tuple[Callable[[LocalCloud], tuple[str | None, Headers]], int]] = {
    "nobody": (lambda c: (None, {}), 401),
    "an expired token": (
        lambda c: (None, {"Authorization": f"Bearer {c.token(seconds=-1)}"}), 401,
    ),
    "an invented token": (lambda c: (None, {"Authorization": "Bearer ya29.invented"}), 401),
    "an identity token": (lambda c: (None, bearer(c, "dev-processor", "https://x")), 401),
    "somebody with a Google account": (lambda c: ("user:mallory@example.com", {}), 403),
    "another project's processor": (
        lambda c: (account(c, "dev-processor", "somebody-elses"), {}), 403,
    ),
}  # fmt: skip


@pytest.mark.parametrize("bucket", ["UPLOADS", "RESULTS", "STATE"])
@pytest.mark.parametrize("who", OTHERS)
def test_a_bucket_is_closed_to(
    pipeline: Pipeline, places: dict[str, str], who: str, bucket: str
) -> None:
    make, status = OTHERS[who]
    member, headers = make(pipeline.cloud)
    watch = Watch(pipeline.cloud)
    url = f"{STORAGE}/{places[bucket]}/o"
    answer = call(pipeline.cloud, "GET", url, member, headers=headers)
    assert answer.status_code == status
    assert watch.lines(kind="api", method="storage.objects.list", code=status)

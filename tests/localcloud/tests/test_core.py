"""The door, identities, authorization, checks against discovery documents, and the clock."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google.auth.jwt
import jwt
import pytest
import requests

from tests.bench.process import cpu
from tests.localcloud.client import NAMES, ROOT, LocalCloud, LocalCloudError, local
from tests.localcloud.client.deployment import CommandFailed
from tests.localcloud.core.api import Api, Method
from tests.localcloud.core.clock import Clock
from tests.localcloud.core.errors import ApiError
from tests.localcloud.core.identity import Identity
from tests.localcloud.core.records import stored

Http = Callable[..., requests.Response]


def test_a_host_outside_google_is_refused_by_name(cloud: LocalCloud, http: Http) -> None:
    with pytest.raises(requests.exceptions.ProxyError, match="403"):
        http("GET", "https://example.com/")


def test_a_call_without_a_token_is_401(cloud: LocalCloud, http: Http) -> None:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{cloud.project}"
    assert http("GET", url, member=None).status_code == 401


def test_an_expired_token_is_401(cloud: LocalCloud, http: Http) -> None:
    token = cloud.token(seconds=-1)
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{cloud.project}"
    answer = http("GET", url, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"


def test_a_stranger_is_403_and_told_which_permission(cloud: LocalCloud, http: Http) -> None:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{cloud.project}"
    error = http("GET", url, member="user:stranger@example.com").json()["error"]
    assert error["code"] == 403
    assert "resourcemanager.projects.get" in error["message"]
    assert error["details"][0]["reason"] == "IAM_PERMISSION_DENIED"


def test_a_misspelt_field_is_400(cloud: LocalCloud, http: Http) -> None:
    url = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
    answer = http("POST", url, json={"accountID": "somebody"})
    assert answer.status_code == 400
    assert 'Unknown name "accountID"' in answer.json()["error"]["message"]


def test_a_wrong_type_is_400(cloud: LocalCloud, http: Http) -> None:
    url = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
    answer = http("POST", url, json={"accountId": 7})
    assert answer.status_code == 400
    assert "accountId" in answer.json()["error"]["message"]


def test_a_refused_request_names_its_field_in_googles_error_shape(
    cloud: LocalCloud, http: Http
) -> None:
    url = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
    for body, field in (
        ({"accountId": 7}, "accountId"),
        ({"serviceAccount": {"displayname": "x"}}, "serviceAccount"),
        ({"serviceAccount": {}}, "accountId"),
    ):
        error = http("POST", url, json=body).json()["error"]
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        violation = {"field": field, "description": error["message"]}
        kind = "type.googleapis.com/google.rpc.BadRequest"
        assert error["details"] == [{"@type": kind, "fieldViolations": [violation]}]


@pytest.mark.parametrize(
    ("verb", "address", "body", "missing"),
    [
        ("POST", "storage.googleapis.com/storage/v1/b", {"name": "some-bucket"}, "project"),
        ("POST", "storage.googleapis.com/storage/v1/b?project={p}", {}, "name"),
        ("PUT", "pubsub.googleapis.com/v1/projects/{p}/subscriptions/some", {}, "topic"),
        ("POST", "cloudresourcemanager.googleapis.com/v1/projects/{p}:setIamPolicy", {}, "policy"),
        ("POST", "logging.googleapis.com/v2/projects/{p}/metrics", {"name": "some"}, "filter"),
        (
            "POST",
            "artifactregistry.googleapis.com/v1/projects/{p}/locations/us-central1/repositories",
            {},
            "repositoryId",
        ),
    ],
)
def test_a_missing_required_field_is_400(
    cloud: LocalCloud, http: Http, verb: str, address: str, body: dict[str, object], missing: str
) -> None:
    before = cloud.get("/snapshot")
    answer = http(verb, "https://" + address.replace("{p}", cloud.project), json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"Required parameter: {missing}"
    assert cloud.get("/snapshot") == before


def test_no_method_fails_on_an_empty_request(api: Api) -> None:
    """Each that is served, on a resource that is not there: an answer, or an error of Google's."""

    def path(method: Method) -> str:
        def one(match: re.Match[str]) -> str:
            pattern = method.parameters.get(match[2], {}).get("pattern", "x")
            text = re.sub(r"^\^(projects|\[\^/\]\+)/\[\^/\]\+", "projects/some-project", pattern)
            return re.sub(r"\[\^/\]\+|\.\*", "some-name", text).strip("^$")

        return re.sub(r"\{(\+?)(\w+)\}", one, method.path)

    async def story() -> list[str]:
        token = "Bearer " + api.cloud.identity.access_token(api.cloud.owner)
        failed = []
        served = {m.id: m for m in api.methods.values() if m.handler}
        del served["storage.objects.insert"]  # its bodies are contents
        for method in served.values():
            call = method.document.host, method.verb, path(method), "", b"{}", token
            try:
                await api.dispatch(*call)
            except ApiError as error:
                if error.code == 501 or "not found on" in error.message:
                    failed.append(f"{method.id}: {error.message}")
            except Exception as error:
                failed.append(f"{method.id}: {error!r}")
        return failed

    assert asyncio.run(story()) == []


def test_an_answer_that_its_document_does_not_know_is_not_given(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = api.methods["cloudbilling.projects.getBillingInfo"]
    token = "Bearer " + api.cloud.identity.access_token(api.cloud.owner)
    call = method.document.host, "GET", "/v1/projects/some-project/billingInfo", "", b"", token
    assert asyncio.run(api.dispatch(*call))
    monkeypatch.setattr(method, "handler", lambda call: {"billing": True})
    with pytest.raises(ApiError, match=r'Wrong answer .* Unknown name "billing"'):
        asyncio.run(api.dispatch(*call))


def test_an_unknown_query_parameter_is_400(cloud: LocalCloud, http: Http) -> None:
    url = f"https://pubsub.googleapis.com/v1/projects/{cloud.project}/topics"
    assert http("GET", url, params={"pagesize": 3}).status_code == 400


def test_what_is_not_served_says_so(cloud: LocalCloud, http: Http) -> None:
    url = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts/a@b/keys"
    answer = http("POST", url, json={})
    assert answer.status_code == 501
    assert "not implemented: iam.projects.serviceAccounts.keys.create" in answer.text


@pytest.mark.parametrize("asked", ["storage/v1/b/none/o?filter=*", "storage/v1/b/none/o?filter=x"])
def test_a_parameter_that_nothing_reads_is_not_ignored(http: Http, asked: str) -> None:
    answer = http("GET", f"https://storage.googleapis.com/{asked}")
    assert answer.status_code == 501
    assert "not implemented: " in answer.json()["error"]["message"]


def test_a_stale_etag_is_409(cloud: LocalCloud, http: Http) -> None:
    base = f"https://cloudresourcemanager.googleapis.com/v1/projects/{cloud.project}"
    policy = http("POST", base + ":getIamPolicy", json={}).json()
    assert http("POST", base + ":setIamPolicy", json={"policy": policy}).status_code == 200
    stale = http("POST", base + ":setIamPolicy", json={"policy": policy})
    assert stale.status_code == 409
    assert stale.json()["error"]["status"] == "ABORTED"


def test_an_unknown_role_is_400(cloud: LocalCloud, http: Http) -> None:
    base = f"https://cloudresourcemanager.googleapis.com/v1/projects/{cloud.project}"
    policy = http("POST", base + ":getIamPolicy", json={}).json()
    policy["bindings"].append({"role": "roles/storage.wizard", "members": ["user:a@example.com"]})
    assert http("POST", base + ":setIamPolicy", json={"policy": policy}).status_code == 400


def test_identity_tokens_verify_against_the_published_keys(cloud: LocalCloud, http: Http) -> None:
    body = {"email": "robot@example.com", "audience": "https://here"}
    token = cloud.post("/oidc", body)["token"]
    keys = http("GET", "https://www.googleapis.com/oauth2/v3/certs", member=None).json()["keys"]
    key = jwt.PyJWK(keys[0]).key
    assert jwt.decode(token, key, ["RS256"], audience="https://here")["email"] == body["email"]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, ["RS256"], audience="https://elsewhere")


def test_tokens_of_firebase_verify_as_such_and_call_nothing(cloud: LocalCloud, http: Http) -> None:
    body = {"email": "ann@example.com", "audience": "shop"}
    issuer = "https://securetoken.google.com/shop"
    token = cloud.post("/oidc", body | {"issuer": issuer})["token"]
    url = "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
    certificates = {key: value.encode() for key, value in http("GET", url).json().items()}
    assert google.auth.jwt.decode(token, certificates, audience="shop")["iss"] == issuer
    with pytest.raises(LocalCloudError, match="issuer must be"):
        cloud.post("/oidc", body | {"issuer": "https://securetoken.google.com/another"})
    identity = Identity()
    with pytest.raises(ApiError, match="ssuer"):
        identity.verify_oidc(identity.oidc_token(*body.values(), issuer=issuer), ["shop"])


def test_a_token_counts_for_its_issuer_and_its_audience_alone() -> None:
    identity = Identity()
    token = identity.oidc_token("robot@example.com", "https://here")
    assert identity.verify_oidc(token, ["https://here"]).email == "robot@example.com"
    with pytest.raises(ApiError, match="udience"):  # even now that it is known
        identity.verify_oidc(token, ["https://there"])
    claims = jwt.decode(token, options={"verify_signature": False})
    foreign = jwt.encode(claims | {"iss": "https://example.com"}, identity.key, "RS256")
    with pytest.raises(ApiError, match="ssuer"):
        identity.verify_oidc(foreign, ["https://here"])


def test_nobody_trusts_the_ca_but_those_who_are_told(cloud: LocalCloud) -> None:
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            session.get(
                "https://storage.googleapis.com/", proxies={"https": cloud.proxy}, timeout=9
            )


def test_no_private_key_is_in_the_run_s_folder_and_nobody_else_may_look_into_it(
    cloud: LocalCloud, http: Http
) -> None:
    cloud.environ()
    http("GET", "https://storage.googleapis.com/storage/v1/b/none")  # has a certificate minted
    assert cloud.folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in cloud.folder.rglob("*") if path.is_file()]
    assert cloud.bundle in files
    assert [path for path in files if b"PRIVATE KEY" in path.read_bytes()] == []
    written = {"token", "boto", "application_default_credentials.json"}
    modes = {path.name: path.stat().st_mode & 0o777 for path in files if path.name in written}
    assert modes == dict.fromkeys(written, 0o600)


def test_a_new_cloud_is_there_soon_and_small() -> None:
    """By its processor time, which other work on the machine does not lengthen."""
    with LocalCloud.start() as new:
        assert cpu(new.pid) < 2
        resident = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{new.pid}/status").read_text())
        assert resident
        assert int(resident[1]) * 1024 < 150e6


def test_advance_fires_timers_in_order_and_waits_for_their_work() -> None:
    async def story() -> list[str]:
        clock, seen = Clock(), []

        async def work(name: str) -> None:
            with clock.busy():
                await asyncio.sleep(0)
                seen.append(name)

        tasks = []
        clock.call_later(7200, lambda: tasks.append(asyncio.ensure_future(work("late"))))
        clock.call_later(60, lambda: tasks.append(asyncio.ensure_future(work("early"))))
        began = clock.now()
        await clock.advance(3600)
        assert seen == ["early"]
        assert 3600 <= clock.now() - began < 3601
        await clock.advance(3600)
        return seen

    assert asyncio.run(story()) == ["early", "late"]


@pytest.mark.parametrize("turns", [0, 3])  # of the loop, after it came due
@pytest.mark.parametrize("method", ["advance", "idle"])
def test_what_comes_due_by_itself_at_the_last_moment_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, method: str, turns: int
) -> None:
    async def story() -> None:
        clock, began, ended, tasks = Clock(), asyncio.Event(), list[float](), list[Any]()

        async def work() -> None:
            with clock.busy():
                await asyncio.sleep(0.01)
                ended.append(clock.now())

        def due() -> None:
            tasks.append(asyncio.ensure_future(work()))
            began.set()

        async def last_moment() -> None:
            if not began.is_set():
                clock.call_later(0, due)
                await began.wait()
                for _ in range(turns):
                    await asyncio.sleep(0)

        monkeypatch.setattr("tests.localcloud.core.clock._written_is_read", last_moment)
        start = clock.now()
        await getattr(clock, method)(3600)
        assert len(ended) == 1
        assert ended[0] < start + 60

    asyncio.run(story())


def test_a_cancelled_timer_does_nothing() -> None:
    async def story() -> bool:
        clock, fired = Clock(), []
        clock.call_later(1, lambda: fired.append(1)).cancel()
        await clock.advance(10)
        return bool(fired)

    assert asyncio.run(story()) is False


# The README


TEST = r"`(\S+\.py)::(\w+)`"


def test_every_row_of_the_fidelity_table_names_its_source_and_tests_that_exist() -> None:
    text = (ROOT / "tests/localcloud/README.md").read_text()
    lines = text.partition("## Fidelity")[2].partition("\n## ")[0].splitlines()
    rows = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if x.startswith("|")][2:]
    wrong = []
    for behaviour, source, tests, _ in rows:
        if behaviour.startswith("**"):
            continue
        named = re.findall(TEST, tests)
        known = source == "–" or set(source.split(", ")) <= set("DPCI")
        if not named or not known:
            wrong.append(behaviour)
    for file, name in re.findall(TEST, text):
        path = ROOT / file if "/" in file else Path(__file__).with_name(file)
        if not path.exists() or f"\ndef {name}(" not in path.read_text():
            wrong.append(f"{file}::{name}")
    assert wrong == []
    assert len(rows) > 40


def test_a_shell_is_as_before_when_it_leaves_the_local_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ACTIVATE", tmp_path / "activate")
    local.write_activate({"PROJECT": "local-1", "UPLOADS": "it's"})
    script = """
        say() { echo "${PROJECT-none} ${UPLOADS-none}"; }
        PROJECT=mine; . "$0"; say; bash -c 'echo "$UPLOADS"'; deactivate_local; say
        type deactivate_local 2>/dev/null || echo gone
    """
    told = subprocess.run(
        ["bash", "-c", script, tmp_path / "activate"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["local-1 it's", "it's", "mine none", "gone"]


def test_a_shell_that_enters_twice_and_what_it_starts_know_what_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        monkeypatch.setattr(local, "ACTIVATE", tmp_path / name)
        local.write_activate({"PROJECT": name, "UPLOADS": name, "PATH": "/nowhere"})
    code = (
        "import os; from tests.localcloud.client import without_activation; without_activation();"
        "print([os.environ.get(name) for name in ('PROJECT', 'UPLOADS')],"
        "[name for name in os.environ if name.startswith('_local')])"
    )
    script = f"""
        PROJECT=mine; . "$0/first"; . "$0/second"; "{sys.executable}" -c "{code}"
        deactivate_local; echo "$PROJECT ${{UPLOADS-none}} $PATH"
    """
    told = subprocess.run(
        ["/bin/bash", "-c", script, tmp_path],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["['mine', None] []", "mine none /usr/bin:/bin"]


@pytest.mark.parametrize(
    ("goal", "lives", "refused"),
    [("ops", False, True), ("ops", True, False), ("local-stop", False, False)],
)
def test_make_refuses_a_shell_whose_local_cloud_has_ended(
    tmp_path: Path, goal: str, lives: bool, refused: bool
) -> None:
    if lives:
        (tmp_path / ".local").mkdir()
        (tmp_path / ".local/activate").touch()
    done = subprocess.run(
        ["make", "-n", "-C", tmp_path, "-f", ROOT / "Makefile", goal],
        env=os.environ | {NAMES: "PROJECT"},
        capture_output=True,
        text=True,
    )
    assert ("Type deactivate_local" in done.stderr, done.returncode != 0) == (refused, refused)


def test_make_logs_hands_a_name_on_as_it_is(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    python.chmod(0o700)
    name = 'gs://up/Müller\'s photo #1 😀 "final".jpg'
    words = ["-o", "prepare", "logs", f"BIN={tmp_path}", f"OBJECT={name}"]
    done = subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory", *words], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == name, done.stderr


def test_what_runs_already_is_not_taken_for_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "STATE", tmp_path / "state.json")
    monkeypatch.setattr(local, "running", lambda: SimpleNamespace(port=1))
    local.STATE.write_text('{"environment": "dev"}')
    assert (local.start("dev"), local.start("showcase")) == (0, 1)
    said = capsys.readouterr()
    assert said.out == "Already running on 127.0.0.1:1: source .local/activate\n"
    assert said.err == "Not started: dev runs here. First: make local-stop\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted: the local cloud and everything in it is gone."),
        (CommandFailed("make apply failed"), 1, "Not started: make apply failed"),
    ],
)
def test_a_start_that_is_interrupted_or_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: BaseException, code: int, said: str,
) -> None:  # fmt: skip
    clouds = []

    def fails(cloud: LocalCloud) -> None:
        clouds.append(cloud)
        raise error

    monkeypatch.setattr(local, "STATE", tmp_path / "state.json")
    monkeypatch.setattr(local, "ACTIVATE", tmp_path / "activate")
    monkeypatch.setattr(local.Deployment, "prepare", fails)
    assert local.start() == code
    assert capsys.readouterr().err.strip() == said
    (cloud,) = clouds
    assert not cloud.folder.exists()
    assert not Path(f"/proc/{cloud.pid}").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_cloud_that_is_interrupted_while_it_starts_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Interrupted(subprocess.Popen[str]):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            started.append(self)
            assert self.stdout
            self.stdout.close()
            self.stdout = SimpleNamespace(readline=self.interrupted)  # type: ignore[assignment]

        def interrupted(self) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        LocalCloud.start(stay=True)
    (server,) = started
    assert server.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_cloud_that_does_not_end_is_killed(tmp_path: Path) -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo ready; exec sleep 600"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        LocalCloud(tmp_path / "its", "project", 1, process.pid).stop(patience=0.1)
        assert process.wait(10) == -signal.SIGKILL


def test_a_record_comes_back_without_zero_values() -> None:
    tile = {
        "xPos": 0,
        "width": 4,
        "widget": {"title": "", "sectionHeader": {"dividerBelow": False}},
    }
    assert stored({"columns": 48, "tiles": [tile], "labels": []}) == {
        "columns": 48, "tiles": [{"width": 4, "widget": {"sectionHeader": {}}}],
    }  # fmt: skip


def test_a_notification_channel_is_a_record(
    cloud: LocalCloud, http: Callable[..., requests.Response]
) -> None:
    v3 = "https://monitoring.googleapis.com/v3"
    root = f"{v3}/projects/{cloud.project}/notificationChannels"
    mail = {"type": "email", "labels": {"email_address": "on-call@example.com"}}
    assert http("POST", root, json=mail, member="user:nobody@example.com").status_code == 403
    made = http("POST", root, json=mail).json()
    assert made["name"].startswith(f"projects/{cloud.project}/notificationChannels/")
    url, named = f"{v3}/{made['name']}", {"displayName": "on call"}
    assert http("PATCH", f"{url}?updateMask=displayName", json=named).json() == made | named
    assert http("GET", url).json() == made | named
    assert http("DELETE", url).status_code == 200
    assert http("GET", url).status_code == 404

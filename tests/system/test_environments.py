"""bootstrap, dev, staging and prod on one local cloud, by the commands that people use: apply, no
difference, each kind of change, replacement, destroy or its refusal, and all of it again.

A change is judged by Terraform's own plan: which addresses, which actions, which attributes.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import requests

from tests.localcloud.client import OWNER, ROOT, LocalCloud
from tests.localcloud.client.calls import call
from tests.localcloud.client.deployment import CommandFailed, Deployment

ENVIRONMENTS = ("dev", "staging", "prod")
PIPELINE = "module.pipeline"
BRIDGE = f"{PIPELINE}.module.bridge.google_cloudfunctions2_function.this"
PROCESSOR = f'{PIPELINE}.module.processor["default"].google_cloudfunctions2_function.this'
QUEUE = f'{PIPELINE}.module.queue["default"].google_cloud_tasks_queue.this'
# Beside the generation, which is known once the object is there.
SOURCE = {
    "build_config.0.source.0.storage_source.0.object",
    "service_config.0.environment_variables.SOURCE_VERSION",
}
UPDATE, CREATE, DELETE = ("update",), ("create",), ("delete",)
CREATED_FIRST, DELETED_FIRST = ("create", "delete"), ("delete", "create")


@dataclass
class Change:
    """What a plan does to one resource: its actions, and the attributes that differ, by path."""

    actions: tuple[str, ...]
    attributes: set[str]


class Stack:
    """The environments of one project, and what a plan of one says."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.cloud = deployment.cloud
        self.at_first = self.cloud.get("/snapshot")

    def folder(self, environment: str = "dev") -> Path:
        return self.deployment.checkout / "environments" / environment

    def apply(self, environment: str = "dev") -> str:
        return self.deployment.make("apply", f"ENV={environment}", "YES=1").stdout

    def destroy(self, environment: str, check: bool = True) -> str:
        words = "destroy", f"ENV={environment}", "YES=1"
        return self.deployment.make(*words, check=check).stdout

    def terraform(self, environment: str, *words: str) -> str:
        of_project = {"TF_VAR_project_id": self.cloud.project, "TF_VAR_prefix": "files"}
        command = ("terraform", f"-chdir=environments/{environment}", *words)
        return self.deployment.run(*command, **of_project).stdout

    def planned(self, environment: str = "dev") -> dict[str, Any]:
        """The plan that `changes` kept."""
        said = self.terraform(environment, "show", "-json", "change.tfplan")
        # Terraform may warn of the machine's own settings before it.
        return dict(json.loads(said[said.index('{"format_version"') :]))

    def changes(self, *options: str, environment: str = "dev") -> dict[str, Change]:
        """What a plan would change, by address. The plan is kept for `apply_changes`."""
        words = "-input=false", "-refresh=false", "-out=change.tfplan", *options
        self.terraform(environment, "plan", *words)
        found = {}
        for resource in self.planned(environment).get("resource_changes", []):
            actions = tuple(resource["change"]["actions"])
            if actions not in (("no-op",), ("read",)):
                change = resource["change"]
                paths = set(differences(change["before"], change["after"]))
                found[resource["address"]] = Change(actions, paths)
        return found

    def apply_changes(self, environment: str = "dev") -> None:
        self.terraform(environment, "apply", "-input=false", "change.tfplan")

    def held(self, environment: str) -> set[str]:
        """Names of all that exists of one environment."""
        mark = re.compile(rf"(^|[-/@])files-{environment}-")
        return {str(name) for name in self.cloud.get("/snapshot") if mark.search(str(name))}

    @contextlib.contextmanager
    def edited(self, path: Path, *changes: tuple[str, str]) -> Iterator[None]:
        """A file of the checkout with other text in it, for as long as the block lasts."""
        before = path.read_text()
        text = before
        for old, new in changes:
            assert text.count(old) == 1, (path, old)
            text = text.replace(old, new)
        path.write_text(text)
        try:
            yield
        finally:
            path.write_text(before)

    @contextlib.contextmanager
    def settings(self, text: str, more: str = "") -> Iterator[None]:
        """dev with these settings on top of its own, and with more beside the pipeline."""
        override, beside = self.folder() / "settings_override.tf", self.folder() / "more.tf"
        override.write_text(f'module "pipeline" {{\n{text}\n}}\n')
        beside.write_text(more)
        try:
            yield
        finally:
            override.unlink()
            beside.unlink()

    def build(self) -> None:
        self.deployment.make("build")

    @contextlib.contextmanager
    def source_changed(self, part: str) -> Iterator[None]:
        """The zips, built while a package under functions/ holds another file."""
        (package,) = (self.deployment.checkout / "functions").glob(f"**/{part}/__init__.py")
        path = package.with_name("changed.py")
        path.write_text("")
        self.build()
        try:
            yield
        finally:
            path.unlink()
            self.build()

    @contextlib.contextmanager
    def unlimited(self) -> Iterator[None]:
        """Without quota and delay once the block is over."""
        try:
            yield
        finally:
            self.cloud.delete("/faults")

    def objects(self, bucket: str, prefix: str = "") -> list[dict[str, Any]]:
        """The live objects of a bucket."""
        listing = self.storage("get", f"storage/v1/b/{bucket}/o?prefix={prefix}").json()
        return list(listing.get("items", []))

    def put(self, bucket: str, name: str) -> None:
        self.storage(
            "post",
            f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}",
            b"x",
        )

    def empty(self, bucket: str) -> None:
        listing = self.storage("get", f"storage/v1/b/{bucket}/o?versions=true").json()
        for item in listing.get("items", []):
            name = f"storage/v1/b/{bucket}/o/{item['name']}?generation={item['generation']}"
            self.storage("delete", name)

    def storage(
        self, verb: str, path: str, body: bytes | None = None, account: str = OWNER
    ) -> requests.Response:
        """A call of Cloud Storage's API in an account's name."""
        return self.request(verb, f"https://storage.googleapis.com/{path}", body, account)

    def request(
        self, verb: str, url: str, body: bytes | None = None, account: str = OWNER
    ) -> requests.Response:
        answer = call(self.cloud, verb, url, account, data=body)
        answer.raise_for_status()
        return answer


def zipped(function: str) -> str:
    return f'{PIPELINE}.google_storage_bucket_object.zip["{function}"]'


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths at which two values differ; what is only known after apply is left out of `after`.

    Null, "", 0 and nothing are one to the provider, which shows now the one, now the other.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for name in after:
            yield from differences(before.get(name), after[name], f"{path}.{name}".strip("."))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{path}.{index}")
    elif before != after and (before or after):
        yield path


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        stack = Stack(deployment)
        deployment.make("bootstrap", "YES=1")
        for environment in ENVIRONMENTS:
            stack.apply(environment)
        yield stack


# Nothing changed


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_applied_environment_has_no_difference(stack: Stack, environment: str) -> None:
    said = stack.deployment.make("plan", f"ENV={environment}").stdout
    assert "No changes." in said
    assert not list((stack.deployment.checkout / "build").glob("*.tfplan"))


def test_an_applied_bootstrap_has_no_difference(stack: Stack) -> None:
    said = stack.deployment.make("bootstrap", "YES=1").stdout
    assert "No changes." in said
    assert not list(stack.folder("bootstrap").glob("*.tfstate"))


def test_zips_built_again_on_another_day_change_nothing(stack: Stack) -> None:
    build = stack.deployment.checkout / "build"
    before = {path.name: path.read_bytes() for path in build.glob("*.zip")}
    for path in build.glob("*.zip"):
        path.unlink()
    main = stack.deployment.checkout / "functions/bridge/main.py"
    main.write_bytes(main.read_bytes())
    stack.build()
    assert {path.name: path.read_bytes() for path in build.glob("*.zip")} == before
    assert stack.changes() == {}


def test_the_order_of_inputs_means_nothing(stack: Stack) -> None:
    target = 'target = {{ url = "https://v.example.com", audience = "x", records = false }}'
    kinds = 'prefixes = ["{}", "{}"], content_types = ["{}", "{}"]'
    lane = f"videos = {{{{ {target}, {kinds} }}}}"
    settings = "include_prefixes = {}\n exclude_prefixes = {}\n lanes = {{ {} }}"
    first = settings.format(
        '["a/", "b/"]',
        '["a/x/", "b/x/"]',
        f"{lane.format('a/v/', 'b/w/', 'video/mp4', 'video/webm')}\n default = {{}}",
    )
    second = settings.format(
        '["b/", "a/"]',
        '["b/x/", "a/x/"]',
        f"default = {{}}\n {lane.format('b/w/', 'a/v/', 'video/webm', 'video/mp4')}",
    )
    planned = []
    for text in (first, second):
        with stack.settings(text):
            stack.changes()
            changes = {
                change["address"]: change["change"]
                for change in stack.planned()["resource_changes"]
            }
            # The queue's suffix is the time of the plan.
            text = json.dumps(changes, sort_keys=True)
            planned.append(re.sub(r"files-dev-videos-\d{12}|\"\d{12}\"", "", text))
    assert "v/" in planned[0]
    assert planned[0] == planned[1]


# What changes, changes that


def test_a_function_beyond_the_project_s_quota_is_refused_before_anything_is_made(
    stack: Stack,
) -> None:
    stack.cloud.post("/faults", {"run_quota": {"cpu": 9000, "memory": 40 * 2**30}})
    with stack.settings("renditions = { thumbnail = { width = 640 } }"), stack.unlimited():
        with pytest.raises(CommandFailed) as refused:
            stack.apply()
        told = " ".join(str(refused.value).split())
        assert "files-dev-processor-default takes 10 vCPU with all its instances" in told
        assert f"{stack.cloud.project} may take 9 in us-central1, so Google would refuse it" in told
        # And Google would.
        stack.changes()
        with pytest.raises(CommandFailed, match="CpuAllocPerProjectRegion requested: 10000"):
            stack.apply_changes()


def test_the_objective_waits_until_its_metrics_are_known(stack: Stack) -> None:
    stack.cloud.post("/faults", {"metric_seconds": 8})
    patient = "import patience, deploy; patience.LOOKS_EVERY = 2; raise SystemExit(deploy.main())"
    words = ("apply", "--environment", "dev", "--project", stack.cloud.project, "--yes")
    with stack.settings("monitoring = { enabled = true }"), stack.unlimited():
        done = stack.deployment.run(
            sys.executable, "-c", patient, *words,
            PYTHONPATH=str(stack.deployment.checkout / "scripts"),
        )  # fmt: skip
        assert "deploy: Cloud Monitoring does not know the new metrics yet" in done.stdout
        assert stack.changes() == {}
    stack.changes()
    stack.apply_changes()


def test_changed_source_changes_its_object_and_its_function_and_nothing_else(stack: Stack) -> None:
    with stack.source_changed("bridge/bridge"):
        changes = stack.changes()
        assert changes.pop(zipped("bridge")).actions == CREATED_FIRST
        assert changes == {BRIDGE: Change(UPDATE, SOURCE)}
        stack.apply_changes()
        assert stack.changes() == {}
        # The old zip goes.
        bucket = f"{stack.cloud.project}-files-dev-sources"
        assert len(stack.objects(bucket)) == 2
    assert set(stack.changes()) == {zipped("bridge"), BRIDGE}
    stack.apply_changes()


def test_the_processor_changes_with_its_source_alone(stack: Stack) -> None:
    with stack.source_changed("processor/processor"):
        changes = stack.changes()
    assert changes.pop(zipped("processor")).actions == CREATED_FIRST
    assert changes == {PROCESSOR: Change(UPDATE, SOURCE)}


def test_source_that_both_share_changes_both(stack: Stack) -> None:
    with stack.source_changed("contract"):
        changes = stack.changes()
    assert set(changes) == {zipped("bridge"), zipped("processor"), BRIDGE, PROCESSOR}


def test_changed_settings_change_in_place_what_they_name(stack: Stack) -> None:
    settings = """
      delivery          = { ack_deadline_seconds = 90 }
      renditions        = { thumbnail = { width = 640 } }
      results_retention = { noncurrent_days = 2, soft_delete_days = 0 }
      include_prefixes  = ["in/"]
      lanes = {
        default = {
          processor = { max_instances = 5 }
          queue     = { max_concurrent_dispatches = 36, max_dispatches_per_second = 20 }
        }
      }
    """
    subscription = f"{PIPELINE}.module.object_events.google_pubsub_subscription.push"
    results = f"{PIPELINE}.module.results.google_storage_bucket.this"
    expected = {
        QUEUE: {"rate_limits.0.max_dispatches_per_second"},
        PROCESSOR: {"service_config.0.environment_variables.RENDITIONS"},
        BRIDGE: {"service_config.0.environment_variables.INCLUDE_PREFIXES"},
        subscription: {"ack_deadline_seconds"},
        results: {"lifecycle_rule.0.condition.0.days_since_noncurrent_time"},
    }
    with stack.settings(settings):
        assert stack.changes() == {
            address: Change(UPDATE, attributes) for address, attributes in expected.items()
        }
        stack.apply_changes()
        assert stack.changes() == {}
    assert set(stack.changes()) == set(expected)
    stack.apply_changes()


def test_an_added_lane_adds_and_changes_the_bridge_alone(stack: Stack) -> None:
    settings = """
      lanes = {
        default = { processor = { max_instances = 5 }, queue = { max_concurrent_dispatches = 36 } }
        papers  = { prefixes = ["papers/"] }
      }
    """
    with stack.settings(settings):
        changes = stack.changes()
        # The bridge is told of the lane; what was there stays as it is.
        assert changes.pop(BRIDGE).actions == UPDATE
        assert {change.actions for change in changes.values()} == {CREATE}
        assert all("papers" in address for address in changes)


# A lane whose target is a service of one's own, as docs/own-service has it

OWN = ROOT / "docs/own-service"
MANIFEST = ROOT / "functions/contract/schemas/manifest.schema.json"
OWN_PAGE = (OWN / "README.md").read_text()
(OWN_LANE,) = re.findall(r"```hcl\n(.*?)```", OWN_PAGE, re.S)
LINES_LANE = f"""
  lanes = {{
    default = {{
      processor = {{ max_instances = 5 }}
      queue     = {{ max_concurrent_dispatches = 36 }}
    }}
{OWN_LANE}  }}
"""


def test_the_page_s_own_service_runs_and_the_doctor_has_no_complaint(stack: Stack) -> None:
    project, folder = stack.cloud.project, stack.deployment.checkout
    shutil.copytree(OWN, folder / "docs/own-service")
    copies = re.search(r"^mkdir functions/lines\n(?:cp .*\n)+", OWN_PAGE, re.M)
    assert copies
    stack.deployment.run("bash", "-ec", copies[0])
    with stack.settings(LINES_LANE):
        stack.apply()
        stack.put(f"{project}-files-dev-uploads", "lines/readme.txt")
        stack.cloud.idle(horizon=1.0)
        (record,) = stack.objects(f"{project}-files-dev-results", "manifests/lines/")
        assert re.fullmatch(r"manifests/lines/readme\.txt/\d+\.json", record["name"])
        doctor = (sys.executable, "-m", "scripts.ops", "-e", "dev", "--project", project, "doctor")
        assert stack.deployment.run(*doctor).stdout.endswith("0 errors, 0 warnings\n")
        read = f"storage/v1/b/{record['bucket']}/o/{quote(record['name'], safe='')}?alt=media"
        manifest = stack.storage("get", read).json()
        jsonschema.validate(manifest, json.loads(MANIFEST.read_text()))
        assert (manifest["status"], manifest["text"]["lines"]) == ("done", 0)
    # Another account gets the lane's roles in the place of the first; nothing else is touched.
    member = "module.lines_account.member"
    elsewhere = '"serviceAccount:lines@example-project.iam.gserviceaccount.com"'
    with stack.settings(LINES_LANE.replace(member, elsewhere)):
        moved = stack.changes()
    role = '.google_storage_bucket_iam_member.this["target-lines"]'
    assert {address: change.actions for address, change in moved.items()} == {
        f"{PIPELINE}.module.uploads{role}": DELETED_FIRST,
        f"{PIPELINE}.module.results{role}": DELETED_FIRST,
    }
    # Without the lane and its service, what they added goes, and the bridge is told.
    (stack.folder() / "lines.tf").unlink()
    shutil.rmtree(folder / "functions/lines")
    removed = stack.changes()
    stack.apply_changes()
    assert removed.pop(BRIDGE).actions == UPDATE
    assert {change.actions for change in removed.values()} == {DELETE}
    assert stack.changes() == {}


# What must be replaced


def test_a_function_made_anew_gets_its_invoker_again(stack: Stack) -> None:
    invoker = f'{PIPELINE}.module.bridge.google_cloud_run_service_iam_member.invoker["events"]'
    changes = stack.changes(f"-replace={BRIDGE}")
    assert changes[BRIDGE].actions == DELETED_FIRST
    assert changes[invoker].actions == DELETED_FIRST
    stack.apply_changes()
    assert stack.changes() == {}
    project = stack.cloud.project
    member = f"serviceAccount:files-dev-events-invoker@{project}.iam.gserviceaccount.com"
    service = f"projects/{project}/locations/us-central1/services/files-dev-bridge"
    assert [service, "roles/run.invoker", member, None] in stack.cloud.get("/bindings")


def test_a_queue_made_anew_has_a_new_name_that_the_bridge_knows(stack: Stack) -> None:
    suffix = f'{PIPELINE}.module.queue["default"].terraform_data.suffix'
    before = stack.deployment.outputs("dev")["queues"]["default"]
    changes = stack.changes(f"-replace={suffix}")
    assert changes[QUEUE].actions == DELETED_FIRST
    assert changes[BRIDGE].actions == UPDATE
    stack.apply_changes()
    outputs = stack.deployment.outputs("dev")
    assert outputs["queues"]["default"] != before
    assert (
        json.loads(outputs["bridge_settings"]["LANES"])["default"]["queue"]
        == (outputs["queues"]["default"])
    )
    assert stack.changes() == {}


@pytest.mark.parametrize("setting", ['region = "europe-west1"', 'environment = "other"'])
def test_what_would_recreate_a_bucket_is_refused(stack: Stack, setting: str) -> None:
    before = stack.held("dev")
    with stack.settings(setting), pytest.raises(CommandFailed) as refused:
        stack.changes()
    assert "would be re-created as" in " ".join(str(refused.value).split())
    assert stack.held("dev") == before


# Verify


def test_verify_plans_again_and_puts_files_through(stack: Stack) -> None:
    said = stack.deployment.make("verify", "ENV=dev").stdout
    assert "dev is as configured" in said
    assert re.search(r"ok +a picture +done in .* 300 × 225", said), said
    assert re.search(r"ok +a broken file +failed in .* one attempt", said), said


def test_verify_fails_when_something_was_changed_by_hand(stack: Stack) -> None:
    queue = stack.deployment.outputs("dev")["queues"]["default"]
    url = f"https://cloudtasks.googleapis.com/v2/{queue}?updateMask=rateLimits"
    stack.request("patch", url, json.dumps({"rateLimits": {"maxDispatchesPerSecond": 1}}).encode())
    done = stack.deployment.make("verify", "ENV=dev", check=False)
    assert done.returncode
    assert "dev differs from its configuration" in done.stdout
    assert "max_dispatches_per_second = 1 -> 10" in " ".join(done.stdout.split())
    stack.apply("dev")


# Down


def test_a_destroy_of_prod_is_refused_as_a_whole(stack: Stack) -> None:
    before = stack.held("prod")
    said = stack.destroy("prod", check=False)
    assert "terraform_data.keep has lifecycle.prevent_destroy set" in said
    assert stack.held("prod") == before
    assert stack.changes(environment="prod") == {}


def test_bootstrap_stays_as_long_as_an_environment_needs_it(stack: Stack) -> None:
    before = stack.cloud.get("/snapshot")
    said = stack.destroy("bootstrap", check=False)
    assert "dev still exists" in said
    assert stack.cloud.get("/snapshot") == before


def test_staging_keeps_files_until_they_are_taken_away(stack: Stack) -> None:
    bucket = f"{stack.cloud.project}-files-staging-results"
    stack.put(bucket, "kept")
    said = stack.destroy("staging", check=False)
    assert f"{bucket} without `force_destroy` set to true" in " ".join(said.split())
    assert any(bucket in name for name in stack.held("staging"))
    stack.empty(bucket)
    stack.destroy("staging")
    assert stack.held("staging") == set()


def test_prod_goes_on_purpose(stack: Stack) -> None:
    """As environments/README.md says it."""
    main = stack.folder("prod") / "main.tf"
    keep = re.search(r'resource "terraform_data" "keep" \{.*?^\}\n', main.read_text(), re.S | re.M)
    assert keep
    with stack.edited(main, ('deletion_policy = "PREVENT"', ""), (keep[0], "")):
        stack.apply("prod")
        stack.destroy("prod")
    assert stack.held("prod") == set()


def test_dev_goes_with_its_files_then_all_the_rest_and_it_comes_back_the_same_day(
    stack: Stack,
) -> None:
    stack.put(f"{stack.cloud.project}-files-dev-results", "gone")
    queue = stack.deployment.outputs("dev")["queues"]["default"]
    for environment in ("dev", "staging"):
        if stack.held(environment):
            stack.destroy(environment)
    assert stack.held("dev") == set()
    if not stack.held("prod"):
        stack.destroy("bootstrap")
        assert stack.cloud.get("/snapshot") == stack.at_first
    stack.deployment.make("bootstrap", "YES=1")
    stack.apply("dev")
    assert stack.deployment.outputs("dev")["queues"]["default"] != queue
    assert stack.changes() == {}

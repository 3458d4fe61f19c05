"""Plans of a module or an environment, and what tests ask of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tftest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "demo-project"

# What a plan is given, and words of the message that refuses it.
Case = tuple[dict[str, Any], str]

# Which attribute of a binding names what it is on.
IAM_RESOURCES = {
    "google_artifact_registry_repository_iam_member": ("repository", "repository"),
    "google_cloud_run_service_iam_member": ("run", "service"),
    "google_cloud_tasks_queue_iam_member": ("queue", "name"),
    "google_cloud_run_v2_job_iam_member": ("job", "name"),
    "google_project_iam_member": ("project", "project"),
    "google_pubsub_subscription_iam_member": ("subscription", "subscription"),
    "google_pubsub_topic_iam_member": ("topic", "topic"),
    "google_service_account_iam_member": ("account", "service_account_id"),
    "google_storage_bucket_iam_member": ("bucket", "bucket"),
}
# What a resource's full name calls it → what it is called there, where it is not the singular.
KINDS = {"repositories": "repository", "serviceAccounts": "account", "services": "run"}


class Root:
    """A folder of the repository, copied with what it refers to, and planned there.

    Args:
        folder: relative to the repository, for instance terraform/modules/bucket.
        scratch: an empty folder for the copy.
        environ: of Terraform: its provider, and whom it talks to.
        inputs: variables of every plan; those of a plan come on top.
        files: path from the folder → text; makes the folder.
    """

    def __init__(
        self,
        folder: str,
        scratch: Path,
        environ: dict[str, str],
        inputs: dict[str, Any],
        files: dict[str, str],
    ) -> None:
        ignore = shutil.ignore_patterns(
            ".terraform*", "*.tfstate*", "*_override.tf", "*.tfvars.json", "__pycache__"
        )
        for part in ("terraform", "environments", "functions"):
            shutil.copytree(ROOT / part, scratch / part, ignore=ignore)
        self.folder = scratch / folder
        self.inputs = inputs
        for path in (ROOT / "functions").glob("*/requirements*.txt"):
            name = path.parent.name + path.stem.removeprefix("requirements")
            zipped = scratch / "build" / f"{name}.zip"
            zipped.parent.mkdir(exist_ok=True)
            zipped.write_bytes(b"the zip of " + name.encode())
        for name, text in files.items():
            path = scratch / folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        if folder.startswith("environments/"):
            (self.folder / "backend_override.tf").write_text(
                'terraform {\n  backend "local" {}\n}\n'
            )
        self._test = tftest.TerraformTest(str(self.folder), env=environ)
        self._test.setup()
        self._plans: dict[str, Plan] = {}
        self._refusals: dict[str, str] = {}

    def _given(self, inputs: dict[str, Any]) -> str:
        """The variables of a plan, as JSON: tftest's own way breaks booleans."""
        return json.dumps(self.inputs | inputs, sort_keys=True)

    def _planned(self, given: str) -> Any:
        (self.folder / "inputs.auto.tfvars.json").write_text(given)
        return self._test.plan(output=True)

    def plan(self, **inputs: Any) -> Plan:
        """The plan with these variables, made once however often it is asked for."""
        given = self._given(inputs)
        if given not in self._plans:
            self._plans[given] = Plan(self._planned(given))
        return self._plans[given]

    def refusal(self, **inputs: Any) -> str:
        """Terraform's words when it refuses to plan, on one line.

        Raises:
            AssertionError: when it does not refuse.
        """
        given = self._given(inputs)
        if given not in self._refusals:
            try:
                self._planned(given)
            except tftest.TerraformTestError as error:
                self._refusals[given] = one_line(str(error.cmd_error or error))
            else:
                raise AssertionError(f"planned, although it should have been refused: {given}")
        return self._refusals[given]

    def refused(self, case: Case, among: Sequence[Case]) -> str:
        """What Terraform says to a case.

        Cases that set different variables share a plan, which reports all their faults; a case
        whose message does not show there, since another fault came first, is planned alone.
        """
        inputs, message = case
        for together in disjoint(among):
            if inputs.items() <= together.items() and message in self.refusal(**together):
                return self.refusal(**together)
        return self.refusal(**inputs)

    def apply(self, address: str) -> None:
        """Applies one resource as last planned: one that needs no provider."""
        self._test.execute_command("apply", "-auto-approve", "-input=false", f"-target={address}")


def case_id(case: Case) -> str:
    """How a test of this case is called."""
    return case[1]


def disjoint(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The inputs of all cases, in as few sets as hold no variable twice."""
    found: list[dict[str, Any]] = []
    for inputs, _ in cases:
        for together in found:
            if not together.keys() & inputs.keys():
                together |= inputs
                break
        else:
            found.append(dict(inputs))
    return found


def rules(folder: str) -> dict[str, str]:
    """The messages of a folder's validations and preconditions, as written → as a pattern.

    A check block refuses nothing: it only warns."""
    found = {}
    for path in sorted((ROOT / folder).glob("*.tf")):
        whole = re.sub(r"^check .*?^}$", "", path.read_text("utf-8"), flags=re.M | re.S)
        for text in re.split(r"^ +error_message += \"", whole, flags=re.M)[1:]:
            literals = list(_literals(text))
            found["…".join(literals)] = ".*?".join(map(re.escape, literals))
    return found


def _literals(text: str) -> Iterator[str]:
    """The fixed parts of a quoted string of Terraform's; `text` begins after its first quote."""
    literal, depth, at = "", 0, 0
    while depth or text[at] != '"':
        if text[at] == "{":
            if not depth:
                yield literal.removesuffix("$")
                literal = ""
            depth += 1
        elif text[at] == "}":
            depth -= 1
        elif not depth:
            literal += text[at]
        at += 1
    yield literal


def unseen(root: Root, folder: str, cases: Sequence[Case]) -> list[str]:
    """The rules of a folder whose message no case expects and gets."""
    said = [(message, root.refused((inputs, message), cases)) for inputs, message in cases]
    return [
        rule
        for rule, pattern in rules(folder).items()
        if not any(
            message in match[0] for message, text in said for match in re.finditer(pattern, text)
        )
    ]


def one_line(text: str) -> str:
    """Terraform's errors without their frames, colours and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╷╵]", " ", text).split())


class Plan:
    """What a plan says.

    Attributes:
        resources: full address → planned values; what is only known after apply is left out.
        outputs: name → value, without what is only known after apply.
        after: address, without keys → what it says it depends on, in its own module's words.
    """

    def __init__(self, output: Any) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        self._types: dict[str, str] = {}
        self._collect(output["planned_values"]["root_module"])
        self.after = dict(_after(output["configuration"]["root_module"]))
        # The changes tell what is known in part, too.
        changes = output.get("output_changes", {})
        self.outputs = {name: change.get("after") for name, change in changes.items()}

    def _collect(self, module: dict[str, Any]) -> None:
        for resource in module.get("resources", []):
            if resource["mode"] == "managed":
                self.resources[resource["address"]] = resource["values"]
                self._types[resource["address"]] = resource["type"]
        for child in module.get("child_modules", []):
            self._collect(child)

    def __getitem__(self, address: str) -> dict[str, Any]:
        return self.resources[address]

    def of_type(self, kind: str) -> list[str]:
        """The addresses of all resources of a type."""
        return [address for address, its in self._types.items() if its == kind]

    def bindings(self, conditions: bool = True) -> set[tuple[str, str, str]]:
        """Every IAM binding as (member, role, kind/name of the resource with its condition)."""
        found = set()
        for address, kind in self._types.items():
            if re.search(r"_iam_(member|binding|policy)$", kind):
                values = self.resources[address]
                what, attribute = IAM_RESOURCES[kind]
                name = re.sub(r"-\d{12}$", "", values[attribute].rsplit("/", 1)[-1])
                titles = [its["title"] for its in values.get("condition") or [] if conditions]
                only = "".join(f" only {title}" for title in titles)
                resource = f"{what}/{short(name)}{only}"
                found.add((short(values.get("member", "(after apply)")), values["role"], resource))
        return found

    def told(self) -> set[tuple[str, str, str]]:
        """What the output `grants` says, in the words of `bindings` without conditions.

        Raises:
            AssertionError: when one of them has no reason.
        """
        found = set()
        for grant in filter(None, self.outputs["grants"]):
            if isinstance(grant, str):
                member, role, rest = grant.split(" ", 2)
                resource, _, because = rest.partition(": ")
            else:
                member, role, resource, because = map(
                    grant.get, ("member", "role", "resource", "because")
                )
            assert len(because) >= 10, grant
            parts = resource.split("/")
            kind = "project" if len(parts) == 2 else KINDS.get(parts[-2], parts[-2][:-1])
            name = re.sub(r"-\d{12}$", "", parts[-1])
            found.add((short(member), role, f"{kind}/{short(name)}"))
        return found


def alerts(plan: Plan) -> list[dict[str, Any]]:
    """A plan's alerts; there are some.

    Raises:
        AssertionError: where one's section of docs/runbook.md does not begin with its severity and
            for how long it holds before it rings, or the alert does not name that section.
    """
    runbook = (ROOT / "docs/runbook.md").read_text("utf-8")
    sections = dict(re.findall(r"^## ([a-z-]+)\n\n(.*)$", runbook, re.M))
    found = [plan[address] for address in plan.of_type("google_monitoring_alert_policy")]
    assert found
    for policy in found:
        section = policy["user_labels"]["alert"].replace("_", "-")
        ((promql,),) = [
            condition["condition_prometheus_query_language"] for condition in policy["conditions"]
        ]
        seconds = promql["duration"].removesuffix("s")
        after = "at once" if seconds == "0" else f"after {seconds} s"
        assert sections.get(section) == f"`{policy['severity']}`, {after}.", section
        assert f"docs/runbook.md#{section}" in policy["documentation"][0]["content"]
    return found


def _after(module: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    for resource in module.get("resources", []):
        if names := resource.get("depends_on"):
            yield prefix + resource["address"], set(names)
    for name, output in module.get("outputs", {}).items():
        if names := output.get("depends_on"):
            yield f"{prefix}output.{name}", set(names)
    for name, call in module.get("module_calls", {}).items():
        if names := call.get("depends_on"):
            yield f"{prefix}module.{name}", set(names)
        yield from _after(call["module"], f"{prefix}module.{name}.")


def short(name: str) -> str:
    """Names without what is the same in all of them."""
    name = name.removeprefix("serviceAccount:").removeprefix("projects/")
    name = re.sub(r"^service-\d+@", "service@", name)
    name = name.removesuffix(f"@{PROJECT}.iam.gserviceaccount.com")
    return name if name == PROJECT else name.removeprefix(f"{PROJECT}-")


def rates_and_retries(queue: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Of a planned queue: dispatches a second, dispatches at once, how it retries."""
    (rates,), (retry,) = queue["rate_limits"], queue["retry_config"]
    return rates["max_dispatches_per_second"], rates["max_concurrent_dispatches"], retry


# The rates and retries of a queue for which nothing is set: the tutorial's.
TUTORIALS_QUEUE = (
    10,
    100,
    {
        "max_attempts": 3,
        "max_backoff": "300s",
        "max_doublings": 16,
        "max_retry_duration": "604800s",
        "min_backoff": "2s",
    },
)

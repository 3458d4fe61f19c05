"""Plans of a module or an environment, and what tests ask of them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import tftest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "demo-project"

# Which attribute of a binding names what it is on.
IAM_RESOURCES = {
    "google_artifact_registry_repository_iam_member": ("repository", "repository"),
    "google_cloud_run_service_iam_member": ("run", "service"),
    "google_cloud_tasks_queue_iam_member": ("queue", "name"),
    "google_project_iam_member": ("project", "project"),
    "google_pubsub_subscription_iam_member": ("subscription", "subscription"),
    "google_pubsub_topic_iam_member": ("topic", "topic"),
    "google_service_account_iam_member": ("account", "service_account_id"),
    "google_storage_bucket_iam_member": ("bucket", "bucket"),
}


class Root:
    """A folder of the repository, copied with what it refers to, and planned there.

    Args:
        folder: relative to the repository, for instance terraform/modules/bucket.
        scratch: an empty folder for the copy.
        environ: of Terraform: its provider, and whom it talks to.
        inputs: variables of every plan; those of a plan come on top.
        example: a configuration to write into the folder, which is new then.
    """

    def __init__(
        self,
        folder: str,
        scratch: Path,
        environ: dict[str, str],
        inputs: dict[str, Any],
        example: str = "",
    ) -> None:
        ignore = shutil.ignore_patterns(
            ".terraform*", "*.tfstate*", "*_override.tf", "*.tfvars.json"
        )
        for part in ("terraform", "environments"):
            shutil.copytree(ROOT / part, scratch / part, ignore=ignore)
        self.folder = scratch / folder
        self.inputs = inputs
        for name in ("bridge", "processor"):
            zipped = scratch / "build" / f"{name}.zip"
            zipped.parent.mkdir(exist_ok=True)
            zipped.write_bytes(b"the zip of " + name.encode())
        if example:
            self.folder.mkdir()
            (self.folder / "main.tf").write_text(example)
        if folder.startswith("environments/"):
            (self.folder / "backend_override.tf").write_text(
                'terraform {\n  backend "local" {}\n}\n'
            )
        self._test = tftest.TerraformTest(str(self.folder), env=environ)
        self._test.setup()

    def plan(self, **inputs: Any) -> Plan:
        """The plan with these variables, given as JSON: tftest's own way breaks booleans."""
        path = self.folder / "inputs.auto.tfvars.json"
        path.write_text(json.dumps(self.inputs | inputs))
        return Plan(self._test.plan(output=True))

    def refusal(self, **inputs: Any) -> str:
        """Terraform's words when it refuses to plan, on one line.

        Raises:
            AssertionError: when it does not refuse.
        """
        try:
            self.plan(**inputs)
        except tftest.TerraformTestError as error:
            return one_line(str(error.cmd_error or error))
        raise AssertionError(f"planned, although it should have been refused: {inputs}")


def one_line(text: str) -> str:
    """Terraform's errors without their frames, colours and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╷╵]", " ", text).split())


class Plan:
    """What a plan says.

    Attributes:
        resources: full address → planned values; what is only known after apply is left out.
        outputs: name → value, where it is known.
    """

    def __init__(self, output: Any) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        self._types: dict[str, str] = {}
        self._collect(output["planned_values"]["root_module"])
        planned = output["planned_values"].get("outputs", {})
        self.outputs = {name: value.get("value") for name, value in planned.items()}

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

    def bindings(self) -> set[tuple[str, str, str]]:
        """Every IAM binding as (member, role, kind/name of the resource)."""
        found = set()
        for address, kind in self._types.items():
            if "_iam_" in kind and not kind.endswith("_custom_role"):
                values = self.resources[address]
                what, attribute = IAM_RESOURCES[kind]
                name = re.sub(r"-\d{12}$", "", values[attribute].rsplit("/", 1)[-1])
                found.add((short(values["member"]), values["role"], f"{what}/{short(name)}"))
        return found


def short(name: str) -> str:
    """Names without what is the same in all of them."""
    name = name.removeprefix("serviceAccount:").removeprefix("projects/")
    name = re.sub(r"^service-\d+@", "service@", name)
    name = name.removesuffix(f"@{PROJECT}.iam.gserviceaccount.com")
    return name if name == PROJECT else name.removeprefix(f"{PROJECT}-")

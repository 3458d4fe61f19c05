"""A deployed environment against what Terraform declares, and against what a plan cannot see.

Every resource that a module of terraform/ has in the state is looked at (resources.py, access.py),
and what a module adds to that is a file of scripts/ops/modules. What else is in the state is the
user's own, and left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from .. import ROOT, modules
from ..clients import Clients
from ..declared import State
from ..environment import Environment
from ..look import Checks, Finding, Look
from ..problems import Problem
from . import access, resources

__all__ = ["Doctor", "Finding"]
SERVICES = "https://serviceusage.googleapis.com/v1"
NEEDS = ROOT / "environments/bootstrap/needs.tf.json"


class Doctor:
    def __init__(self, clients: Clients, environment: Environment, state: State) -> None:
        self._look = Look(clients, environment, state)

    def checks(self) -> Checks:
        found = {"apis": apis, **resources.CHECKS, **access.CHECKS}
        for module in self._look.state.modules:
            found |= modules.brought(module).checks
        return found

    def examine(self, *only: str, begun: Callable[[str], None] = lambda _: None) -> list[Finding]:
        """All checks, or those named. What a check may not see is a finding, not an end."""
        findings = []
        for name, check in self.checks().items():
            if only and name not in only:
                continue
            begun(name)
            try:
                found = list(check(self._look))
            except Problem as problem:
                findings.append(Finding("unknown", name, str(problem), str(problem)))
                continue
            if all(finding.level == "note" for finding in found):
                findings.append(Finding("ok", name, "as declared"))
            findings += found
        return findings

    def complete(self) -> Iterator[Finding]:
        """What a module cannot be without is in the state."""
        look, wrong = self._look, False
        for module in ("pipeline", *look.state.modules):
            for kind, count in modules.brought(module).least(look).items():
                there = sum(1 for one in look.state.of(kind) if one.module == module)
                if there < count:
                    wrong = True
                    what = f"the state has {there} {kind} of {module}, {count} are needed"
                    yield Finding("error", "resources", what, look.apply)
        if not wrong:
            yield Finding("ok", "resources", f"{len(look.state.resources)} in the state")


def apis(look: Look) -> Iterator[Finding]:
    """What bootstrap enables for the modules in use is enabled."""
    needs = json.loads(NEEDS.read_text())["locals"]["needs"]
    wanted = {api for module in look.state.modules for api in needs.get(module, {}).get("apis", {})}
    url = f"{SERVICES}/projects/{look.environment.project}/services?filter=state:ENABLED"
    enabled = {service["config"]["name"] for service in look.clients.pages(url, "services")}
    for api in sorted(wanted - enabled):
        yield Finding("error", "apis", f"{api} is not enabled", look.bootstrap)

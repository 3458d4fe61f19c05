"""What every resource type shares: state to REST body and back, and the life of a resource.

A state is a dict of the table's attributes. A type that differs overrides a method (see
handlers.py).
"""

from __future__ import annotations

import re
from typing import Any

from . import plan
from .rest import ApiError, Cloud, segment
from .tables import Block, Field, Table
from .values import UNKNOWN, equal, is_empty, known

State = dict[str, Any]
ATTRIBUTION = "goog-terraform-provisioned"
ZERO = {"string": "", "int": 0, "number": 0, "bool": False}


def put(body: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        body = body.setdefault(key, {})
    body[path[-1]] = value


def get(body: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    return body


def expand(field: Field, value: Any) -> Any:
    """A state's value as REST wants it; None for "not to be sent"."""
    if field.block is None:
        if is_empty(value):
            value = (ZERO | {"map": {}}).get(field.type) if field.always else None
        return str(value) if field.quoted and value is not None else value
    objects = [expand_block(field.block, item) for item in value or []]
    if not field.single:
        return objects or None
    return objects[0] if objects and (objects[0] or field.present) else None


def expand_block(block: Block, state: State) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, field in block.fields.items():
        value = expand(field, state[name])
        if field.api and (value is not None or field.always):
            put(body, field.api, value)
    return body


def flatten(field: Field, value: Any, old: Any) -> Any:
    """REST's value as state; `old` is the state's value so far."""
    if field.input and not is_empty(old):
        return old
    if field.block is None:
        if value is None and field.enum and field.default is not None:
            value = field.default  # REST leaves an enumeration's first value out
        if value is None:
            value = ZERO.get(field.type)  # states of the older provider kit have these for null
        elif field.type in ("int", "string"):
            value = int(value) if field.type == "int" else str(value)
        return old if old is not None and is_empty(value) and is_empty(old) else value
    if field.single:
        value = [value] if value or (value == {} and field.present) else []
    made = []
    for index, item in enumerate(value or []):
        partner = old[index] if old and index < len(old) else {}
        made.append(flatten_block(field.block, item, partner))
    return old if old is not None and equal(field, made, old) else made


def flatten_block(block: Block, body: dict[str, Any], old: State) -> State:
    return {
        name: flatten(field, get(body, field.api), old.get(name)) if field.api else old.get(name)
        for name, field in block.fields.items()
    }


class Resource:
    """A resource type by its table alone."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.fields = table.block.fields
        self.settings = table.settings

    # --- what Terraform asks ---

    def plan(self, cloud: Cloud, config: State, prior: State | None) -> State:
        planned = plan.planned_block(self.table.block, config, prior)
        if "project" in self.fields and not config["project"] and "late" not in self.settings:
            planned["project"] = cloud.project or planned["project"]
        if "deletion_policy" in self.fields and config["deletion_policy"] is None:
            planned["deletion_policy"] = cloud.deletion_policy or "DELETE"
        if "effective_labels" in self.fields:
            self._plan_labels(cloud, planned, prior)
        return planned

    def _plan_labels(self, cloud: Cloud, planned: State, prior: State | None) -> None:
        labels = planned["labels"]
        if labels is UNKNOWN or UNKNOWN in (labels or {}).values():
            planned["terraform_labels"] = planned["effective_labels"] = UNKNOWN
            return
        effective = dict((prior or {}).get("effective_labels") or {})
        managed = dict(cloud.default_labels)
        if cloud.attribution and (prior is None or ATTRIBUTION in effective):
            managed[ATTRIBUTION] = "true"
        managed |= labels or {}
        for gone in ((prior or {}).get("terraform_labels") or {}).keys() - managed.keys():
            effective.pop(gone, None)
        planned["terraform_labels"], planned["effective_labels"] = managed, effective | managed

    def create(self, cloud: Cloud, planned: State) -> State:
        state = self.complete(cloud, known(planned))
        method, _, path = self.settings.get("create", "POST").partition(" ")
        path = path or (self.table.path if method == "PUT" else self.table.path.rsplit("/", 1)[0])
        answer = self.send(cloud, method, state, self.create_body(state), path)
        for name, field in self.fields.items():  # names that the server chose
            if state[name] is None and field.computed and field.api and not field.optional:
                state[name] = get(answer, field.api)
        self.created(cloud, state, answer)
        state["id"] = self.fill(self.table.id, state)
        found = self.read(cloud, state)
        if found is None:
            raise ApiError(404, f"{self.table.name} {state['id']} was not found after its creation")
        return found

    def read(self, cloud: Cloud, state: State) -> State | None:
        try:
            answer = self.fetch(cloud, state)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return None if answer is None else self.decode(cloud, answer, self.complete(cloud, state))

    def update(self, cloud: Cloud, planned: State, prior: State) -> State:
        state = self.complete(cloud, known(planned))
        if self.changed(state, prior) - {"deletion_policy"}:
            self.change(cloud, state, prior)
        return self.read(cloud, state) or state

    def delete(self, cloud: Cloud, state: State) -> None:
        policy = state.get("deletion_policy")
        if policy == "PREVENT":
            raise ApiError(
                0,
                f'cannot destroy {self.table.name} "{state["id"]}" without setting '
                'deletion_policy="DELETE" and running `terraform apply`',
            )
        if policy == "ABANDON":
            return
        try:
            self.remove(cloud, state)
        except ApiError as error:
            if error.code != 404:
                raise

    def import_state(self, cloud: Cloud, text: str) -> State:
        """The state of an import id: the full path, or its parts, with or without the project."""
        state: State = {name: [] if f.block else None for name, f in self.fields.items()} | {
            "id": text
        }
        names = re.findall(r"{\+?(\w+)}", self.table.path)
        short = [name for name in names if name != "project"]
        forms = [self.table.path, self.table.id]
        forms += ["/".join(f"{{{name}}}" for name in part) for part in (names, short)]
        for form in forms:
            pattern = re.sub(r"{\+(\w+)}", r"(?P<\1>.+)", form)
            match = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", pattern), text)
            if match:
                return self.complete(cloud, state | match.groupdict())
        raise ApiError(0, f"Import id {text!r} doesn't match any of the accepted formats: {forms}")

    # --- steps that a type may replace ---

    def complete(self, cloud: Cloud, state: State) -> State:
        """The state with the provider's project and region where it names none."""
        places = {"project": cloud.project, "location": cloud.region, "region": cloud.region}
        for name, value in places.items():
            if name in self.fields and not state[name]:
                state = state | {name: value}
        return state

    def create_body(self, state: State) -> dict[str, Any]:
        return self.body(state, list(self.fields))

    def body(self, state: State, names: list[str]) -> dict[str, Any]:
        body: dict[str, Any] = {}
        for name in names:
            field = self.fields[name]
            if not field.api or (
                field.computed and not field.optional and name != "effective_labels"
            ):
                continue
            value = expand(field, state[name])
            if value is not None or field.always:
                put(body, field.api, value)
        return body

    def created(self, cloud: Cloud, state: State, answer: dict[str, Any]) -> None:
        """What is left to do between create and read."""

    def changed(self, state: State, prior: State) -> set[str]:
        return {n for n, f in self.fields.items() if not plan.same(f, state[n], prior[n])}

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        method, *options = self.settings.get("update", "PATCH mask").split()
        if method == "none":
            return
        mutable = [name for name, field in self.fields.items() if not field.new]
        body = self.body(state, mutable)
        query = None
        wrap = next((o.removeprefix("wrap=") for o in options if o.startswith("wrap=")), None)
        mask = [o for o in options if o.startswith("mask")]
        if mask:
            fields = [n for n in self.table.block.fields if n in self.changed(state, prior)]
            paths = [self.mask(name) for name in fields if self.mask(name)]
            if not paths:
                return
            paths += [mask[0].removeprefix("mask=")] if "=" in mask[0] else []
            query = {"updateMask": ",".join(paths)}
        self.send(cloud, method, state, {wrap: body} if wrap else body, query=query)

    def mask(self, name: str) -> str:
        field = self.fields[name]
        sent = field.optional or field.required or name == "effective_labels"
        return ".".join(field.api) if sent and not field.new else ""

    def fetch(self, cloud: Cloud, state: State) -> Any:
        return self.send(cloud, "GET", state)

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        found = flatten_block(self.table.block, answer, state)
        if "effective_labels" in self.fields:
            labels = answer.get("labels") or {}
            for name in ("labels", "terraform_labels"):
                if state[name]:
                    found[name] = {k: labels[k] for k in state[name] if k in labels}
            found["effective_labels"] = labels
        if "deletion_policy" in self.fields:
            found["deletion_policy"] = state["deletion_policy"] or cloud.deletion_policy or "DELETE"
        found["id"] = self.fill(self.table.id, state | found)
        return found

    def remove(self, cloud: Cloud, state: State) -> None:
        self.send(cloud, "DELETE", state)

    # --- calls ---

    def fill(self, path: str, state: State, quoted: bool = False) -> str:
        """A path with its {attributes}, each quoted as one segment, and its {+attributes} as is."""

        def value(match: re.Match[str]) -> str:
            text = str(state.get(match[2]) or "")
            return segment(text) if quoted and not match[1] else text

        return re.sub(r"{(\+?)(\w+)}", value, path)

    def send(
        self,
        cloud: Cloud,
        method: str,
        state: State,
        body: Any = None,
        path: str | None = None,
        query: dict[str, str] | None = None,
    ) -> Any:
        """A call on the resource (or a path of its service); waits for its operation."""
        service, url = self.table.service, self.fill(path or self.table.path, state, quoted=True)
        url, _, more = url.partition("?")
        query = dict(pair.split("=", 1) for pair in more.split("&") if more) | (query or {})
        place = state.get("location")
        answer = cloud.call(method, service, url, body, query=query, location=place)
        # Some services answer a change at once, with the resource itself.
        if "operations" in self.settings and "operations/" in answer.get("name", ""):
            cloud.wait(service, answer)
        return answer

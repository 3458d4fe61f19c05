"""Requests to Google APIs: routed, checked and answered by Google's own discovery documents.

A service says `@rpc("pubsub.projects.topics.create", "pubsub.topics.create", on="{name}")` above a
method; the discovery document (google-api-python-client carries them) gives verb, path, parameters,
request and response schema. Unknown fields, wrong types and missing required ones are refused as
Google refuses them; a method that exists at Google and not here answers "not implemented".
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .departures import RENAMED, SAID, STANDARD, UNLISTED, UNSERVED
from .errors import ApiError, Reset, invalid, not_implemented
from .identity import Principal

if TYPE_CHECKING:
    from .server import Cloud

Json = dict[str, Any]
Handler = Callable[["Call"], Any]


@dataclass(slots=True)
class Call:
    """One request to one method: what a handler gets.

    Attributes:
        method: the discovery id, such as "storage.objects.get".
        params: path and query parameters by name, decoded (strings; integers and booleans typed;
            repeated ones as lists).
        body: the JSON body, checked against the method's schema; {} when there is none.
        principal: who calls.
        request: the HTTP request, for headers and media; None for gRPC.
    """

    method: str
    params: Json
    body: Json
    principal: Principal
    request: Request | None = None


@dataclass(slots=True)
class Method:
    id: str
    verb: str
    path: str
    parameters: Json
    request: Json | None
    response: Json | None
    document: Document = field(repr=False)
    handler: Handler | None = None
    permission: str | None = None
    on: str | Callable[[Call], str] | None = None
    required: tuple[str, ...] = ()
    _regex: re.Pattern[str] | None = None

    @property
    def regex(self) -> re.Pattern[str]:
        if self._regex is None:
            self._regex = _regex(self.path, self.parameters)
        return self._regex


def rpc(
    method: str, permission: str | None = None, on: str | Callable[[Call], str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a service's method as the handler of a discovery method.

    Args:
        method: discovery id.
        permission: IAM permission that the caller needs; None when the handler asks by itself.
        on: the resource it is needed on: a template over the parameters ("{topic}",
            "projects/_/buckets/{bucket}") or a function of the call.
    """

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__dict__.setdefault("rpcs", []).append((method, permission, on))
        return function

    return mark


class Service:
    """Base of a Google service: a discovery document, handlers, and the resources with policies.

    Class attributes:
        documents: names of discovery documents, such as ("pubsub.v1",).
        hosts: regular expressions of further hosts that serve them (regional endpoints).
        policies: method prefix → permission prefix of resources with IAM policies of their own,
            such as {"pubsub.projects.topics": "pubsub.topics"}.
    """

    documents: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    policies: dict[str, str] = {}

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def exists(self, resource: str) -> bool:
        """Whether a resource with a policy of its own is there."""
        raise NotImplementedError

    async def raw(self, request: Request) -> Response | None:
        """Requests outside the discovery document (media); None leaves them to it."""
        return None

    def snapshot(self) -> list[str]:
        """Names of all resources held: what `what is left after destroy` compares."""
        return []


class Document:
    """A discovery document: its methods by verb, and its schemas."""

    def __init__(self, name: str) -> None:
        path = resources.files("googleapiclient") / "discovery_cache/documents" / f"{name}.json"
        doc = json.loads(path.read_text("utf-8"))
        self.name = name
        self.host = doc["rootUrl"].removeprefix("https://").rstrip("/")
        self.schemas: Json = doc.get("schemas", {})
        self.parameters: Json = doc.get("parameters", {})
        self.methods: dict[str, Method] = {}
        self.by_verb: dict[str, list[Method]] = {}
        for spec in _methods(doc):
            if "path" not in spec:
                continue
            method = Method(
                spec["id"],
                spec["httpMethod"],
                "/" + doc["servicePath"] + spec["path"],
                spec.get("parameters", {}),
                spec.get("request"),
                spec.get("response"),
                self,
            )
            self.methods[method.id] = method

    def index(self) -> None:
        """To be called once the handlers are known: served methods come first."""
        for method in self.methods.values():
            if method.handler:
                method.required = self._required(method)
            self.by_verb.setdefault(method.verb, []).append(method)
        for methods in self.by_verb.values():
            # Then `…/{name}:verb` before `…/{name}`, more segments before fewer.
            methods.sort(
                key=lambda m: (not m.handler, ":" not in m.path, -m.path.count("/"), -len(m.path))
            )

    def _required(self, method: Method) -> tuple[str, ...]:
        """Query parameters and fields of the body that a request must have.

        Numbers are left to the handlers: over gRPC an absent one is 0. So is `acl`, which documents
        demand of each update, and no client sends where access is uniform.
        """
        specs = {n: s for n, s in method.parameters.items() if s.get("location") != "path"}
        if method.request and method.verb != "PATCH":  # a PATCH carries what changes
            fields = self.schemas[method.request["$ref"]].get("properties", {})
            specs |= {n: s for n, s in fields.items() if n not in method.parameters}
        return tuple(
            name
            for name, spec in specs.items()
            if name != "acl" and spec.get("type") != "integer"
            if name not in SAID.get(method.id, ())
            if spec.get("required")
            or method.id in spec.get("annotations", {}).get("required", ())
            or spec.get("description", "").lower().startswith("required")
        )

    def find(self, verb: str, path: str) -> tuple[Method, Json] | None:
        """The method that serves a raw (undecoded) path, and its decoded path parameters."""
        for method in self.by_verb.get(verb, ()):
            if match := method.regex.fullmatch(path):
                return method, {k: unquote(v) for k, v in match.groupdict().items()}
        return None

    def check(self, value: Any, schema: Json, where: str = "") -> None:
        """Raises ApiError 400 where `value` is not of `schema`."""
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        kind = schema.get("type", "any")
        if value is None or kind == "any":
            return
        if kind == "object":
            if not isinstance(value, dict):
                raise _wrong(where, schema.get("id", "object"), value)
            properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
            for key, item in value.items():
                inner = properties.get(key, rest)
                if inner is None:
                    place = f" at '{where}'" if where else ""
                    raise invalid(
                        f'Invalid JSON payload received. Unknown name "{key}"{place}: '
                        "Cannot find field.",
                        where,
                    )
                if isinstance(item, int) and "enum" in inner and 0 <= item < len(inner["enum"]):
                    value[key] = item = inner["enum"][item]  # REST clients may send the number
                self.check(item, inner, f"{where}.{key}" if where else key)
        elif kind == "array":
            if not isinstance(value, list):
                raise _wrong(where, "list", value)
            for index, item in enumerate(value):
                self.check(item, schema["items"], f"{where}[{index}]")
        elif not _SCALARS[kind](value, schema):
            raise _wrong(where, kind, value)


def _whole(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None
    )


_SCALARS: dict[str, Callable[[Any, Json], bool]] = {
    "string": lambda v, s: (
        (_whole(v) if s.get("format", "").endswith("int64") else isinstance(v, str))
        and ("enum" not in s or v in s["enum"])
    ),
    "boolean": lambda v, s: isinstance(v, bool),
    "integer": lambda v, s: _whole(v),
    "number": lambda v, s: isinstance(v, int | float) and not isinstance(v, bool),
}


def _wrong(where: str, kind: str, value: Any) -> ApiError:
    return invalid(f"Invalid value at '{where}' ({kind}), {json.dumps(value)[:80]}", where)


def _methods(doc: Json) -> Iterable[Json]:
    yield from doc.get("methods", {}).values()
    for resource in doc.get("resources", {}).values():
        yield from _methods(resource)


def _regex(path: str, parameters: Json) -> re.Pattern[str]:
    def group(match: re.Match[str]) -> str:
        plus, name = match.groups()
        pattern = parameters.get(name, {}).get("pattern", "[^/]+") if plus else "[^/]+"
        return f"(?P<{name}>{pattern.removeprefix('^').removesuffix('$')})"

    parts = re.split(r"(\{\+?\w+\})", path)
    return re.compile(
        "".join(
            re.sub(r"\{(\+?)(\w+)\}", group, part) if part.startswith("{") else re.escape(part)
            for part in parts
        )
    )


class Api:
    """All services behind the door."""

    def __init__(self, cloud: Cloud, services: list[Service]) -> None:
        self.cloud = cloud
        self.services = services
        self.by_host: dict[str, list[tuple[Service, Document]]] = {}
        self.patterns: list[tuple[re.Pattern[str], Service, Document]] = []
        self.methods: dict[str, Method] = {}
        documents: dict[str, Document] = {}
        for service in services:
            for name in service.documents:
                doc = documents.setdefault(name, documents.get(name) or Document(name))
                self.by_host.setdefault(doc.host, []).append((service, doc))
                for host in service.hosts:
                    self.patterns.append((re.compile(host), service, doc))
                self._mount(service, doc)
        for doc in documents.values():
            doc.index()
            self.methods |= doc.methods

    def _mount(self, service: Service, doc: Document) -> None:
        for _, function in inspect.getmembers(service, callable):
            for method_id, permission, on in getattr(function, "rpcs", ()):
                if method := doc.methods.get(method_id):
                    method.handler, method.permission, method.on = function, permission, on
        for prefix, permission in service.policies.items():
            for verb in ("getIamPolicy", "setIamPolicy"):
                if method := doc.methods.get(f"{prefix}.{verb}"):
                    method.handler = functools.partial(self._policy, service, verb)
                    method.permission, method.on = f"{permission}.{verb}", "{resource}"

    def _policy(self, service: Service, verb: str, call: Call) -> Json:
        resource = call.params["resource"]
        if not service.exists(resource):
            raise ApiError(404, f"Resource not found (resource={resource}).")
        if verb == "getIamPolicy":
            return self.cloud.iam.get(resource)
        return self.cloud.iam.set(resource, call.body["policy"])

    def _at(self, host: str) -> list[tuple[Service, Document]]:
        if host not in self.by_host:
            self.by_host[host] = [(s, d) for regex, s, d in self.patterns if regex.fullmatch(host)]
        return self.by_host[host]

    def serves(self, host: str) -> bool:
        return bool(self._at(host))

    async def handle(self, request: Request) -> Response:
        """An HTTP request that came through the door."""
        host = request.url.hostname or ""
        try:
            for service in dict.fromkeys(service for service, _ in self._at(host)):
                if (response := await service.raw(request)) is not None:
                    return response
            body = await request.body() if request.method in ("POST", "PUT", "PATCH") else b""
            result = await self.dispatch(
                host,
                request.method,
                request.scope["raw_path"].decode("ascii"),
                request.scope["query_string"].decode("ascii"),
                body,
                request.headers.get("authorization"),
                request,
            )
        except ApiError as error:
            if isinstance(error, Reset):
                request.scope["transport"].abort()
            return error_response(error)
        return result if isinstance(result, Response) else JSONResponse(result)

    async def dispatch(
        self,
        host: str,
        verb: str,
        path: str,
        query: str,
        body: bytes | Json,
        authorization: str | Principal | None,
        request: Request | None = None,
    ) -> Json | Response:
        """One call: found, authenticated, checked, authorized, answered, written to the journal.

        Args:
            authorization: the header, or who calls where that is known otherwise.

        Raises:
            ApiError: whatever is wrong with it.
        """
        found = None
        for _, doc in self._at(host):
            candidate = doc.find(verb, path)
            if candidate and (found is None or candidate[0].handler):
                found = candidate
        if found is None:
            raise ApiError(404, f"The requested URL {path} was not found on {host} ({verb}).")
        method, params = found
        return await self._perform(method, params, query, body, authorization, request)

    async def call(self, method_id: str, fields: Json, authorization: str | None) -> Json:
        """A gRPC call: `fields` of the request message by their JSON names.

        Raises:
            ApiError: whatever is wrong with it.
        """
        method = self.methods[method_id]
        params = {name: fields.pop(name) for name in list(fields) if name in method.parameters}
        result = await self._perform(method, params, "", fields, authorization, None)
        assert isinstance(result, dict)
        return result

    async def _perform(
        self,
        method: Method,
        params: Json,
        query: str,
        body: bytes | Json,
        authorization: str | Principal | None,
        request: Request | None,
    ) -> Json | Response:
        if method.handler is None:
            raise not_implemented(method.id)
        principal = None
        result: Json | Response
        try:
            principal = self._authenticate(authorization)
            params |= self._query(method, query)
            async with self._faults(method, principal, params):
                call = Call(method.id, params, self._body(method, body), principal, request)
                self.authorize(method, call)
                self._complete(method, call)
                answer = method.handler(call)
                result = await answer if inspect.isawaitable(answer) else answer
        except ApiError as error:
            self.cloud.journal.api(principal, method.id, params, error.code, error.message)
            raise
        self.cloud.journal.api(principal, method.id, params, 200, "")
        if isinstance(result, dict) and method.response:
            try:
                method.document.check(result, method.response)
            except ApiError as error:  # no fault of the caller
                raise ApiError(500, f"Wrong answer of {method.id}: {error.message}") from error
        return result

    def _authenticate(self, authorization: str | Principal | None) -> Principal:
        """Who calls. A function's token may turn out to have expired: a fault on request."""
        if isinstance(authorization, Principal):
            return authorization
        principal = self.cloud.identity.authenticate(authorization)
        service = principal.member.startswith("serviceAccount:")
        if service and self.cloud.faults.chance("identity.expire", principal.member):
            self.cloud.identity.expire(authorization or "")
            return self.cloud.identity.authenticate(authorization)
        return principal

    def _faults(
        self, method: Method, caller: Principal, params: Json
    ) -> contextlib.AbstractAsyncContextManager[None]:
        if method.id == "storage.objects.insert":
            return contextlib.nullcontext()  # its handler asks, once it has read the object's name
        name = params.get("object") or params.get("destinationObject", "")
        return self.cloud.faults.around(method.id, caller, name)

    def authorize(self, method: Method, call: Call) -> None:
        if method.permission and method.on:
            on = method.on(call) if callable(method.on) else method.on.format_map(call.params)
            self.cloud.iam.require(call.principal, method.permission, on)

    def _complete(self, method: Method, call: Call) -> None:
        for name in method.required:
            if call.body.get(name, call.params.get(name)) in (None, "", []):
                raise invalid(f"Required parameter: {name}", name, "required")

    def _query(self, method: Method, query: str) -> Json:
        values: Json = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            name = RENAMED.get(name, name)
            spec = method.parameters.get(name) or method.document.parameters.get(name)
            if spec is None:
                if name in STANDARD or name in UNLISTED.get(method.id, ()):
                    values[name] = text
                    continue
                raise invalid(
                    f'Invalid JSON payload received. Unknown name "{name}": '
                    "Cannot bind query parameter. Field could not be found in request message.",
                )
            if spec.get("location") == "path":
                continue
            # All services that are listed are enabled: this filter finds them all.
            if name in UNSERVED and text not in ("", "false", "state:ENABLED"):
                raise not_implemented(f"{name} of {method.id}")
            value: Any = text
            if spec["type"] == "integer":
                if not _whole(text):
                    raise _wrong(name, "integer", text)
                value = int(text)
            elif spec["type"] == "boolean":
                value = text.lower() == "true"
            elif "enum" in spec and text.isdigit() and int(text) < len(spec["enum"]):
                value = spec["enum"][int(text)]
            if spec.get("repeated"):
                values.setdefault(name, []).append(value)
            else:
                values[name] = value
        return values

    def _body(self, method: Method, body: bytes | Json) -> Json:
        if isinstance(body, bytes):
            if not body or method.request is None:
                return {}
            try:
                body = json.loads(body)
            except ValueError as error:
                raise invalid(f"Invalid JSON payload received. {error}") from error
        if method.request:
            method.document.check(body, method.request)
        return body  # type: ignore[return-value]


def error_response(error: ApiError) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if error.code == 401 else {}
    return JSONResponse(error.body(), error.code, headers)

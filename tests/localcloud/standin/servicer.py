"""Terraform's plugin protocol 6, answered from the tables.

Configurations, plans and states travel as msgpack; see values.py. The types of the older provider
kit are declared (legacy_type_system), as the provider itself does: null, "" and 0 are one to it.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from typing import Any

import grpc
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

from . import plan
from .data import read_data
from .handlers import resources
from .rest import ApiError, Caller, Cloud
from .tables import Block, Field, Table, load
from .values import decode, encode, from_json, known

log = logging.getLogger(__name__)
TYPES = {"string": "string", "bool": "bool", "int": "number", "number": "number"}
NESTING = {"block": pb.Schema.NestedBlock.LIST, "setblock": pb.Schema.NestedBlock.SET}


def _type(field: Field) -> Any:
    """The field's type in Terraform's JSON notation."""
    if field.block is not None:
        fields = {name: _type(inner) for name, inner in field.block.fields.items()}
        return ["list", ["object", fields]]
    if field.type in TYPES:
        return TYPES[field.type]
    return [field.type, TYPES[field.element]]


def _schema_block(block: Block) -> pb.Schema.Block:
    made = pb.Schema.Block()
    for name, field in block.fields.items():
        flags = {flag: getattr(field, flag) for flag in ("required", "optional", "computed")}
        if field.block is not None and (field.optional or field.required):
            low = int(field.options.get("min", field.required))
            high = int(field.options.get("max", 0))
            made.block_types.add(
                type_name=name,
                block=_schema_block(field.block),
                nesting=NESTING[field.type],
                min_items=low,
                max_items=high,
            )
        else:
            kind = json.dumps(_type(field)).encode()
            made.attributes.add(name=name, type=kind, sensitive=field.sensitive, **flags)
    return made


def schema(table: Table) -> pb.Schema:
    version = int(table.settings.get("version", 0))
    return pb.Schema(version=version, block=_schema_block(table.block))


def _value(value: Any) -> pb.DynamicValue:
    return pb.DynamicValue(msgpack=encode(value))


def _answers_faults(method: Callable[..., Any]) -> Callable[..., Any]:
    """Exceptions become diagnostics of the method's own answer."""
    message = getattr(pb, method.__name__).Response

    @functools.wraps(method)
    def call(self: Provider, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except ApiError as error:
            text = str(error)
        except Exception as error:
            log.exception("%s", method.__name__)
            text = f"the stand-in failed in {method.__name__}: {error!r}"
        answer = message(diagnostics=[{"severity": pb.Diagnostic.ERROR, "summary": text}])
        if method.__name__ == "ApplyResourceChange":
            answer.new_state.msgpack = request.prior_state.msgpack
            answer.legacy_type_system = True
        return answer

    return call


def _faults(message: Any, faults: list[str]) -> Any:
    error = pb.Diagnostic.ERROR
    return message(diagnostics=[{"severity": error, "summary": fault} for fault in faults])


class Provider(rpc.ProviderServicer):  # type: ignore[misc]
    """One stand-in provider, of one connection."""

    def __init__(self, caller: Caller, endpoint: str | None = None) -> None:
        self.cloud = Cloud(caller, endpoint=endpoint)
        self.tables = load()
        self.resources = resources()

    def _resource(self, request: Any) -> tuple[Any, Block]:
        resource = self.resources[request.type_name]
        return resource, resource.table.block

    @_answers_faults
    def GetProviderSchema(self, request: Any) -> Any:
        answer = pb.GetProviderSchema.Response(provider=schema(self.tables["provider", "google"]))
        for (kind, name), table in self.tables.items():
            if kind == "resource":
                answer.resource_schemas[name].CopyFrom(schema(table))
            elif kind == "data":
                answer.data_source_schemas[name].CopyFrom(schema(table))
        return answer

    @_answers_faults
    def ValidateProviderConfig(self, request: Any) -> Any:
        return pb.ValidateProviderConfig.Response()

    @_answers_faults
    def ConfigureProvider(self, request: Any) -> Any:
        config = decode(self.tables["provider", "google"].block, request.config.msgpack)
        config = known(config)

        caller = self.cloud.caller

        def setting(name: str, *variables: str) -> str | None:
            return config[name] or next((v for v in map(caller.environ.get, variables) if v), None)

        self.cloud = Cloud(
            caller,
            project=setting(
                "project",
                "GOOGLE_PROJECT",
                "GOOGLE_CLOUD_PROJECT",
                "GCLOUD_PROJECT",
                "CLOUDSDK_CORE_PROJECT",
            ),
            region=setting("region", "GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
            zone=setting("zone", "GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE"),
            token=setting("access_token", "GOOGLE_OAUTH_ACCESS_TOKEN"),
            default_labels=config["default_labels"] or {},
            attribution=config["add_terraform_attribution_label"] is not False,
            deletion_policy=config["deletion_policy"],
            billing_project=config["billing_project"] if config["user_project_override"] else None,
            endpoint=self.cloud.endpoint,
        )
        return pb.ConfigureProvider.Response()

    @_answers_faults
    def ValidateResourceConfig(self, request: Any) -> Any:
        block = self._resource(request)[1]
        faults = plan.check(block, decode(block, request.config.msgpack))
        return _faults(pb.ValidateResourceConfig.Response, faults)

    @_answers_faults
    def ValidateDataResourceConfig(self, request: Any) -> Any:
        return pb.ValidateDataResourceConfig.Response()

    @_answers_faults
    def UpgradeResourceState(self, request: Any) -> Any:
        block = self._resource(request)[1]
        state = from_json(block, request.raw_state.json)
        return pb.UpgradeResourceState.Response(upgraded_state=_value(state))

    @_answers_faults
    def ReadResource(self, request: Any) -> Any:
        resource, block = self._resource(request)
        state = resource.read(self.cloud, decode(block, request.current_state.msgpack))
        return pb.ReadResource.Response(new_state=_value(state), private=request.private)

    @_answers_faults
    def PlanResourceChange(self, request: Any) -> Any:
        resource, block = self._resource(request)
        config = decode(block, request.config.msgpack)
        prior = decode(block, request.prior_state.msgpack)
        if decode(block, request.proposed_new_state.msgpack) is None:
            return pb.PlanResourceChange.Response(planned_state=_value(None))
        planned = resource.plan(self.cloud, config, prior)
        answer = pb.PlanResourceChange.Response(
            planned_state=_value(planned), legacy_type_system=True
        )
        for name in plan.replaced_by(resource.table, planned, prior) if prior else []:
            answer.requires_replace.add().steps.add(attribute_name=name)
        return answer

    @_answers_faults
    def ApplyResourceChange(self, request: Any) -> Any:
        resource, block = self._resource(request)
        planned = decode(block, request.planned_state.msgpack)
        prior = decode(block, request.prior_state.msgpack)
        state = None
        try:
            if planned is None:
                resource.delete(self.cloud, prior)
            elif prior is None:
                state = resource.create(self.cloud, planned)
            else:
                state = resource.update(self.cloud, planned, prior)
        except ApiError as error:
            verb = "deleting" if planned is None else "updating" if prior else "creating"
            error.args = (f"Error {verb} {request.type_name}: {error}",)
            raise
        return pb.ApplyResourceChange.Response(new_state=_value(state), legacy_type_system=True)

    @_answers_faults
    def ImportResourceState(self, request: Any) -> Any:
        resource = self._resource(request)[0]
        state = resource.import_state(self.cloud, request.id)
        found = {"type_name": request.type_name, "state": _value(state)}
        return pb.ImportResourceState.Response(imported_resources=[found])

    @_answers_faults
    def ReadDataSource(self, request: Any) -> Any:
        table = self.tables["data", request.type_name]
        state = read_data(table, self.cloud, decode(table.block, request.config.msgpack))
        return pb.ReadDataSource.Response(state=_value(state))

    def GetFunctions(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.GetFunctions.Response()

    def StopProvider(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.StopProvider.Response()

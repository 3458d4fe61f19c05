"""gRPC in front of the same handlers: each unary method becomes a call of its discovery method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud import tasks_v2
from google.protobuf import empty_pb2, json_format
from google.pubsub_v1 import types as pubsub
from google.rpc import code_pb2, status_pb2

from .errors import ApiError

if TYPE_CHECKING:
    from .server import Cloud

TASKS = "cloudtasks.projects.locations.queues"
EMPTY = empty_pb2.Empty
# gRPC method → discovery method, request class, response class.
METHODS: dict[str, tuple[str, Any, Any]] = {
    f"/google.cloud.tasks.v2.CloudTasks/{name}": (method, request.pb(), getattr(response, "pb", lambda r=response: r)())
    for name, method, request, response in (
        ("CreateTask", f"{TASKS}.tasks.create", tasks_v2.CreateTaskRequest, tasks_v2.Task),
        ("GetTask", f"{TASKS}.tasks.get", tasks_v2.GetTaskRequest, tasks_v2.Task),
        ("ListTasks", f"{TASKS}.tasks.list", tasks_v2.ListTasksRequest, tasks_v2.ListTasksResponse),
        ("DeleteTask", f"{TASKS}.tasks.delete", tasks_v2.DeleteTaskRequest, EMPTY),
        ("RunTask", f"{TASKS}.tasks.run", tasks_v2.RunTaskRequest, tasks_v2.Task),
        ("GetQueue", f"{TASKS}.get", tasks_v2.GetQueueRequest, tasks_v2.Queue),
        ("PauseQueue", f"{TASKS}.pause", tasks_v2.PauseQueueRequest, tasks_v2.Queue),
        ("ResumeQueue", f"{TASKS}.resume", tasks_v2.ResumeQueueRequest, tasks_v2.Queue),
        ("PurgeQueue", f"{TASKS}.purge", tasks_v2.PurgeQueueRequest, tasks_v2.Queue),
    )
} | {
    f"/google.pubsub.v1.{name}": (f"pubsub.projects.{method}", request.pb(), getattr(response, "pb", lambda r=response: r)())
    for name, method, request, response in (
        ("Publisher/Publish", "topics.publish", pubsub.PublishRequest, pubsub.PublishResponse),
        ("Publisher/GetTopic", "topics.get", pubsub.GetTopicRequest, pubsub.Topic),
        ("Subscriber/GetSubscription", "subscriptions.get", pubsub.GetSubscriptionRequest, pubsub.Subscription),
        ("Subscriber/Pull", "subscriptions.pull", pubsub.PullRequest, pubsub.PullResponse),
        ("Subscriber/Acknowledge", "subscriptions.acknowledge", pubsub.AcknowledgeRequest, EMPTY),
        ("Subscriber/ModifyAckDeadline", "subscriptions.modifyAckDeadline", pubsub.ModifyAckDeadlineRequest, EMPTY),
    )
}


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method not in METHODS:
            return None
        method, request_class, response_class = METHODS[details.method]

        async def serve(request: Any, context: grpc.aio.ServicerContext) -> Any:
            fields = json_format.MessageToDict(request)
            metadata = dict(context.invocation_metadata() or ())
            try:
                answer = await self.cloud.api.call(method, fields, metadata.get("authorization"))
            except ApiError as error:
                code = code_pb2.Code.Value(error.status)
                status = status_pb2.Status(code=code, message=error.message)
                trailing = (("grpc-status-details-bin", status.SerializeToString()),)
                context.set_trailing_metadata(trailing)
                await context.abort(_CODES[code], error.message)
            return json_format.ParseDict(answer, response_class(), ignore_unknown_fields=True)

        return grpc.unary_unary_rpc_method_handler(
            serve, request_class.FromString, response_class.SerializeToString
        )


_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def serve(cloud: Cloud, socket: Path) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", 32 << 20), ("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers((_Handlers(cloud),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server

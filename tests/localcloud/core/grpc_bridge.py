"""gRPC in front of the same handlers: a unary method becomes a call of its discovery method."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud import tasks_v2
from google.protobuf import empty_pb2, json_format
from google.pubsub_v1 import types as pubsub
from google.rpc import code_pb2, error_details_pb2, status_pb2  # noqa: F401 (ParseDict needs them)

from .errors import ApiError

if TYPE_CHECKING:
    from ..services.pubsub.streaming import Stream
    from .server import Cloud

EMPTY = empty_pb2.Empty
Q = "/google.cloud.tasks.v2.CloudTasks/"
P, S = "/google.pubsub.v1.Publisher/", "/google.pubsub.v1.Subscriber/"
QUEUES, TOPICS, SUBSCRIPTIONS = (
    "cloudtasks.projects.locations.queues",
    "pubsub.projects.topics",
    "pubsub.projects.subscriptions",
)
# gRPC method → discovery method, request class, response class.
METHODS: dict[str, tuple[str, Any, Any]] = {
    Q + "CreateTask": (f"{QUEUES}.tasks.create", tasks_v2.CreateTaskRequest, tasks_v2.Task),
    Q + "GetTask": (f"{QUEUES}.tasks.get", tasks_v2.GetTaskRequest, tasks_v2.Task),
    Q + "ListTasks": (
        f"{QUEUES}.tasks.list",
        tasks_v2.ListTasksRequest,
        tasks_v2.ListTasksResponse,
    ),
    Q + "DeleteTask": (f"{QUEUES}.tasks.delete", tasks_v2.DeleteTaskRequest, EMPTY),
    Q + "ListQueues": (f"{QUEUES}.list", tasks_v2.ListQueuesRequest, tasks_v2.ListQueuesResponse),
    Q + "GetQueue": (f"{QUEUES}.get", tasks_v2.GetQueueRequest, tasks_v2.Queue),
    Q + "PauseQueue": (f"{QUEUES}.pause", tasks_v2.PauseQueueRequest, tasks_v2.Queue),
    Q + "ResumeQueue": (f"{QUEUES}.resume", tasks_v2.ResumeQueueRequest, tasks_v2.Queue),
    Q + "PurgeQueue": (f"{QUEUES}.purge", tasks_v2.PurgeQueueRequest, tasks_v2.Queue),
    P + "CreateTopic": (f"{TOPICS}.create", pubsub.Topic, pubsub.Topic),
    P + "DeleteTopic": (f"{TOPICS}.delete", pubsub.DeleteTopicRequest, EMPTY),
    P + "ListTopics": (f"{TOPICS}.list", pubsub.ListTopicsRequest, pubsub.ListTopicsResponse),
    P + "GetTopic": (f"{TOPICS}.get", pubsub.GetTopicRequest, pubsub.Topic),
    P + "Publish": (f"{TOPICS}.publish", pubsub.PublishRequest, pubsub.PublishResponse),
    S + "CreateSubscription": (
        f"{SUBSCRIPTIONS}.create",
        pubsub.Subscription,
        pubsub.Subscription,
    ),
    S + "DeleteSubscription": (
        f"{SUBSCRIPTIONS}.delete",
        pubsub.DeleteSubscriptionRequest,
        EMPTY,
    ),
    S + "ListSubscriptions": (
        f"{SUBSCRIPTIONS}.list",
        pubsub.ListSubscriptionsRequest,
        pubsub.ListSubscriptionsResponse,
    ),
    S + "GetSubscription": (
        f"{SUBSCRIPTIONS}.get",
        pubsub.GetSubscriptionRequest,
        pubsub.Subscription,
    ),
    S + "Pull": (f"{SUBSCRIPTIONS}.pull", pubsub.PullRequest, pubsub.PullResponse),
    S + "Acknowledge": (f"{SUBSCRIPTIONS}.acknowledge", pubsub.AcknowledgeRequest, EMPTY),
    S + "ModifyAckDeadline": (
        f"{SUBSCRIPTIONS}.modifyAckDeadline",
        pubsub.ModifyAckDeadlineRequest,
        EMPTY,
    ),
}
STATUS = {code.value[0]: code for code in grpc.StatusCode}


def _plain(message: Any) -> Any:
    """The protobuf class under a proto-plus one."""
    return message.pb() if hasattr(message, "pb") else message


async def _take(stream: Stream, requests: Any) -> None:
    async for request in requests:
        stream.take(json_format.MessageToDict(request))


def _refusal(method: str) -> Any:
    async def refuse(request: bytes, context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"not implemented: {method}")

    return refuse


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method == S + "StreamingPull":
            return self._streaming()
        if details.method not in METHODS:
            return grpc.unary_unary_rpc_method_handler(_refusal(details.method))
        method, request_class, response_class = METHODS[details.method]
        response_class = _plain(response_class)

        async def serve(request: Any, context: grpc.aio.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            fields = json_format.MessageToDict(request)
            call = self.cloud.api.call(method, fields, metadata.get("authorization"))
            try:
                answer = await asyncio.wait_for(call, context.time_remaining())
            except ApiError as error:
                await self._abort(context, error)
            except TimeoutError:  # whoever asked is gone: nothing more happens for them
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return json_format.ParseDict(answer, response_class(), ignore_unknown_fields=True)

        return grpc.unary_unary_rpc_method_handler(
            serve, _plain(request_class).FromString, response_class.SerializeToString
        )

    def _streaming(self) -> grpc.RpcMethodHandler:
        """StreamingPull: what the client sends is taken while messages go the other way."""
        request_class = _plain(pubsub.StreamingPullRequest)
        response_class = _plain(pubsub.StreamingPullResponse)

        async def serve(requests: Any, context: grpc.aio.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            try:
                first = json_format.MessageToDict(await anext(aiter(requests)))
                stream = self.cloud.pubsub.stream(first, metadata.get("authorization"))
                taking = asyncio.ensure_future(_take(stream, requests))
                try:
                    async for answer in stream.answers():
                        yield json_format.ParseDict(answer, response_class())
                finally:
                    taking.cancel()
            except ApiError as error:
                await self._abort(context, error)

        return grpc.stream_stream_rpc_method_handler(
            serve, request_class.FromString, response_class.SerializeToString
        )

    async def _abort(self, context: grpc.aio.ServicerContext, error: ApiError) -> None:
        code = code_pb2.Code.Value(error.status)
        body = {"code": code, "message": error.message, "details": error.details}
        status = json_format.ParseDict(body, status_pb2.Status())
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(STATUS[code], error.message)


async def serve(cloud: Cloud, socket: Path) -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 << 20)])
    server.add_generic_rpc_handlers((_Handlers(cloud),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server

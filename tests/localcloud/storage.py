"""Cloud Storage: buckets, objects with generations, notifications, lifecycle.

The JSON API in full as far as this repository's clients use it, and of the XML API what Go's client
reads with (GET and HEAD of an object). Contents lie in files, one per generation; everything else
is in memory.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import itertools
import json
import re
import secrets
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from .api import Call, Json, Service, rpc
from .clock import rfc3339
from .errors import ApiError, not_implemented
from .identity import Principal
from .storage_media import Content, Multipart, Writer, announced, download, xml_error

if TYPE_CHECKING:
    from .server import Cloud

DAY = 86_400.0
UPLOAD = re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")
OBJECT = re.compile(r"/([^/]+)/(.+)")
WRITABLE = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
    "storageClass",
)
OUTPUT_ONLY = {
    "id",
    "kind",
    "selfLink",
    "name",
    "projectNumber",
    "timeCreated",
    "updated",
    "etag",
    "metageneration",
    "generation",
    "location",
    "locationType",
}  # of a bucket
MULTI_REGIONS = ("US", "EU", "ASIA")
CONDITIONS = {
    "age",
    "createdBefore",
    "daysSinceNoncurrentTime",
    "isLive",
    "matchesPrefix",
    "matchesSuffix",
    "numNewerVersions",
}
ACTIONS = {"Delete", "AbortIncompleteMultipartUpload", "SetStorageClass"}
LAST = "\U0010ffff"


@dataclass(slots=True)
class Stored:
    """One generation of an object: its resource as the API shows it, and where its content lies."""

    meta: Json
    content: Content
    created: float
    noncurrent: float | None = None  # since when
    purge_at: float = 0.0  # when soft deletion ends

    @property
    def generation(self) -> int:
        return int(self.meta["generation"])


@dataclass(slots=True)
class Bucket:
    meta: Json
    names: list[str] = field(default_factory=list)  # sorted; each has an entry in `versions`
    versions: dict[str, list[Stored]] = field(default_factory=dict)  # oldest first
    soft_deleted: list[Stored] = field(default_factory=list)
    notifications: dict[str, Json] = field(default_factory=dict)
    serial: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def name(self) -> str:
        return str(self.meta["name"])

    @property
    def versioned(self) -> bool:
        return bool(self.meta.get("versioning", {}).get("enabled"))

    def live(self, name: str) -> Stored | None:
        versions = self.versions.get(name)
        return versions[-1] if versions and versions[-1].noncurrent is None else None

    def add(self, name: str, stored: Stored) -> None:
        if name not in self.versions:
            insort(self.names, name)
        self.versions.setdefault(name, []).append(stored)

    def drop(self, name: str, stored: Stored) -> None:
        self.versions[name].remove(stored)
        if not self.versions[name]:
            del self.versions[name]
            del self.names[bisect_left(self.names, name)]


@dataclass
class Session:
    """A resumable upload."""

    bucket: str
    params: Json
    meta: Json
    principal: Principal
    writer: Writer
    started: float
    done: Json | None = None


class Storage(Service):
    documents = ("storage.v1",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.folder = cloud.folder / "objects"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.buckets: dict[str, Bucket] = {}
        self.sessions: dict[str, Session] = {}
        self.agent = f"service-{cloud.number}@gs-project-accounts.iam.gserviceaccount.com"
        self._sweeping = False
        # Not in the published table of predefined roles, but in each new bucket's policy.
        cloud.iam.custom["roles/storage.legacyObjectOwner"] = frozenset(
            f"storage.objects.{verb}" for verb in ("get", "update", "getIamPolicy", "setIamPolicy")
        )

    def snapshot(self) -> list[str]:
        # Google keeps the bucket of function sources, too: it is nobody's to clean up.
        mine = [b for b in self.buckets.values() if not b.name.startswith("gcf-v2-sources-")]
        names = [_resource(b.name) for b in mine]
        for bucket in mine:
            names += [
                f"{_resource(bucket.name)}/notificationConfigs/{i}" for i in bucket.notifications
            ]
            for name, versions in bucket.versions.items():
                names += [f"{_resource(bucket.name, name)}#{v.generation}" for v in versions]
        return names

    # ---- for other services -----------------------------------------------------------------

    def path(self, bucket: str, name: str, generation: str | int | None = None) -> Path:
        """Where the content of an object lies; not to be changed.

        Raises:
            ApiError: 404 when there is no such bucket, object or generation.
        """
        return self._find(self.bucket(bucket), name, generation).content.path

    def content(self, bucket: str, name: str, generation: str | int | None = None) -> bytes:
        """The content of an object, as `path`."""
        return self.path(bucket, name, generation).read_bytes()

    def put(
        self, bucket: str, name: str, data: bytes | Path, content_type: str | None = None
    ) -> Json:
        """Writes an object on a service's own behalf; returns its resource."""
        writer = self._writer()
        if isinstance(data, Path):
            writer.copy(data)
        else:
            writer.write(data)
        meta = {"contentType": content_type} if content_type else {}
        return self._commit(self.bucket(bucket), name, writer.finish(), meta, {}, None).meta

    def ensure_bucket(self, name: str, project: str, location: str) -> None:
        """A bucket that a service keeps for itself, reachable by the project's own bindings."""
        if name not in self.buckets:
            self._create({"name": name, "location": location}, project)

    def empty_bucket(self, name: str, prefix: str = "") -> None:
        """Deletes a service's own objects for good."""
        if bucket := self.buckets.get(name):
            for versions in [v for k, v in bucket.versions.items() if k.startswith(prefix)]:
                for stored in list(versions):
                    bucket.drop(stored.meta["name"], stored)
                    stored.content.discard()

    # ---- helpers ----------------------------------------------------------------------------

    def bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise ApiError(404, "The specified bucket does not exist.")
        return self.buckets[name]

    def _bucket(self, call: Call, permission: str | None = None, key: str = "bucket") -> Bucket:
        """The bucket of a call, once its caller has proved `permission` on it."""
        bucket = self.bucket(call.params[key])
        if permission:
            self.cloud.iam.require(call.principal, permission, _resource(bucket.name))
        return bucket

    def _find(self, bucket: Bucket, name: str, generation: str | int | None = None) -> Stored:
        if generation is None:
            found = bucket.live(name)
        else:
            wanted = str(generation)
            versions = bucket.versions.get(name, [])
            found = next((v for v in versions if v.meta["generation"] == wanted), None)
        if found is None:
            raise ApiError(404, f"No such object: {bucket.name}/{name}")
        return found

    def _object(
        self, call: Call, permission: str, side: str = "", generation: str = "generation"
    ) -> tuple[Bucket, Stored]:
        """The object of a call, once its caller has proved `permission` on it.

        Without permission to list, a missing object reads as forbidden.
        """
        params, principal = call.params, call.principal
        bucket = self.bucket(params[f"{side}Bucket" if side else "bucket"])
        name = params[f"{side}Object" if side else "object"]
        self.cloud.iam.require(principal, permission, _resource(bucket.name, name))
        try:
            return bucket, self._find(bucket, name, params.get(generation))
        except ApiError:
            self.cloud.iam.require(principal, "storage.objects.list", _resource(bucket.name))
            raise

    def _project(self, project: str) -> str:
        return self.cloud.project if project == self.cloud.number else project

    def _writer(self) -> Writer:
        return Writer(self.folder / secrets.token_hex(12))

    def _check(self, schema: str, value: Json) -> Json:
        self.cloud.api.methods["storage.buckets.get"].document.check(value, {"$ref": schema})
        return value

    # ---- buckets ----------------------------------------------------------------------------

    def _create(self, body: Json, project: str) -> Bucket:
        now = self._stamp(self.cloud.clock.now())
        location = body.get("location", "US").upper()
        generation = self.cloud.clock.tick_micros()
        multi = location in MULTI_REGIONS
        meta = (
            {
                "kind": "storage#bucket",
                "selfLink": f"https://www.googleapis.com/storage/v1/b/{body['name']}",
                "id": body["name"],
                "projectNumber": self.cloud.number,
                "generation": str(generation),
                "metageneration": "0",
                "storageClass": "STANDARD",
                "softDeletePolicy": {"retentionDurationSeconds": "604800"},
                "iamConfiguration": {},
                "locationType": "multi-region" if multi else "region",
                "timeCreated": now,
            }
            | body
            | {"location": location}
        )
        if multi:
            meta.setdefault("rpo", "DEFAULT")
        bucket = Bucket(meta)
        self._settle(bucket)
        self.buckets[bucket.name] = bucket
        self.cloud.iam.owners[_resource(bucket.name)] = f"projects/{project}"
        self._sweep_daily()
        return bucket

    def _settle(self, bucket: Bucket) -> None:
        """Fills in what Google derives, after every change of a bucket."""
        meta = bucket.meta
        now = self._stamp(self.cloud.clock.now())
        for rule in (meta.get("lifecycle") or {}).get("rule", ()):
            _check_rule(rule)
        for empty in ("lifecycle", "labels", "cors", "website"):
            if not meta.get(empty) or meta[empty] == {"rule": []}:
                meta.pop(empty, None)
        soft = meta["softDeletePolicy"]
        soft["retentionDurationSeconds"] = str(soft["retentionDurationSeconds"])
        soft.setdefault("effectiveTime", now)
        access = meta["iamConfiguration"]
        access.setdefault("publicAccessPrevention", "inherited")
        uniform = access.setdefault("uniformBucketLevelAccess", {"enabled": False})
        if uniform.get("enabled"):
            locked = rfc3339(self.cloud.clock.now() + 90 * DAY)
            uniform.setdefault("lockedTime", locked[:-4] + "Z")
        access["bucketPolicyOnly"] = dict(uniform)
        if (retention := meta.get("retentionPolicy")) is not None:
            retention.setdefault("effectiveTime", now)
            retention["retentionPeriod"] = str(retention["retentionPeriod"])
        meta["metageneration"] = str(int(meta["metageneration"]) + 1)
        meta["etag"] = _etag(meta)
        meta["updated"] = now

    @rpc(
        "storage.buckets.insert",
        "storage.buckets.create",
        on=lambda c: f"projects/{c.params['project']}",
    )
    def insert_bucket(self, call: Call) -> Json:
        project = self._project(call.params["project"])
        name = call.body.get("name", "")
        if (
            not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", name)
            or "goog" in name[:4]
            or (any(len(part) > 63 for part in name.split(".")))
        ):
            raise ApiError(400, f"Invalid bucket name: '{name}'", reason="invalid")
        _no_acl(call.params)
        if name in self.buckets:
            if self.cloud.iam.owners.get(_resource(name)) == f"projects/{project}":
                raise ApiError(
                    409,
                    "Your previous request to create the named bucket succeeded "
                    "and you already own it.",
                )
            raise ApiError(409, "The requested bucket name is not available.")
        bucket = self._create(_without_nulls(call.body), project)
        both = [f"projectEditor:{project}", f"projectOwner:{project}"]
        viewer = [f"projectViewer:{project}"]
        roles = {
            "legacyBucketOwner": both,
            "legacyBucketReader": viewer,
            "legacyObjectOwner": both,
            "legacyObjectReader": viewer,
        }
        bindings = [{"role": f"roles/storage.{r}", "members": m} for r, m in roles.items()]
        self.cloud.iam.set(_resource(name), {"bindings": bindings})
        return bucket.meta

    @rpc("storage.buckets.get")
    def get_bucket(self, call: Call) -> Json | Response:
        bucket = self._bucket(call, "storage.buckets.get")
        if unchanged(call.params, bucket.meta):
            return Response(status_code=304)
        return bucket.meta

    @rpc(
        "storage.buckets.list",
        "storage.buckets.list",
        on=lambda c: f"projects/{c.params['project']}",
    )
    def list_buckets(self, call: Call) -> Json:
        params = call.params
        owner, prefix = f"projects/{self._project(params['project'])}", params.get("prefix", "")
        names = sorted(
            name
            for name in self.buckets
            if self.cloud.iam.owners.get(_resource(name)) == owner and name.startswith(prefix)
        )
        if params.get("softDeleted"):
            names = []
        size = int(params.get("maxResults", 1000))
        names = [n for n in names if n > params.get("pageToken", "")]
        answer: Json = {"kind": "storage#buckets"}
        if names:
            answer["items"] = [self.buckets[n].meta for n in names[:size]]
        if len(names) > size:
            answer["nextPageToken"] = names[size - 1]
        return answer

    @rpc("storage.buckets.patch")
    def patch_bucket(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.update")
        return self._change(bucket, call, merge(bucket.meta, _writable(call.body)))

    @rpc("storage.buckets.update")
    def update_bucket(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.update")
        kept = {k: v for k, v in bucket.meta.items() if k in OUTPUT_ONLY | {"softDeletePolicy"}}
        return self._change(
            bucket,
            call,
            {"iamConfiguration": {}, "storageClass": "STANDARD"}
            | kept
            | _without_nulls(_writable(call.body)),
        )

    def _change(self, bucket: Bucket, call: Call, meta: Json) -> Json:
        _no_acl(call.params)
        unchanged(call.params, bucket.meta)
        if "softDeletePolicy" in call.body:
            meta["softDeletePolicy"].pop("effectiveTime", None)
        before, bucket.meta = bucket.meta, meta
        try:
            self._settle(bucket)
        except ApiError:
            bucket.meta = before
            raise
        return bucket.meta

    @rpc("storage.buckets.delete")
    def delete_bucket(self, call: Call) -> Response:
        bucket = self._bucket(call, "storage.buckets.delete")
        unchanged(call.params, bucket.meta)
        if bucket.versions:
            raise ApiError(409, "The bucket you tried to delete is not empty.")
        for stored in bucket.soft_deleted:
            stored.content.discard()
        del self.buckets[bucket.name]
        self.cloud.iam.forget(_resource(bucket.name))
        return Response(status_code=204)

    @rpc("storage.buckets.getStorageLayout")
    def layout(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.objects.list")
        kept = {k: bucket.meta[k] for k in ("location", "locationType")}
        return {"kind": "storage#storageLayout", "bucket": bucket.name} | kept

    @rpc("storage.anywhereCaches.list")
    @rpc("storage.managedFolders.list")
    def nothing_to_list(self, call: Call) -> Json:
        """Clients ask for these before they delete a bucket; there are none."""
        self._bucket(call, call.method)
        return {"kind": "storage#" + call.method.split(".")[1]}

    @rpc(
        "storage.projects.serviceAccount.get",
        "resourcemanager.projects.get",
        on="projects/{projectId}",
    )
    def service_account(self, call: Call) -> Json:
        return {"kind": "storage#serviceAccount", "email_address": self.agent}

    # ---- policies ---------------------------------------------------------------------------

    @rpc("storage.buckets.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.getIamPolicy")
        return self._policy(bucket, self.cloud.iam.get(_resource(bucket.name)))

    @rpc("storage.buckets.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.setIamPolicy")
        members = {m for b in call.body.get("bindings", []) for m in b.get("members", [])}
        access = bucket.meta["iamConfiguration"]
        if access["publicAccessPrevention"] == "enforced" and members & {
            "allUsers",
            "allAuthenticatedUsers",
        }:
            raise ApiError(
                412,
                "The member bindings allUsers and allAuthenticatedUsers are not "
                "allowed since public access prevention is enforced.",
            )
        try:
            return self._policy(bucket, self.cloud.iam.set(_resource(bucket.name), call.body))
        except ApiError as error:
            # Cloud Storage answers a stale etag as a failed precondition.
            raise ApiError(412, error.message) if error.code == 409 else error from None

    def _policy(self, bucket: Bucket, policy: Json) -> Json:
        return {"kind": "storage#policy", "resourceId": _resource(bucket.name)} | policy

    @rpc("storage.buckets.testIamPermissions")
    def test_permissions(self, call: Call) -> Json:
        on = _resource(self._bucket(call).name)
        wanted = call.params.get("permissions", [])
        held = [p for p in wanted if self.cloud.iam.allowed(call.principal, p, on)]
        return {"kind": "storage#testIamPermissionsResponse"} | (
            {"permissions": held} if held else {}
        )

    # ---- notifications ----------------------------------------------------------------------

    @rpc("storage.notifications.insert")
    def insert_notification(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.update")
        body = _without_nulls(call.body)
        topic = body.get("topic", "").removeprefix("//pubsub.googleapis.com/")
        if not re.fullmatch(r"projects/[^/]+/topics/[^/]+", topic):
            raise ApiError(400, f"Invalid Google Cloud Pub/Sub topic: '{topic}'", reason="invalid")
        if body.get("payload_format") not in ("JSON_API_V1", "NONE"):
            raise ApiError(400, "payload_format must be JSON_API_V1 or NONE", reason="required")
        publisher = Principal(f"serviceAccount:{self.agent}")
        if not self.cloud.pubsub.exists(topic) or not self.cloud.iam.allowed(
            publisher, "pubsub.topics.publish", topic
        ):
            raise ApiError(
                403,
                f"The service account '{self.agent}' does not have permission to publish messages "
                f"to the Cloud Pub/Sub topic '//pubsub.googleapis.com/{topic}', or that topic does "
                "not exist.",
            )
        number = str(next(bucket.serial))
        bucket.notifications[number] = body | {
            "kind": "storage#notification",
            "id": number,
            "etag": number,
            "topic": f"//pubsub.googleapis.com/{topic}",
            "selfLink": f"{bucket.meta['selfLink']}/notificationConfigs/{number}",
        }
        return bucket.notifications[number]

    def _notification(self, call: Call, permission: str) -> tuple[Bucket, str]:
        bucket, number = self._bucket(call, permission), call.params["notification"]
        if number not in bucket.notifications:
            raise ApiError(404, f"No such notification: {number}")
        return bucket, number

    @rpc("storage.notifications.get")
    def get_notification(self, call: Call) -> Json:
        bucket, number = self._notification(call, "storage.buckets.get")
        return bucket.notifications[number]

    @rpc("storage.notifications.list")
    def list_notifications(self, call: Call) -> Json:
        items = list(self._bucket(call, "storage.buckets.get").notifications.values())
        return {"kind": "storage#notifications"} | ({"items": items} if items else {})

    @rpc("storage.notifications.delete")
    def delete_notification(self, call: Call) -> Response:
        bucket, number = self._notification(call, "storage.buckets.update")
        del bucket.notifications[number]
        return Response(status_code=204)

    def _emit(self, event: str, bucket: Bucket, stored: Stored, **more: int) -> None:
        """Tells every configuration that wants it what happened to an object."""
        meta = stored.meta
        for number, config in bucket.notifications.items():
            if event not in config.get("event_types", (event,)):
                continue
            if not meta["name"].startswith(config.get("object_name_prefix", "")):
                continue
            attributes = (
                config.get("custom_attributes", {})
                | {
                    "notificationConfig": f"{_resource(bucket.name)}/notificationConfigs/{number}",
                    "eventType": event,
                    "payloadFormat": config["payload_format"],
                    "bucketId": bucket.name,
                    "objectId": meta["name"],
                    "objectGeneration": meta["generation"],
                    "eventTime": self.cloud.clock.timestamp(),
                }
                | {name: str(value) for name, value in more.items()}
            )
            data = json.dumps(meta).encode() if config["payload_format"] == "JSON_API_V1" else b""
            topic = config["topic"].removeprefix("//pubsub.googleapis.com/")
            for _ in range(1 + self.cloud.faults.chance("storage.duplicate_notification")):
                self._publish(topic, data, attributes, 1.0)

    def _publish(self, topic: str, data: bytes, attributes: dict[str, str], wait: float) -> None:
        """Publishes as the service agent; again and again with growing pauses until it works.

        Google gives up after days; so does this, when the pauses have become that long.
        """
        try:
            publisher = Principal(f"serviceAccount:{self.agent}")
            rule = self.cloud.faults.strike("pubsub.projects.topics.publish", publisher.member)
            if rule:
                raise ApiError(rule.code, "Injected fault for a notification")
            with self.cloud.clock.busy():
                self.cloud.pubsub.publish(topic, data, attributes, publisher)
        except ApiError as error:
            self.cloud.journal.write(
                "storage.unpublished",
                topic=topic,
                error=error.message,
                object=attributes["objectId"],
                retry_seconds=wait,
            )
            retry = functools.partial(self._publish, topic, data, attributes, min(wait * 2, 600.0))
            self.cloud.clock.call_later(wait, retry)

    # ---- writing objects --------------------------------------------------------------------

    async def raw(self, request: Request) -> Response | None:
        """Uploads, downloads and batches by their own paths; the XML API's reads."""
        path = request.scope["raw_path"].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        authorization = request.headers.get("authorization")
        host = request.url.hostname or ""
        perform = functools.partial(
            self.cloud.api.dispatch, host, body=b"", authorization=authorization, request=request
        )
        try:
            if match := UPLOAD.fullmatch(path):
                # Chunks come by PUT to the address that the first POST gave.
                result = await perform("POST", f"/storage/v1/b/{match[1]}/o", query)
            elif path.startswith("/download/"):
                result = await perform("GET", path.removeprefix("/download"), query)
            elif path == "/batch/storage/v1":
                return await self._batch(request, host)
            elif path.startswith("/storage/v1/") or not (match := OBJECT.fullmatch(path)):
                return None
            elif request.method not in ("GET", "HEAD"):
                raise not_implemented(f"{request.method} of Cloud Storage's XML API")
            else:
                return await self._xml(match, query, request, perform)
        except ClientDisconnect:
            return Response(status_code=499)
        return result if isinstance(result, Response) else JSONResponse(result)

    async def _xml(
        self, match: re.Match[str], query: str, request: Request, perform: Callable[..., Any]
    ) -> Response:
        for what in ("generation", "metageneration"):
            if value := request.headers.get(f"x-goog-if-{what}-match"):
                query += f"&if{what.capitalize()}Match={value}"
        name = match[2].replace("/", "%2F")
        try:
            result = await perform(
                "GET", f"/storage/v1/b/{match[1]}/o/{name}", query + "&alt=media"
            )
        except ApiError as error:
            return xml_error(error)
        assert isinstance(result, Response)
        return result

    async def _batch(self, request: Request, host: str) -> Response:
        """Several calls in one multipart/mixed request; each is answered for itself."""
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + await request.body()).get_payload()
        answer = ""
        for part in parts:
            assert isinstance(part, Message)
            line, _, rest = str(part.get_payload()).lstrip().partition("\n")
            inner = message_from_bytes(rest.encode())
            verb, target, *_ = line.split()
            path, _, query = re.sub(r"^https://[^/]+", "", target).partition("?")
            authorization = inner["authorization"] or request.headers.get("authorization")
            sent = str(inner.get_payload()).strip().encode()
            try:
                result = await self.cloud.api.dispatch(
                    host, verb, path, query, sent, authorization, request
                )
                response = result if isinstance(result, Response) else JSONResponse(result)
            except ApiError as error:
                response = JSONResponse(error.body(), error.code)
            body = bytes(response.body).decode()
            answer += (
                "--batch\r\nContent-Type: application/http\r\n"
                f"Content-ID: <response-{(part['content-id'] or '').strip('<>')}>\r\n\r\n"
                f"HTTP/1.1 {response.status_code} Answered\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body.encode())}\r\n\r\n{body}\r\n"
            )
        return Response(answer + "--batch--", media_type="multipart/mixed; boundary=batch")

    @rpc("storage.objects.insert")
    async def insert_object(self, call: Call) -> Json | Response:
        assert call.request
        request, params, kind = call.request, call.params, call.params.get("uploadType")
        if "upload_id" in params:
            async with self.cloud.faults.around(call.method, call.principal):
                return await self._resume(call)
        if kind == "resumable":
            async with self.cloud.faults.around(call.method, call.principal):
                return await self._begin(call)
        bucket = self.bucket(params["bucket"])
        if kind == "multipart":
            multipart = Multipart(request)
            await multipart.start()
            await multipart.headers()
            meta = self._check("Object", _json(await multipart.small()))
            part = await multipart.headers()
            if "content-type" in part:
                meta.setdefault("contentType", part["content-type"])
            chunks = multipart.rest()
        else:
            meta, chunks = {}, request.stream()
            if "content-type" in request.headers:
                meta["contentType"] = request.headers["content-type"]
        name = params["name"] = _name(params, meta)
        async with self.cloud.faults.around(call.method, call.principal, name):
            self.cloud.iam.require(
                call.principal, "storage.objects.create", _resource(bucket.name, name)
            )
            writer = await self._writer().fill(chunks)
            meta = announced(request) | meta
            return self._commit(bucket, name, writer.finish(), meta, params, call.principal).meta

    async def _begin(self, call: Call) -> Response:
        assert call.request
        request, params = call.request, call.params
        bucket = self.bucket(params["bucket"])
        body = await request.body()
        meta = self._check("Object", _json(body) if body else {})
        if "x-upload-content-type" in request.headers:
            meta.setdefault("contentType", request.headers["x-upload-content-type"])
        name = _name(params, meta)
        self.cloud.iam.require(
            call.principal, "storage.objects.create", _resource(bucket.name, name)
        )
        self._may_write(bucket, name, params, call.principal)
        number = secrets.token_urlsafe(24)
        started = self.cloud.clock.now()
        self.sessions[number] = Session(
            bucket.name,
            params | {"name": name},
            announced(request) | meta,
            call.principal,
            self._writer(),
            started,
        )
        path = request.scope["raw_path"].decode("ascii")
        uri = f"https://{request.url.hostname}{path}?uploadType=resumable&upload_id={number}"
        return Response(headers={"location": uri, "x-guploader-uploadid": number})

    async def _resume(self, call: Call) -> Json | Response:
        """A chunk of a resumable upload, or the question how far it has come."""
        assert call.request
        request, number = call.request, call.params["upload_id"]
        session = self.sessions.get(number)
        if session is None:
            raise ApiError(404, "No such upload session; it may have ended or expired.")
        if session.done:
            return session.done
        if request.method == "DELETE":
            self.sessions.pop(number).writer.discard()
            return Response(status_code=499)
        header = request.headers.get("content-range", "bytes 0-/*")
        match = re.fullmatch(r"bytes (?:(\d+)-(\d*)|\*)/(\d+|\*)", header)
        if not match:
            raise ApiError(400, f"Invalid Content-Range: {header}")
        writer = session.writer
        if match[1] is not None:
            known = writer.size - int(match[1])
            if known < 0:
                raise ApiError(
                    503,
                    f"According to the Content-Range header, the upload offset is "
                    f"{match[1]} byte(s), which exceeds already uploaded size of "
                    f"{writer.size} byte(s).",
                )
            async for data in request.stream():
                fresh, known = data[known:], max(0, known - len(data))
                if fresh:
                    writer.write(fresh)
        whole = "content-range" not in request.headers
        if not whole and match[3] != str(writer.size):
            status = {"range": f"bytes=0-{writer.size - 1}"} if writer.size else {}
            if request.headers.get("x-guploader-no-308") == "yes":  # Go's client
                return Response(headers=status | {"x-http-status-code-override": "308"})
            return Response(status_code=308, headers=status)
        params, meta = session.params, announced(request) | session.meta
        try:
            bucket = self.bucket(session.bucket)
            stored = self._commit(
                bucket, params["name"], writer.finish(), meta, params, session.principal
            )
        except ApiError:
            self.sessions.pop(number, None)
            writer.discard()
            raise
        session.done = stored.meta
        return stored.meta

    def _may_write(
        self, bucket: Bucket, name: str, params: Json, principal: Principal | None
    ) -> Stored | None:
        """The live object that a write replaces, once the write is known to be allowed.

        Replacing needs storage.objects.delete. Whether Google answers a create-only write
        (ifGenerationMatch=0) of somebody without it by 412 or by 403 is not settled: 412 here, or
        403 by the fault "storage.create_only_403".
        """
        current = bucket.live(name)
        if current and principal:
            on = _resource(bucket.name, name)
            held = self.cloud.iam.allowed(principal, "storage.objects.delete", on)
            create_only = str(params.get("ifGenerationMatch")) == "0"
            if not held and create_only and not self.cloud.faults.chance("storage.create_only_403"):
                unchanged(params, current.meta)
            self.cloud.iam.require(principal, "storage.objects.delete", on)
        if unchanged(params, current.meta if current else {}):
            raise ApiError(412, PRECONDITION)
        return current

    def _commit(
        self,
        bucket: Bucket,
        name: str,
        content: Content,
        meta: Json,
        params: Json,
        principal: Principal | None,
        composite: int = 0,
    ) -> Stored:
        """Makes a content the live generation of an object, and says so.

        Args:
            meta: fields of the resource that the caller sets; checksums in it are promises.
            params: preconditions (ifGenerationMatch …) and contentEncoding.
            principal: who needs storage.objects.delete if this replaces an object; None: nobody.
            composite: number of components; such objects have no MD5.
        """
        sums = content.sums
        try:
            for kind in sums:
                if meta.get(kind, sums[kind]) != sums[kind]:
                    raise ApiError(
                        400,
                        f'Provided {kind} "{meta[kind]}" doesn\'t match calculated {kind} '
                        f'"{sums[kind]}".',
                        reason="invalid",
                    )
            current = self._may_write(bucket, name, params, principal)
        except ApiError:
            content.discard()
            raise
        generation = self.cloud.clock.tick_micros()
        now, quoted = self._stamp(generation / 1e6), quote(name, safe="")
        if composite:
            sums = {"crc32c": sums["crc32c"]}
        resource = {
            "kind": "storage#object",
            "id": f"{bucket.name}/{name}/{generation}",
            "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket.name}/o/{quoted}",
            "mediaLink": f"https://storage.googleapis.com/download/storage/v1/b/{bucket.name}/o/"
            f"{quoted}?generation={generation}&alt=media",
            "name": name,
            "bucket": bucket.name,
            "generation": str(generation),
            "metageneration": "1",
            "storageClass": bucket.meta["storageClass"],
            "size": str(content.size),
            "timeCreated": now,
            "updated": now,
            "timeStorageClassUpdated": now,
            "timeFinalized": now,
        } | sums
        resource |= {k: v for k, v in meta.items() if k in WRITABLE and v is not None}
        if "contentEncoding" in params:
            resource["contentEncoding"] = params["contentEncoding"]
        if composite:
            resource["componentCount"] = composite
        resource["etag"] = _etag(resource)
        stored = Stored(resource, content, generation / 1e6)
        if current:
            self._retire(bucket, current, overwrittenByGeneration=generation)
        bucket.add(name, stored)
        more = {"overwroteGeneration": current.generation} if current else {}
        self._emit("OBJECT_FINALIZE", bucket, stored, **more)
        return stored

    def _retire(self, bucket: Bucket, stored: Stored, **more: int) -> None:
        """A live object was overwritten or deleted: noncurrent if versioned, else deleted."""
        if not bucket.versioned:
            return self._erase(bucket, stored, **more)
        now = self.cloud.clock.now()
        stored.noncurrent = now
        stored.meta = stored.meta | {"timeDeleted": self._stamp(now), "updated": self._stamp(now)}
        self._emit("OBJECT_ARCHIVE", bucket, stored, **more)

    def _erase(self, bucket: Bucket, stored: Stored, **more: int) -> None:
        """Deletes one generation; it stays recoverable as long as the soft delete policy says."""
        bucket.drop(stored.meta["name"], stored)
        self._emit("OBJECT_DELETE", bucket, stored, **more)
        kept = int(bucket.meta["softDeletePolicy"]["retentionDurationSeconds"])
        if not kept:
            stored.content.discard()
            return
        now = self.cloud.clock.now()
        stored.purge_at = now + kept
        times = {"softDeleteTime": self._stamp(now), "hardDeleteTime": self._stamp(now + kept)}
        stored.meta = stored.meta | times
        bucket.soft_deleted.append(stored)

    def _stamp(self, seconds: float) -> str:
        return rfc3339(seconds)[:-4] + "Z"  # milliseconds

    # ---- reading and changing objects -------------------------------------------------------

    @rpc("storage.objects.get")
    def get_object(self, call: Call) -> Json | Response:
        if call.params.get("softDeleted"):
            return self._soft_deleted(call, "storage.objects.get")[1].meta
        _, stored = self._object(call, "storage.objects.get")
        if unchanged(call.params, stored.meta):
            return Response(status_code=304)
        if call.params.get("alt") != "media":
            return stored.meta
        assert call.request
        return download(stored.content.path, stored.meta, call.request)

    @rpc("storage.objects.list")
    def list_objects(self, call: Call) -> Json:
        params = call.params
        bucket = self._bucket(call, "storage.objects.list")
        size = min(int(params.get("maxResults", 1000)), 1000) or 1000
        name, generation = "", 0
        if token := params.get("pageToken"):
            try:
                name, generation = json.loads(base64.urlsafe_b64decode(token))
            except ValueError:
                raise ApiError(400, "Invalid page token") from None
        answer: Json = {"kind": "storage#objects"}
        entries = self._walk(bucket, params, name, generation)
        for following, entry in itertools.islice(entries, size):
            kind = "prefixes" if isinstance(entry, str) else "items"
            answer.setdefault(kind, []).append(entry)
            place = following
        if next(entries, None):
            answer["nextPageToken"] = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
        return answer

    def _walk(
        self, bucket: Bucket, params: Json, name: str, generation: int
    ) -> Iterator[tuple[tuple[str, int], Json | str]]:
        """(where to go on after it, an object's resource or a prefix), in order of the names.

        Python compares strings by code point, which is the order of their UTF-8 bytes.
        """
        prefix, delimiter = params.get("prefix", ""), params.get("delimiter")
        glob = _glob(params["matchGlob"]) if "matchGlob" in params else None
        end = params.get("endOffset")
        names, versions = bucket.names, bucket.versions
        if params.get("softDeleted"):
            versions = {}
            for stored in bucket.soft_deleted:
                versions.setdefault(stored.meta["name"], []).append(stored)
            names = sorted(versions)
        all_versions = params.get("versions") or params.get("softDeleted")
        index = bisect_left(names, max(name, prefix, params.get("startOffset", "")))
        while index < len(names):
            current = names[index]
            if not current.startswith(prefix) or (end and current >= end):
                return
            index += 1
            held = versions[current] if all_versions else [v for v in (bucket.live(current),) if v]
            if not held or (glob and not glob.fullmatch(current)):
                continue
            cut = current.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0 and delimiter:
                folder = current[: cut + len(delimiter)]
                yield (folder + LAST, 0), folder
                index = bisect_left(names, folder + LAST)
                if folder != current or not params.get("includeTrailingDelimiter"):
                    continue
            for stored in held:
                if current != name or stored.generation >= generation:
                    yield (current, stored.generation + 1), stored.meta

    @rpc("storage.objects.patch")
    def patch_object(self, call: Call) -> Json:
        return self._rewrite_meta(call, lambda meta, body: merge(meta, body))

    @rpc("storage.objects.update")
    def update_object(self, call: Call) -> Json:
        return self._rewrite_meta(
            call,
            lambda meta, body: (
                {k: v for k, v in meta.items() if k not in WRITABLE}
                | {"storageClass": meta["storageClass"]}
                | _without_nulls(body)
            ),
        )

    def _rewrite_meta(self, call: Call, change: Callable[[Json, Json], Json]) -> Json:
        bucket, stored = self._object(call, "storage.objects.update")
        _no_acl(call.params)
        if unchanged(call.params, stored.meta):
            raise ApiError(412, PRECONDITION)
        body = {k: v for k, v in call.body.items() if k in WRITABLE}
        meta = change(stored.meta, body)
        meta["metageneration"] = str(int(meta["metageneration"]) + 1)
        meta["updated"] = self._stamp(self.cloud.clock.now())
        meta["etag"] = _etag(meta)
        stored.meta = meta
        self._emit("OBJECT_METADATA_UPDATE", bucket, stored)
        return meta

    @rpc("storage.objects.delete")
    def delete_object(self, call: Call) -> Response:
        bucket, stored = self._object(call, "storage.objects.delete")
        if unchanged(call.params, stored.meta):
            raise ApiError(412, PRECONDITION)
        if "generation" in call.params:
            self._erase(bucket, stored)
        else:
            self._retire(bucket, stored)
        return Response(status_code=204)

    def _soft_deleted(self, call: Call, permission: str) -> tuple[Bucket, Stored]:
        bucket, name = self.bucket(call.params["bucket"]), call.params["object"]
        self.cloud.iam.require(call.principal, permission, _resource(bucket.name, name))
        for stored in bucket.soft_deleted:
            if (stored.meta["name"], stored.meta["generation"]) == (
                name,
                call.params.get("generation"),
            ):
                return bucket, stored
        raise ApiError(404, f"No such soft-deleted object: {bucket.name}/{name}")

    @rpc("storage.objects.restore")
    def restore_object(self, call: Call) -> Json:
        bucket, stored = self._soft_deleted(call, "storage.objects.restore")
        name = stored.meta["name"]
        return self._duplicate(stored, bucket, name, {}, call).meta

    # ---- copies -----------------------------------------------------------------------------

    def _duplicate(
        self, source: Stored, bucket: Bucket, name: str, meta: Json, call: Call
    ) -> Stored:
        """A new object with the content of another one."""
        self.cloud.iam.require(
            call.principal, "storage.objects.create", _resource(bucket.name, name)
        )
        if not meta:
            meta = {k: v for k, v in source.meta.items() if k in WRITABLE and k != "storageClass"}
        content = source.content.link(self.folder / secrets.token_hex(12))
        count = source.meta.get("componentCount", 0)
        return self._commit(bucket, name, content, meta, call.params, call.principal, count)

    def _copy(self, call: Call) -> Stored:
        _no_acl(call.params)
        _, source = self._object(call, "storage.objects.get", "source", "sourceGeneration")
        if unchanged(call.params, source.meta, "ifSource"):
            raise ApiError(412, PRECONDITION)
        bucket = self.bucket(call.params["destinationBucket"])
        name = _name({"name": call.params["destinationObject"]}, {})
        return self._duplicate(source, bucket, name, _without_nulls(call.body), call)

    @rpc("storage.objects.copy")
    def copy_object(self, call: Call) -> Json:
        return self._copy(call).meta

    @rpc("storage.objects.rewrite")
    def rewrite_object(self, call: Call) -> Json:
        meta = self._copy(call).meta
        return {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": meta["size"],
            "objectSize": meta["size"],
            "done": True,
            "resource": meta,
        }

    @rpc("storage.objects.compose")
    async def compose_object(self, call: Call) -> Json:
        params = call.params
        bucket = self.bucket(params["destinationBucket"])
        name = _name({"name": params["destinationObject"]}, {})
        on = _resource(bucket.name, name)
        self.cloud.iam.require(call.principal, "storage.objects.create", on)
        self._may_write(bucket, name, params, call.principal)
        parts = []
        for item in call.body.get("sourceObjects", []):
            on = _resource(bucket.name, item["name"])
            self.cloud.iam.require(call.principal, "storage.objects.get", on)
            part = self._find(bucket, item["name"], item.get("generation"))
            if unchanged(item.get("objectPreconditions", {}), part.meta):
                raise ApiError(412, PRECONDITION)
            parts.append(part)
        if not 1 <= len(parts) <= 32:
            raise ApiError(400, "The number of source components must be between 1 and 32.")
        if call.body.get("deleteSourceObjects"):
            raise not_implemented("compose with deleteSourceObjects")

        def join() -> Content:
            writer = self._writer()
            for part in parts:
                writer.copy(part.content.path)
            return writer.finish()

        with self.cloud.clock.busy():
            content = await asyncio.to_thread(join)
        count = sum(part.meta.get("componentCount", 1) for part in parts)
        destination = call.body.get("destination") or {}
        meta = {k: v for k, v in destination.items() if k in WRITABLE}  # gcloud sends an MD5
        return self._commit(bucket, name, content, meta, params, call.principal, count).meta

    # ---- lifecycle --------------------------------------------------------------------------

    def _sweep_daily(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.cloud.clock.call_later(DAY, self._sweep)

    def _sweep(self) -> None:
        """Once a day: lifecycle rules, the ends of soft deletion and of abandoned uploads."""
        self._sweeping = False
        now = self.cloud.clock.now()
        for number, session in list(self.sessions.items()):
            if now - session.started > 7 * DAY:
                del self.sessions[number]
                if not session.done:
                    session.writer.discard()
        for bucket in self.buckets.values():
            for stored in [s for s in bucket.soft_deleted if s.purge_at <= now]:
                bucket.soft_deleted.remove(stored)
                stored.content.discard()
            rules = bucket.meta.get("lifecycle", {}).get("rule", [])
            for rule in sorted(rules, key=lambda r: r["action"]["type"] != "Delete"):
                self._apply(bucket, rule, now)
        if self.buckets:
            self._sweep_daily()

    def _apply(self, bucket: Bucket, rule: Json, now: float) -> None:
        action, condition = rule["action"], rule.get("condition", {})
        if action["type"] == "AbortIncompleteMultipartUpload":
            return  # of the XML API, which takes no uploads here
        # Which generations match is decided before any of them is touched.
        matching = [
            stored
            for versions in bucket.versions.values()
            for newer, stored in enumerate(reversed(versions))
            if _matches(condition, stored, newer, now)
        ]
        for stored in matching:
            if action["type"] == "SetStorageClass":
                changed = {"storageClass": action["storageClass"]}
                changed["timeStorageClassUpdated"] = self._stamp(now)
                stored.meta = stored.meta | changed
            elif stored.noncurrent is None:
                self._retire(bucket, stored)
            else:
                self._erase(bucket, stored)


PRECONDITION = "At least one of the pre-conditions you specified did not hold."


def unchanged(params: Json, meta: Json, prefix: str = "if") -> bool:
    """Whether an if…NotMatch precondition fails on `meta` ({}: there is no such resource).

    Raises:
        ApiError: 412 when an if…Match precondition fails.
    """
    for what in ("Generation", "Metageneration"):
        actual = str(meta.get(what.lower(), 0))
        wanted = params.get(f"{prefix}{what}Match")
        if wanted is not None and str(wanted) != actual:
            raise ApiError(412, PRECONDITION)
        if str(params.get(f"{prefix}{what}NotMatch")) == actual:
            return True
    return False


def merge(old: Json, patch: Json) -> Json:
    """`old` changed as by an HTTP PATCH: null deletes, objects merge, everything else replaces."""
    new = dict(old)
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict):
            inner = old.get(key)
            new[key] = merge(inner if isinstance(inner, dict) else {}, value)
        else:
            new[key] = value
    return new


def _without_nulls(body: Json) -> Json:
    return merge({}, body)


def _writable(body: Json) -> Json:
    return {k: v for k, v in body.items() if k not in OUTPUT_ONLY}


def _resource(bucket: str, name: str | None = None) -> str:
    return f"projects/_/buckets/{bucket}" + (f"/objects/{name}" if name else "")


def _etag(meta: Json) -> str:
    text = f"{meta['generation']}/{meta['metageneration']}"
    return base64.b64encode(text.encode()).decode().rstrip("=")


def _json(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "Invalid JSON payload received. Not an object.")
    return value


def _name(params: Json, meta: Json) -> str:
    """The object name that an upload asks for, if it is one."""
    name = params.get("name") or meta.get("name") or ""
    if not name:
        raise ApiError(400, "Required parameter: name", reason="required")
    if len(name.encode()) > 1024 or re.search(r"[\r\n]", name) or name in (".", ".."):
        raise ApiError(400, f"Invalid object name: {name[:80]!r}", reason="invalid")
    return str(name)


def _no_acl(params: Json) -> None:
    for name in ("predefinedAcl", "predefinedDefaultObjectAcl", "destinationPredefinedAcl"):
        if name in params:
            raise not_implemented(f"{name} (access is granted by IAM alone)")


def _check_rule(rule: Json) -> None:
    kind, conditions = rule.get("action", {}).get("type"), rule.get("condition", {})
    if kind not in ACTIONS:
        raise ApiError(400, f"Invalid lifecycle action: {kind}", reason="invalid")
    if not conditions:
        raise ApiError(400, "A lifecycle rule needs at least one condition.", reason="invalid")
    if unknown := conditions.keys() - CONDITIONS:
        raise not_implemented(f"lifecycle conditions {', '.join(sorted(unknown))}")


def _matches(condition: Json, stored: Stored, newer: int, now: float) -> bool:
    """Whether a generation with `newer` newer ones meets all conditions of a lifecycle rule."""
    name, noncurrent = stored.meta["name"], stored.noncurrent
    tests: dict[str, Callable[[Any], bool]] = {
        "age": lambda days: now - stored.created >= days * DAY,
        "createdBefore": lambda date: (
            stored.created < datetime.fromisoformat(date + "T00:00:00+00:00").timestamp()
        ),
        "daysSinceNoncurrentTime": lambda days: (
            noncurrent is not None and now - noncurrent >= days * DAY
        ),
        "isLive": lambda live: live == (noncurrent is None),
        "matchesPrefix": lambda prefixes: name.startswith(tuple(prefixes)),
        "matchesSuffix": lambda suffixes: name.endswith(tuple(suffixes)),
        "numNewerVersions": lambda count: newer >= count,
    }
    return all(tests[key](value) for key, value in condition.items())


def _glob(pattern: str) -> re.Pattern[str]:
    """matchGlob as a regular expression: ** crosses slashes, * and ? do not, [a-z], {a,b}."""
    known = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    parts = re.findall(r"\*\*|\[[^\]]+\]|.", pattern, re.DOTALL)
    text = "".join(
        known.get(p) or (p.replace("[!", "[^") if len(p) > 1 else re.escape(p)) for p in parts
    )
    return re.compile(text, re.DOTALL)

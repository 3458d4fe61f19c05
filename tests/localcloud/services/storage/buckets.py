"""Cloud Storage's buckets: settings, policies, notifications; and what an object is."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ...core.api import Call, Json, Service, rpc
from ...core.clock import rfc3339
from ...core.errors import ApiError, not_implemented
from ...core.identity import Principal
from .media import Content

if TYPE_CHECKING:
    from ...core.server import Cloud

DAY = 86_400.0
# Of a bucket: set by Cloud Storage, or once and for all.
FIXED = {
    *("id", "kind", "selfLink", "name", "projectNumber", "timeCreated", "updated", "etag"),
    *("metageneration", "generation", "location", "locationType"),
}
# What would change how a bucket or object behaves, and is not served.
UNSERVED = (
    *("predefinedAcl", "predefinedDefaultObjectAcl", "destinationPredefinedAcl", "acl"),
    *("retentionPolicy", "defaultEventBasedHold", "hierarchicalNamespace", "encryption"),
    *("eventBasedHold", "temporaryHold", "retention", "kmsKeyName", "deleteSourceObjects"),
)
MULTI_REGIONS = ("US", "EU", "ASIA")
ACTIONS = ("Delete", "AbortIncompleteMultipartUpload", "SetStorageClass")
EVENTS = ("OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
PRECONDITION = "At least one of the pre-conditions you specified did not hold."


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


class Buckets(Service):
    """The part of Cloud Storage that knows buckets."""

    documents = ("storage.v1",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.buckets: dict[str, Bucket] = {}
        self.agent = f"service-{cloud.number}@gs-project-accounts.iam.gserviceaccount.com"
        # Not in the published table of predefined roles, but in each new bucket's policy.
        cloud.iam.custom["roles/storage.legacyObjectOwner"] = frozenset(
            f"storage.objects.{verb}" for verb in ("get", "update", "getIamPolicy", "setIamPolicy")
        )

    def snapshot(self) -> list[str]:
        names = []
        for bucket in self.buckets.values():
            on = resource(bucket.name)
            names += [
                on,
                *(f"{on}/notificationConfigs/{number}" for number in bucket.notifications),
            ]
            for name, versions in bucket.versions.items():
                names += [f"{on}/objects/{name}#{stored.meta['generation']}" for stored in versions]
        return names

    def bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise ApiError(404, "The specified bucket does not exist.")
        return self.buckets[name]

    def _bucket(self, call: Call, permission: str | None = None, key: str = "bucket") -> Bucket:
        """The bucket of a call, once its caller has proved `permission` on it."""
        bucket = self.bucket(call.params[key])
        if permission:
            self.cloud.iam.require(call.principal, permission, resource(bucket.name))
        return bucket

    def _project(self, call: Call, permission: str) -> str:
        """The id of the project of a call, once its caller has proved `permission` on it."""
        project = call.params["project"]
        project = self.cloud.project if project == self.cloud.number else project
        self.cloud.iam.require(call.principal, permission, f"projects/{project}")
        return str(project)

    # ---- buckets ----------------------------------------------------------------------------

    def _settle(self, meta: Json) -> Json:
        """A bucket's resource with what Google derives from its settings, after every change."""
        refuse(meta)
        now = stamp(self.cloud.clock.now())
        meta = merge(meta, {"metageneration": str(int(meta["metageneration"]) + 1), "updated": now})
        for rule in meta.get("lifecycle", {}).get("rule", ()):
            _check_rule(rule)
        for name in ("lifecycle", "labels"):
            if not meta.get(name) or meta[name] == {"rule": []}:
                meta.pop(name, None)
        soft = meta["softDeletePolicy"]
        soft["retentionDurationSeconds"] = str(soft["retentionDurationSeconds"])
        soft.setdefault("effectiveTime", now)
        access = meta["iamConfiguration"]
        access.setdefault("publicAccessPrevention", "inherited")
        uniform = access.setdefault("uniformBucketLevelAccess", {"enabled": False})
        if uniform["enabled"]:
            uniform.setdefault("lockedTime", stamp(self.cloud.clock.now() + 90 * DAY))
        access["bucketPolicyOnly"] = dict(uniform)
        return meta | {"etag": make_etag(meta)}

    @rpc("storage.buckets.insert")
    def insert_bucket(self, call: Call) -> Json:
        project = self._project(call, "storage.buckets.create")
        name, on = call.body.get("name", ""), resource(call.body.get("name", ""))
        if not re.fullmatch(r"(?!goog)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", name):
            raise ApiError(400, f"Invalid bucket name: '{name}'", reason="invalid")
        if name in self.buckets:
            mine = self.cloud.iam.owners[on] == f"projects/{project}"
            done = (
                "Your previous request to create the named bucket succeeded and you already own it."
            )
            raise ApiError(409, done if mine else "The requested bucket name is not available.")
        now = self.cloud.clock.tick_micros()
        location = call.body.get("location", "US").upper()
        multi = {"locationType": "multi-region", "rpo": "DEFAULT"}
        meta = {
            "kind": "storage#bucket",
            "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
            "id": name,
            "projectNumber": self.cloud.number,
            "generation": str(now),
            "metageneration": "0",
            "storageClass": "STANDARD",
            "softDeletePolicy": {"retentionDurationSeconds": "604800"},
            "iamConfiguration": {},
            "timeCreated": stamp(now / 1e6),
        }
        meta |= multi if location in MULTI_REGIONS else {"locationType": "region"}
        refuse(call.params)
        bucket = Bucket(self._settle(meta | merge({}, call.body) | {"location": location}))
        self.buckets[name] = bucket
        self.cloud.iam.owners[on] = f"projects/{project}"
        both = [f"projectEditor:{project}", f"projectOwner:{project}"]
        viewer = [f"projectViewer:{project}"]
        roles = {"legacyBucketOwner": both, "legacyBucketReader": viewer}
        roles |= {"legacyObjectOwner": both, "legacyObjectReader": viewer}
        bindings = [{"role": f"roles/storage.{r}", "members": m} for r, m in roles.items()]
        self.cloud.iam.set(on, {"bindings": bindings})
        return bucket.meta

    @rpc("storage.buckets.get")
    def get_bucket(self, call: Call) -> Json | Response:
        bucket = self._bucket(call, "storage.buckets.get")
        if unchanged(call.params, bucket.meta):
            return Response(status_code=304)
        return bucket.meta

    @rpc("storage.buckets.list")
    def list_buckets(self, call: Call) -> Json:
        params, owner = call.params, f"projects/{self._project(call, 'storage.buckets.list')}"
        start = params.get("pageToken", "")
        names = sorted(
            name
            for name in self.buckets
            if self.cloud.iam.owners[resource(name)] == owner
            and name.startswith(params.get("prefix", ""))
            and name > start
            and not params.get("softDeleted")
        )
        size = params.get("maxResults", 1000)
        answer: Json = {"kind": "storage#buckets"}
        if names:
            answer["items"] = [self.buckets[name].meta for name in names[:size]]
        if len(names) > size:
            answer["nextPageToken"] = names[size - 1]
        return answer

    @rpc("storage.buckets.patch")
    @rpc("storage.buckets.update")
    def change_bucket(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.update")
        require(call.params, bucket.meta)
        refuse(call.params)
        body, old = {k: v for k, v in call.body.items() if k not in FIXED}, bucket.meta
        if call.method.endswith("update"):
            kept = FIXED | {"softDeletePolicy", "iamConfiguration", "storageClass"}
            old = {k: v for k, v in old.items() if k in kept}
        if soft := body.get("softDeletePolicy"):
            soft["effectiveTime"] = stamp(self.cloud.clock.now())
        bucket.meta = self._settle(merge(old, body))
        return bucket.meta

    @rpc("storage.buckets.delete")
    def delete_bucket(self, call: Call) -> Response:
        bucket = self._bucket(call, "storage.buckets.delete")
        require(call.params, bucket.meta)
        if bucket.versions:
            raise ApiError(409, "The bucket you tried to delete is not empty.")
        for stored in bucket.soft_deleted:
            stored.content.discard()
        del self.buckets[bucket.name]
        self.cloud.iam.forget(resource(bucket.name))
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

    @rpc("storage.projects.serviceAccount.get")
    def service_account(self, call: Call) -> Json:
        on = f"projects/{call.params['projectId']}"
        self.cloud.iam.require(call.principal, "resourcemanager.projects.get", on)
        return {"kind": "storage#serviceAccount", "email_address": self.agent}

    # ---- policies ---------------------------------------------------------------------------

    @rpc("storage.buckets.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.getIamPolicy")
        return self._policy(bucket, self.cloud.iam.get(resource(bucket.name)))

    @rpc("storage.buckets.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.setIamPolicy")
        members = {m for b in call.body.get("bindings", []) for m in b.get("members", [])}
        prevention = bucket.meta["iamConfiguration"]["publicAccessPrevention"]
        if prevention == "enforced" and members & {"allUsers", "allAuthenticatedUsers"}:
            raise ApiError(412, "The member bindings allUsers and allAuthenticatedUsers are not "
                                "allowed since public access prevention is enforced.")  # fmt: skip
        try:
            return self._policy(bucket, self.cloud.iam.set(resource(bucket.name), call.body))
        except ApiError as error:
            # Cloud Storage answers a stale etag as a failed precondition.
            raise ApiError(412, error.message) if error.code == 409 else error from None

    def _policy(self, bucket: Bucket, policy: Json) -> Json:
        return {"kind": "storage#policy", "resourceId": resource(bucket.name)} | policy

    @rpc("storage.buckets.testIamPermissions")
    def test_permissions(self, call: Call) -> Json:
        on = resource(self._bucket(call).name)
        wanted = call.params.get("permissions", [])
        held = [p for p in wanted if self.cloud.iam.allowed(call.principal, p, on)]
        return {"kind": "storage#testIamPermissionsResponse", "permissions": held}

    # ---- notifications ----------------------------------------------------------------------

    @rpc("storage.notifications.insert")
    def insert_notification(self, call: Call) -> Json:
        bucket = self._bucket(call, "storage.buckets.update")
        body = merge({}, call.body)
        topic = body.get("topic", "").removeprefix("//pubsub.googleapis.com/")
        if not re.fullmatch(r"projects/[^/]+/topics/[^/]+", topic):
            raise ApiError(400, f"Invalid Google Cloud Pub/Sub topic: '{topic}'", reason="invalid")
        if body.get("payload_format") not in ("JSON_API_V1", "NONE"):
            raise ApiError(400, "payload_format must be JSON_API_V1 or NONE", reason="required")
        kept = list(bucket.notifications.values())
        for event in body.get("event_types", EVENTS):
            if sum(event in other.get("event_types", EVENTS) for other in kept) >= 10:
                raise ApiError(400, f"A bucket has at most 10 notification configs for {event}.")
        if len(kept) >= 100:
            raise ApiError(400, "A bucket has at most 100 notification configs.")
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
        return {"kind": "storage#notifications", "items": items}

    @rpc("storage.notifications.delete")
    def delete_notification(self, call: Call) -> Response:
        bucket, number = self._notification(call, "storage.buckets.update")
        del bucket.notifications[number]
        return Response(status_code=204)

    def _emit(self, event: str, bucket: Bucket, stored: Stored, **more: str) -> None:
        """Tells every configuration that wants it what happened to an object."""
        meta = stored.meta
        for number, config in bucket.notifications.items():
            wanted = event in config.get("event_types", (event,))
            if not wanted or not meta["name"].startswith(config.get("object_name_prefix", "")):
                continue
            attributes = {
                **config.get("custom_attributes", {}),
                "notificationConfig": f"{resource(bucket.name)}/notificationConfigs/{number}",
                "eventType": event,
                "payloadFormat": config["payload_format"],
                "bucketId": bucket.name,
                "objectId": meta["name"],
                "objectGeneration": meta["generation"],
                "eventTime": self.cloud.clock.timestamp(),
                **more,
            }
            data = json.dumps(meta).encode() if config["payload_format"] == "JSON_API_V1" else b""
            topic = config["topic"].removeprefix("//pubsub.googleapis.com/")
            faults, fault = self.cloud.faults, "storage.duplicate_notification"
            for _ in range(1 + faults.chance(fault, meta["name"])):
                self._publish(topic, data, attributes, 1.0)

    def _publish(self, topic: str, data: bytes, attributes: dict[str, str], wait: float) -> None:
        """Publishes as the service agent; again and again with growing pauses until it works."""
        publisher = Principal(f"serviceAccount:{self.agent}")
        rule = self.cloud.faults.strike(
            "pubsub.projects.topics.publish", publisher.member, attributes["objectId"]
        )
        try:
            if rule:
                raise ApiError(rule.code, "Injected fault for a notification")
            with self.cloud.clock.busy():
                self.cloud.pubsub.publish(topic, data, attributes, publisher)
        except ApiError as error:
            name = attributes["objectId"]
            self.cloud.journal.write("storage.unpublished", object=name, error=error.message)
            again = functools.partial(self._publish, topic, data, attributes, min(wait * 2, 600.0))
            self.cloud.clock.call_later(wait, again)


def unchanged(params: Json, meta: Json, prefix: str = "if") -> bool:
    """Whether an if…NotMatch precondition fails on `meta` ({}: there is no such resource).

    Raises:
        ApiError: 412 when an if…Match precondition fails.
    """
    for what in ("Generation", "Metageneration"):
        actual = str(meta.get(what.lower(), 0))
        if str(params.get(f"{prefix}{what}Match", actual)) != actual:
            raise ApiError(412, PRECONDITION)
        if str(params.get(f"{prefix}{what}NotMatch")) == actual:
            return True
    return False


def require(params: Json, meta: Json, prefix: str = "if") -> None:
    """Raises ApiError 412 when any precondition fails on `meta`."""
    if unchanged(params, meta, prefix):
        raise ApiError(412, PRECONDITION)


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


def stamp(seconds: float) -> str:
    return rfc3339(seconds)[:-4] + "Z"  # milliseconds, as Cloud Storage gives them


def resource(bucket: str, name: str | None = None) -> str:
    return f"projects/_/buckets/{bucket}" + (f"/objects/{name}" if name else "")


def make_etag(meta: Json) -> str:
    text = f"{meta['generation']}/{meta['metageneration']}"
    return base64.b64encode(text.encode()).decode().rstrip("=")


def refuse(settings: Json) -> None:
    for name in UNSERVED:
        if settings.get(name):
            raise not_implemented(f"{name} in Cloud Storage")


def _check_rule(rule: Json) -> None:
    kind, conditions = rule.get("action", {}).get("type"), rule.get("condition", {})
    if kind not in ACTIONS:
        raise ApiError(400, f"Invalid lifecycle action: {kind}", reason="invalid")
    if not conditions:
        raise ApiError(400, "A lifecycle rule needs at least one condition.", reason="invalid")
    if unknown := conditions.keys() - TESTS.keys():
        raise not_implemented(f"lifecycle conditions {', '.join(sorted(unknown))}")


def matches(condition: Json, stored: Stored, now: float) -> bool:
    """Whether a generation meets all conditions of a lifecycle rule."""
    return all(TESTS[key](value, stored, now) for key, value in condition.items())


# Conditions of lifecycle rules: (value, generation, now) → whether it holds.
TESTS: dict[str, Callable[[Any, Stored, float], bool]] = {
    "age": lambda days, it, now: now - it.created >= days * DAY,
    "daysSinceNoncurrentTime": lambda days, it, now: (
        it.noncurrent is not None and now - it.noncurrent >= days * DAY
    ),
    "isLive": lambda live, it, now: live == (it.noncurrent is None),
    "matchesPrefix": lambda starts, it, now: it.meta["name"].startswith(tuple(starts)),
}

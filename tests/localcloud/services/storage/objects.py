"""Cloud Storage's objects: uploads, generations, reads, lists, copies, lifecycle.

The JSON API as far as this repository's clients use it, and of the XML API what Go's client reads
with (GET and HEAD of an object). Contents lie in files, one per generation; everything else is in
memory. Fault of its own: storage.create_only_403 (see `_may_write`).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import secrets
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ...core.api import Call, Json, rpc
from ...core.errors import ApiError, not_implemented
from ...core.identity import Principal
from .buckets import (
    DAY,
    Bucket,
    Buckets,
    Stored,
    make_etag,
    matches,
    merge,
    refuse,
    require,
    resource,
    stamp,
    unchanged,
)
from .media import Broken, Content, Multipart, Writer, announced, download, xml_error

if TYPE_CHECKING:
    from ...core.server import Cloud

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
LAST = "\U0010ffff"


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


class Storage(Buckets):
    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.folder = cloud.folder / "objects"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sessions: dict[str, Session] = {}
        self._sweeping = False

    def path(self, bucket: str, name: str, generation: str | None = None) -> Path:
        """Where the content of an object lies, for other services; not to be changed.

        Raises:
            ApiError: 404 when there is no such bucket, object or generation.
        """
        return self._find(self.bucket(bucket), name, generation).content.path

    # ---- helpers ----------------------------------------------------------------------------

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
        self.cloud.iam.require(principal, permission, resource(bucket.name, name))
        try:
            return bucket, self._find(bucket, name, params.get(generation))
        except ApiError:
            self.cloud.iam.require(principal, "storage.objects.list", resource(bucket.name))
            raise

    def _writer(self) -> Writer:
        return Writer(self.folder / secrets.token_hex(12))

    def _check(self, schema: str, value: Json) -> Json:
        self.cloud.api.methods["storage.buckets.get"].document.check(value, {"$ref": schema})
        return value

    # ---- writing objects --------------------------------------------------------------------

    async def raw(self, request: Request) -> Response | None:
        """Uploads and downloads by their own paths, and the XML API's reads, as JSON API calls."""
        path = request.scope["raw_path"].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        verb, xml = "GET", False
        if match := UPLOAD.fullmatch(path):
            # Chunks come by PUT to the address that the first POST gave.
            verb, path = "POST", f"/storage/v1/b/{match[1]}/o"
        elif path.startswith("/download/"):
            path = path.removeprefix("/download")
        elif path.startswith("/batch/"):
            raise not_implemented("batches of Cloud Storage calls")
        elif path.startswith("/storage/v1/") or not (match := OBJECT.fullmatch(path)):
            return None
        elif request.method not in ("GET", "HEAD"):
            raise not_implemented(f"{request.method} of Cloud Storage's XML API")
        else:
            xml = True
            path = f"/storage/v1/b/{match[1]}/o/{match[2].replace('/', '%2F')}"
            query += "&alt=media"
            for what in ("generation", "metageneration"):
                if value := request.headers.get(f"x-goog-if-{what}-match"):
                    query += f"&if{what.capitalize()}Match={value}"
        host, authorization = request.url.hostname or "", request.headers.get("authorization")
        try:
            result = await self.cloud.api.dispatch(
                host, verb, path, query, b"", authorization, request
            )
        except ApiError as error:
            if xml:
                return xml_error(error)
            raise
        except ClientDisconnect:
            return Response(status_code=499)
        return result if isinstance(result, Response) else JSONResponse(result)

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
                call.principal, "storage.objects.create", resource(bucket.name, name)
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
            call.principal, "storage.objects.create", resource(bucket.name, name)
        )
        self._may_write(bucket, name, params, call.principal)
        self._sweep_daily()
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
            about, broken = (call.principal.member, session.params["name"]), None
            async for data in request.stream():
                fresh, known = data[known:], max(0, known - len(data))
                sent = writer.size + len(fresh)
                if broken := broken or self.cloud.faults.strike(call.method, *about, sent):
                    fresh = fresh[: max(0, (broken.bytes or 0) - writer.size)]
                if fresh:
                    writer.write(fresh)
            if broken:
                raise ApiError(broken.code, "Injected fault in the middle of an upload")
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
            on = resource(bucket.name, name)
            held = self.cloud.iam.allowed(principal, "storage.objects.delete", on)
            create_only = str(params.get("ifGenerationMatch")) == "0"
            if not held and create_only and not self.cloud.faults.chance("storage.create_only_403"):
                require(params, current.meta)
            self.cloud.iam.require(principal, "storage.objects.delete", on)
        require(params, current.meta if current else {})
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
        self._sweep_daily()
        generation = self.cloud.clock.tick_micros()
        now, quoted = stamp(generation / 1e6), quote(name, safe="")
        if composite:
            sums = {"crc32c": sums["crc32c"]}
        made = {
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
        made |= {k: v for k, v in meta.items() if k in WRITABLE and v is not None}
        if "contentEncoding" in params:
            made["contentEncoding"] = params["contentEncoding"]
        if composite:
            made["componentCount"] = composite
        made["etag"] = make_etag(made)
        stored = Stored(made, content, generation / 1e6)
        if current:
            self._retire(bucket, current, overwrittenByGeneration=str(generation))
        bucket.add(name, stored)
        more = {"overwroteGeneration": current.meta["generation"]} if current else {}
        self._emit("OBJECT_FINALIZE", bucket, stored, **more)
        return stored

    def _retire(self, bucket: Bucket, stored: Stored, **more: str) -> None:
        """A live object was overwritten or deleted: noncurrent if versioned, else deleted."""
        if not bucket.versioned:
            return self._erase(bucket, stored, **more)
        now = self.cloud.clock.now()
        stored.noncurrent = now
        stored.meta = stored.meta | {"timeDeleted": stamp(now), "updated": stamp(now)}
        self._emit("OBJECT_ARCHIVE", bucket, stored, **more)

    def _erase(self, bucket: Bucket, stored: Stored, **more: str) -> None:
        """Deletes one generation; it stays recoverable as long as the soft delete policy says."""
        bucket.drop(stored.meta["name"], stored)
        self._emit("OBJECT_DELETE", bucket, stored, **more)
        kept = int(bucket.meta["softDeletePolicy"]["retentionDurationSeconds"])
        if not kept:
            stored.content.discard()
            return
        now = self.cloud.clock.now()
        stored.purge_at = now + kept
        times = {"softDeleteTime": stamp(now), "hardDeleteTime": stamp(now + kept)}
        stored.meta = stored.meta | times
        bucket.soft_deleted.append(stored)

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
        response = download(stored.content.path, stored.meta, call.request)
        about = call.principal.member, stored.meta["name"], stored.content.size
        broken = self.cloud.faults.strike(call.method, *about)
        return Broken(response, broken.bytes) if broken and broken.bytes else response

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
            if not held:
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
    @rpc("storage.objects.update")
    def change_object(self, call: Call) -> Json:
        bucket, stored = self._object(call, "storage.objects.update")
        refuse(call.params | call.body)
        require(call.params, stored.meta)
        old = stored.meta
        if call.method.endswith("update"):
            old = {k: v for k, v in old.items() if k not in WRITABLE or k == "storageClass"}
        new = merge(old, {k: v for k, v in call.body.items() if k in WRITABLE})
        new["metageneration"] = str(int(new["metageneration"]) + 1)
        stored.meta = new | {"updated": stamp(self.cloud.clock.now()), "etag": make_etag(new)}
        self._emit("OBJECT_METADATA_UPDATE", bucket, stored)
        return stored.meta

    @rpc("storage.objects.delete")
    def delete_object(self, call: Call) -> Response:
        bucket, stored = self._object(call, "storage.objects.delete")
        require(call.params, stored.meta)
        if "generation" in call.params:
            self._erase(bucket, stored)
        else:
            self._retire(bucket, stored)
        return Response(status_code=204)

    def _soft_deleted(self, call: Call, permission: str) -> tuple[Bucket, Stored]:
        bucket, name = self.bucket(call.params["bucket"]), call.params["object"]
        self.cloud.iam.require(call.principal, permission, resource(bucket.name, name))
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
            call.principal, "storage.objects.create", resource(bucket.name, name)
        )
        if not meta:
            meta = {k: v for k, v in source.meta.items() if k in WRITABLE and k != "storageClass"}
        content = source.content.link(self.folder / secrets.token_hex(12))
        count = source.meta.get("componentCount", 0)
        return self._commit(bucket, name, content, meta, call.params, call.principal, count)

    def _copy(self, call: Call) -> Stored:
        refuse(call.params | call.body)
        _, source = self._object(call, "storage.objects.get", "source", "sourceGeneration")
        require(call.params, source.meta, "ifSource")
        bucket = self.bucket(call.params["destinationBucket"])
        name = _name({"name": call.params["destinationObject"]}, {})
        return self._duplicate(source, bucket, name, merge({}, call.body), call)

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
        on = resource(bucket.name, name)
        self.cloud.iam.require(call.principal, "storage.objects.create", on)
        self._may_write(bucket, name, params, call.principal)
        parts = []
        for item in call.body.get("sourceObjects", []):
            on = resource(bucket.name, item["name"])
            self.cloud.iam.require(call.principal, "storage.objects.get", on)
            part = self._find(bucket, item["name"], item.get("generation"))
            require(item.get("objectPreconditions", {}), part.meta)
            parts.append(part)
        if not 1 <= len(parts) <= 32:
            raise ApiError(400, "The number of source components must be between 1 and 32.")

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
            for stored in versions
            if matches(condition, stored, now)
        ]
        for stored in matching:
            if action["type"] == "SetStorageClass":
                changed = {"storageClass": action["storageClass"]}
                changed["timeStorageClassUpdated"] = stamp(now)
                stored.meta = stored.meta | changed
            elif stored.noncurrent is None:
                self._retire(bucket, stored)
            else:
                self._erase(bucket, stored)


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

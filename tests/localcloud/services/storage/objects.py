"""Cloud Storage's objects: by which paths they are asked for, reads, lists, changes, copies.

The JSON API as far as this repository's clients use it, and of the XML API what Go's client reads
with and signed URLs stand for (GET and HEAD of an object).
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
from urllib.parse import quote, unquote, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ...core.api import Call, Json, error_response, rpc
from ...core.errors import ApiError, Reset, not_implemented
from ...core.identity import Principal
from . import signed
from .buckets import Bucket, Stored, make_etag, merge, refuse, require, resource, stamp, unchanged
from .cors import preflight, share
from .media import Broken, Content, download, xml_error
from .store import WRITABLE, named
from .uploads import Uploads

UPLOAD = re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")
OBJECT = re.compile(r"/([^/]+)/(.+)")
# Parameters of a signed URL → the headers of its answer that they set.
SHOWN = {
    "response-content-disposition": "content-disposition",
    "response-content-type": "content-type",
}
LAST = "\U0010ffff"


class Storage(Uploads):
    async def raw(self, request: Request) -> Response | None:
        """Uploads and downloads by their own paths, and the XML API's reads, as JSON API calls."""
        path = request.scope["raw_path"].decode("ascii")
        if match := UPLOAD.fullmatch(path):
            return await self._upload(request, unquote(match[1]))
        if path.startswith("/download/"):
            query = request.scope["query_string"].decode("ascii")
            given = request.headers.get("authorization")
            return await self._answer(request, path.removeprefix("/download"), query, given)
        if path.startswith("/batch/"):
            raise not_implemented("batches of Cloud Storage calls")
        if path.startswith("/storage/v1/") or not (match := OBJECT.fullmatch(path)):
            return None
        return await self._xml(request, unquote(match[1]), match[2])

    async def _answer(
        self,
        request: Request,
        path: str,
        query: str,
        caller: str | Principal | None,
        verb: str = "GET",
    ) -> Response:
        """What the JSON API says to the call that this request stands for."""
        host = request.url.hostname or ""
        try:
            result = await self.cloud.api.dispatch(host, verb, path, query, b"", caller, request)
        except ClientDisconnect:
            return Response(status_code=499)
        return result if isinstance(result, Response) else JSONResponse(result)

    async def _upload(self, request: Request, bucket: str) -> Response:
        """An upload; its chunks come by PUT to the address that the first POST gave."""
        rules = self._cors(bucket)
        session = self.session(request.query_params.get("upload_id"))
        origin = session.origin if session else None
        if request.method == "OPTIONS":
            return preflight(request, rules, origin)
        path, query = f"/storage/v1/b/{quote(bucket)}/o", request.scope["query_string"].decode()
        given = request.headers.get("authorization")
        try:
            response = await self._answer(request, path, query, given, "POST")
        except Reset:
            raise
        except ApiError as error:
            response = error_response(error)
        if session is None:
            origin = request.headers.get("origin")
        return share(request, response, rules, origin)

    async def _xml(self, request: Request, bucket: str, name: str) -> Response:
        """The XML API's GET and HEAD of an object, by token or by signed URL."""
        rules = self._cors(bucket)
        if request.method == "OPTIONS":
            return preflight(request, rules, None)
        if request.method not in ("GET", "HEAD"):
            raise not_implemented(f"{request.method} of Cloud Storage's XML API")
        given = signed.pairs(request.scope["query_string"].decode("ascii"))
        more = {k: v for k, v in given if k in SHOWN}
        rest = [(k, v) for k, v in given if k not in SHOWN and not k.startswith("X-Goog-")]
        rest.append(("alt", "media"))
        for what in ("generation", "metageneration"):
            if value := request.headers.get(f"x-goog-if-{what}-match"):
                rest.append((f"if{what.capitalize()}Match", value))
        path = f"/storage/v1/b/{quote(bucket)}/o/{name.replace('/', '%2F')}"
        caller: str | Principal | None = request.headers.get("authorization")
        try:
            if "X-Goog-Signature" in dict(given):
                caller = signed.signer(self.cloud, request)
            response = await self._answer(request, path, urlencode(rest), caller)
        except Reset:
            raise
        except ApiError as error:
            response = xml_error(error)
        else:
            response.headers.update({SHOWN[k]: v for k, v in more.items()})
        return share(request, response, rules, None)

    def _cors(self, bucket: str) -> list[Json]:
        held = self.buckets.get(bucket)
        return held.meta.get("cors", []) if held else []

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
        end, chosen = params.get("endOffset"), globbed(params)
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
            if chosen and not chosen.fullmatch(current):
                continue
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
        name = named({"name": call.params["destinationObject"]}, {})
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
        name = named({"name": params["destinationObject"]}, {})
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


def globbed(params: Json) -> re.Pattern[str] | None:
    """matchGlob: `*` and `?` match no slash, `**` is anything, {a,b} is either.

    https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
    """
    glob = params.get("matchGlob")
    if not glob:
        return None
    if params.get("delimiter") or "[" in glob:
        raise not_implemented("matchGlob with a delimiter or [")
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    pieces = re.split(r"(\*\*|[*?{},])", glob)
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces), re.S)

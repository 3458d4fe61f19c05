"""What every way to write an object shares: look-ups, generations, the rules of a bucket's life.

Contents lie in files, one per generation; everything else is in memory. Fault of its own:
storage.create_only_403 (see `_may_write`).
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...core.api import Call, Json
from ...core.errors import ApiError
from ...core.identity import Principal
from .buckets import (
    DAY,
    Bucket,
    Buckets,
    Stored,
    make_etag,
    matches,
    require,
    resource,
    stamp,
)
from .media import Content, Writer

if TYPE_CHECKING:
    from ...core.server import Cloud

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


class Store(Buckets):
    """Objects as they are kept: the part that uploads, copies and deletions have in common."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.folder = cloud.folder / "objects"
        self.folder.mkdir(parents=True, exist_ok=True)
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

    # ---- lifecycle --------------------------------------------------------------------------

    def _sweep_daily(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.cloud.clock.call_later(DAY, self._sweep)

    def _sweep(self) -> None:
        """Once a day: lifecycle rules, the ends of soft deletion and of abandoned uploads."""
        self._sweeping = False
        now = self.cloud.clock.now()
        self._forget_uploads(now)
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

    def _forget_uploads(self, now: float) -> None:
        """Takes away what abandoned uploads have left."""
        raise NotImplementedError


def named(params: Json, meta: Json) -> str:
    """The object name that an upload asks for, if it is one."""
    name = params.get("name") or meta.get("name") or ""
    if not name:
        raise ApiError(400, "Required parameter: name", reason="required")
    if len(name.encode()) > 1024 or re.search(r"[\r\n]", name) or name in (".", ".."):
        raise ApiError(400, f"Invalid object name: {name[:80]!r}", reason="invalid")
    return str(name)

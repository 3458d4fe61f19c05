"""What a client is told of a file. Records are data: a lane's own target may have written them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from portal.names import File
from status.records import DONE, FAILED, PROCESSING, WAITING, Seen
from status.signing import Signer

Json = dict[str, Any]
RETRY_AFTER = {WAITING: 2, PROCESSING: 1}  # seconds
# Members of a record that are not what was learnt about the file.
_ENVELOPE = {
    "schema", "status", "source", "run", "attempt", "outputs", "timings", "version", "reason",
    "detail", "retryable", "trace",
}  # fmt: skip
_SOURCE = {"size": int, "contentType": str, "created": str}
_OUTPUT = {"contentType": str, "width": int, "height": int, "size": int}


def document(file: File, seen: Seen, signer: Signer) -> Json:
    """The state of one file, with addresses of its outputs that were just signed.

    Raises Unreached where they cannot be signed.
    """
    told: Json = {"file_id": file.file_id, "status": seen.status}
    if seen.attempt:
        told["attempt"] = seen.attempt
    if seen.percent:
        told["percent"] = seen.percent
    if seen.approval:
        told["approval"] = seen.approval
    record = seen.record or {}
    source = _map(record.get("source"))
    if seen.key:
        # The name is the last part before the generation: names hold no slash.
        told["source"] = {"name": seen.key.split("/")[-2]} | _picked(source, _SOURCE)
    if record:
        metadata = _map(source.get("metadata"))
        told["metadata"] = {k: v for k, v in metadata.items() if isinstance(v, str)}
    facts = {k: v for k, v in record.items() if k not in _ENVELOPE and isinstance(v, dict)}
    if seen.status == DONE:
        told["facts"] = facts
        told["outputs"] = _outputs(file, record, signer)
    if seen.status == FAILED:
        told |= _picked(record, {"reason": str, "detail": str})
        told["retryable"] = record.get("retryable") is True
    return told


def etag(told: Json) -> str:
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _outputs(file: File, record: Mapping[str, Any], signer: Signer) -> list[Json]:
    """Those that lie among this file's results: a record cannot make us sign anything else."""
    listed = record.get("outputs")
    outputs = []
    for output in listed if isinstance(listed, list) else []:
        fields = _map(output)
        name, place = fields.get("name"), fields.get("object")
        if not (isinstance(name, str) and isinstance(place, str)):
            continue
        if place.startswith(f"files/{file.prefix}"):
            known = _picked(fields, _OUTPUT)
            url, expires = signer.url(place, known.get("contentType", ""))
            outputs.append({"name": name, "url": url, "url_expires": expires} | known)
    return outputs


def _picked(fields: Mapping[str, Any], kinds: Mapping[str, type]) -> Json:
    return {k: fields[k] for k, kind in kinds.items() if type(fields.get(k)) is kind}


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

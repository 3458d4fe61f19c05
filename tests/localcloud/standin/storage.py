"""Cloud Storage: buckets, objects and notifications, as the provider treats them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .engine import Resource, State, expand
from .rest import ApiError, Cloud, segment
from .values import UNKNOWN, known


class Bucket(Resource):
    """PATCH takes the changed fields alone; null takes a field away."""

    def create(self, cloud: Cloud, planned: State) -> State:
        planned = self.complete(cloud, known(planned))
        body = self._rules(self.create_body(planned), planned)
        cloud.call("POST", "storage", "b", body, query={"project": planned["project"] or ""})
        self.fetch(cloud, planned)  # the provider looks once whether the bucket is there
        found = self.read(cloud, planned)
        if found is None:
            raise ApiError(404, f"bucket {planned['name']} was not found after its creation")
        return found

    def _rules(self, body: dict[str, Any], state: State) -> dict[str, Any]:
        """Lifecycle rules: sets of one become objects, with_state becomes isLive."""
        rules = []
        for rule in state["lifecycle_rule"] or []:
            fields = self.fields["lifecycle_rule"].block.fields  # type: ignore[union-attr]
            condition = rule["condition"][0]
            made = expand(fields["condition"], rule["condition"]) or {}
            for name in (
                "age",
                "days_since_custom_time",
                "days_since_noncurrent_time",
                "num_newer_versions",
            ):
                if condition[f"send_{name}_if_zero"] and not condition[name]:
                    made[fields["condition"].block.fields[name].api[0]] = 0  # type: ignore[union-attr]
            if condition["with_state"] in ("LIVE", "ARCHIVED"):
                made["isLive"] = condition["with_state"] == "LIVE"
            rules.append({"action": expand(fields["action"], rule["action"]), "condition": made})
        if "lifecycle" in body or not rules:
            body["lifecycle"] = {"rule": rules}
        return body

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        changed = self.changed(state, prior)
        access = {"uniform_bucket_level_access", "public_access_prevention"}
        changed |= access if changed & access else set()
        names = [name for name in self.fields if name in changed]
        body = self.body(state, names)
        if "lifecycle_rule" in changed:
            body = self._rules(body | {"lifecycle": {}}, state)
        for name in ("cors", "encryption", "retention_policy"):
            if name in changed and not state[name]:
                body[self.fields[name].api[0]] = None
        for gone in (prior["effective_labels"] or {}).keys() - (state["effective_labels"] or {}):
            body.setdefault("labels", {})[gone] = None
        self.send(cloud, "PATCH", state, body)
        self.fetch(cloud, state)

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        found = super().decode(cloud, answer, state)
        rules = (answer.get("lifecycle") or {}).get("rule") or []
        for rule, made in zip(rules, found["lifecycle_rule"] or [], strict=True):
            live = {True: "LIVE", False: "ARCHIVED"}.get(rule["condition"].get("isLive"), "ANY")
            for condition in made["condition"]:
                condition["with_state"] = live
        return found | {"url": f"gs://{state['name']}"}

    def import_state(self, cloud: Cloud, text: str) -> State:
        state = super().import_state(cloud, text.rsplit("/", 1)[-1])
        return state | {"force_destroy": False}

    def remove(self, cloud: Cloud, state: State) -> None:
        path = f"b/{segment(state['name'])}"
        with suppress(ApiError):  # asked for, and done without where that is not allowed
            cloud.call("GET", "storage", f"{path}/anywhereCaches/", retry=False)
        page: str | None = ""
        while page is not None:
            query = {"versions": "true"} | ({"pageToken": page} if page else {})
            listed = cloud.call("GET", "storage", f"{path}/o", query=query)
            for item in listed.get("items", []):
                if not state["force_destroy"]:
                    raise ApiError(
                        0,
                        f"Error trying to delete bucket {state['name']} without `force_destroy` "
                        "set to true",
                    )
                generation = {"generation": str(item["generation"])}
                cloud.call(
                    "DELETE", "storage", f"{path}/o/{segment(item['name'])}", query=generation
                )
            page = listed.get("nextPageToken")
        cloud.call("DELETE", "storage", path)


class Object(Resource):
    """An object's content: a changed one is uploaded again over the old."""

    def _content(self, cloud: Cloud, state: State) -> bytes | None:
        """The declared content; None where it is not known yet."""
        if isinstance(state.get("source"), str):
            try:
                path: Path = cloud.caller.folder / state["source"]
                return path.read_bytes()
            except OSError as error:
                raise ApiError(0, f"cannot read source: {error}") from error
        content = state.get("content")
        return content.encode() if isinstance(content, str) else None

    def plan(self, cloud: Cloud, config: State, prior: State | None) -> State:
        planned = super().plan(cloud, config, prior)
        if prior is None:
            return planned
        declared = config["source_md5hash"]
        if declared is UNKNOWN or declared != prior["source_md5hash"]:
            changed = True
        else:
            content = None if declared else self._content(cloud, config)
            digest = (
                content is not None and base64.b64encode(hashlib.md5(content).digest()).decode()
            )
            changed = not declared and digest != prior["md5hash"]
        planned["detect_md5hash"] = "different hash" if changed else prior["detect_md5hash"]
        for name in ("md5hash", "crc32c", "generation") if changed else ():
            planned[name] = UNKNOWN
        return planned

    def create(self, cloud: Cloud, planned: State) -> State:
        state = known(planned)
        content = self._content(cloud, state)
        if content is None:
            raise ApiError(0, 'Error, either "content" or "source" must be specified')
        names = (
            "cache_control",
            "content_disposition",
            "content_encoding",
            "content_type",
            "metadata",
            "storage_class",
        )
        about = {"bucket": state["bucket"]} | self.body(state, list(names))
        boundary = hashlib.sha256(content).hexdigest()[:40]

        def parts() -> Iterator[bytes]:
            """Sent as the provider does: in chunks, without a length."""
            yield f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode()
            yield json.dumps(about).encode() + b"\n"
            kind = state["content_type"] or _sniff(content)
            yield f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode()
            yield content
            yield f"\r\n--{boundary}--\r\n".encode()

        cloud.call(
            "POST",
            "upload",
            f"b/{segment(state['bucket'])}/o",
            query={"name": state["name"], "uploadType": "multipart"},
            data=parts(),
            content_type=f"multipart/related; boundary={boundary}",
        )
        return self.read(cloud, state) or state

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        if self.changed(state, prior) & {"content", "source_md5hash", "detect_md5hash"}:
            self.create(cloud, state)

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        found = super().decode(cloud, answer, state)
        found["md5hexhash"] = base64.b64decode(answer.get("md5Hash") or "").hex()
        if state["content"] is None and state["source"] is None:
            found["content"] = None
        return found


def _sniff(content: bytes) -> str:
    if content.startswith(b"PK\x03\x04"):
        return "application/zip"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain; charset=utf-8"


class Notification(Resource):
    def create_body(self, state: State) -> dict[str, Any]:
        body = super().create_body(state)
        return body | {"topic": body["topic"].removeprefix("//pubsub.googleapis.com/")}

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        topic = answer["topic"].removeprefix("//pubsub.googleapis.com/")
        return super().decode(cloud, answer | {"topic": topic}, state)

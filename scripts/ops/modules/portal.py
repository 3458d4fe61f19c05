"""The portal: two functions with their accounts, pages that may send files, and who may call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..declared import block
from ..look import Checks, Finding, Look


def least(look: Look) -> dict[str, int]:
    return {
        "google_cloudfunctions2_function": 2,
        "google_service_account": 2,
        "google_service_account_iam_member": 1,
        "google_storage_bucket_iam_member": 2,
    }


def _settings(look: Look) -> dict[str, Any]:
    """What the upload service was told."""
    for declared in look.state.of("google_cloudfunctions2_function"):
        variables = block(declared.values, "service_config").get("environment_variables") or {}
        if declared.module == "portal" and "FOLDERS" in variables:
            return dict(variables)
    return {}


def origins(look: Look) -> Iterator[Finding]:
    """A page that may begin an upload must be let in by the bucket, too."""
    check = "origins of the portal"
    wanted = set(json.loads(_settings(look).get("ORIGINS", "[]")))
    for bucket in look.state.of("google_storage_bucket"):
        if bucket.values["name"] == look.environment.uploads:
            rules = bucket.values.get("cors") or []
            wanted -= {origin for rule in rules for origin in rule["origin"]}
    if wanted:
        names = ", ".join(sorted(wanted))
        what = (
            f"pages of {names} may begin an upload, and the uploads bucket does not let them send"
        )
        fix = f"give the pipeline's call uploads_origins with {names}, then: {look.apply}"
        yield Finding("error", check, what, fix)


def callers(look: Look) -> Iterator[Finding]:
    """Said aloud: that the whole internet may call is never a surprise."""
    kind = json.loads(_settings(look).get("ACCESS", "{}")).get("kind", "iam")
    if kind == "anyone":
        yield Finding("note", "callers of the portal", "the whole internet may upload (anyone)")
    elif kind == "tokens":
        yield Finding("note", "callers of the portal", "whoever has a token may upload (tokens)")


CHECKS: Checks = {"callers of the portal": callers, "origins of the portal": origins}

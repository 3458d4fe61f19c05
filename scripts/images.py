"""Images of jobs: built by Cloud Build before an apply, where the repository lacks them.

An image's tag is the beginning of its zip's sha256, so that a plan says what will run, and the same
source is built once. The repository's tags never move (environments/bootstrap/images.tf).
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployables import ROOT

IMAGE = re.compile(
    r"(?P<region>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+-images)"
    r"/(?P<name>[a-z0-9-]+):(?P<tag>[0-9a-f]{32})"
)
REGISTRY = "https://artifactregistry.googleapis.com/v1"
BUILDS = "https://cloudbuild.googleapis.com/v1"
STORAGE = "https://storage.googleapis.com/upload/storage/v1/b"
BUILD_SECONDS, POLL_SECONDS = 1200, 2.0


class ImageFailed(Exception):
    """An image could not be built; the message says why, and where its log is."""


@dataclass(frozen=True)
class Image:
    """One of ours, by the address that a job names."""

    address: str
    project: str
    region: str
    repository: str
    name: str
    tag: str

    @property
    def resource(self) -> str:
        place = f"projects/{self.project}/locations/{self.region}/repositories/{self.repository}"
        return f"{place}/packages/{self.name}/tags/{self.tag}"


def images(plan: dict[str, Any]) -> list[Image]:
    """Those that the jobs of a plan (`terraform show -json`) will run and that are built here."""
    found: dict[str, Image] = {}
    for change in plan.get("resource_changes", []):
        after = change["change"].get("after")
        if change["type"] == "google_cloud_run_v2_job" and after:
            for address in _addresses(after):
                if match := IMAGE.fullmatch(address):
                    found[address] = Image(address, **match.groupdict())
    return list(found.values())


def ensure(plan: dict[str, Any], prefix: str, token: str) -> None:
    """Has each image of a plan built that is not there. Raises ImageFailed."""
    for image in images(plan):
        if _call("GET", f"{REGISTRY}/{image.resource}", token) is None:
            print(f"deploy: building {image.address}, which takes some minutes …", flush=True)
            _build(image, prefix, token)


def _build(image: Image, prefix: str, token: str) -> None:
    bucket, name = f"{image.project}-{prefix}-builds", f"{image.name}/{image.tag}.zip"
    data = (ROOT / "build" / f"{image.name}.zip").read_bytes()
    query = urllib.parse.urlencode({"uploadType": "media", "name": name})
    _call("POST", f"{STORAGE}/{bucket}/o?{query}", token, data, "application/zip")
    order = {
        "source": {"storageSource": {"bucket": bucket, "object": name}},
        "steps": [
            {
                "name": "gcr.io/cloud-builders/docker",
                "args": ["build", "--tag", image.address, "."],
            }
        ],
        "images": [image.address],
        "serviceAccount": f"projects/{image.project}/serviceAccounts/"
        f"{prefix}-build@{image.project}.iam.gserviceaccount.com",
        "options": {"logging": "CLOUD_LOGGING_ONLY"},
        "timeout": f"{BUILD_SECONDS}s",
    }
    place = f"{BUILDS}/projects/{image.project}/locations/{image.region}/builds"
    made = _call("POST", place, token, json.dumps(order).encode()) or {}
    build = made["metadata"]["build"]
    until = time.monotonic() + BUILD_SECONDS
    while build.get("status") in (None, "PENDING", "QUEUED", "WORKING"):
        if time.monotonic() > until:
            raise ImageFailed(f"{image.address} was not built within {BUILD_SECONDS} s")
        time.sleep(POLL_SECONDS)
        build = _call("GET", f"{place}/{build['id']}", token) or {}
    if build["status"] != "SUCCESS":
        said = (
            build.get("statusDetail") or build.get("failureInfo", {}).get("detail") or "see its log"
        )
        raise ImageFailed(
            f"{image.address} was not built ({build['status']}): {said}. Its log: "
            f"gcloud builds log {build['id']} --region {image.region} --project {image.project}"
        )


def _addresses(job: dict[str, Any]) -> Iterator[str]:
    for outer in job.get("template") or []:
        for inner in outer.get("template") or []:
            for container in inner.get("containers") or []:
                if isinstance(container.get("image"), str):
                    yield container["image"]


def _call(
    verb: str, url: str, token: str, data: bytes | None = None, kind: str = "application/json"
) -> dict[str, Any] | None:
    """The answer; None where nothing is there. Raises ImageFailed."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    request = urllib.request.Request(url, data, headers, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        if error.code == 404 and verb == "GET":
            return None
        said = error.read().decode(errors="replace")[:500]
        raise ImageFailed(f"{url.partition('?')[0]} refuses ({error.code}): {said}") from error
    except urllib.error.URLError as error:
        raise ImageFailed(f"{url.partition('?')[0]} cannot be reached: {error.reason}") from error

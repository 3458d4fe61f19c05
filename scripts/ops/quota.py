"""What Cloud Run lets a project take in a region: python -m scripts.ops.quota PROJECT REGION

Prints {"cpu": vCPU, "memory": GiB} as JSON, without what is unlimited or not told.
"""

from __future__ import annotations

import json
import sys

from .clients import Clients
from .problems import Problem

URL = "https://serviceusage.googleapis.com/v1beta1/projects/{}/services/run.googleapis.com"
# Google's units: thousandths of a vCPU, and bytes.
METRICS = {
    "run.googleapis.com/cpu_allocation": ("cpu", 1000),
    "run.googleapis.com/mem_allocation": ("memory", 2**30),
}


def allowed(clients: Clients, region: str) -> dict[str, float]:
    """Raises Problem."""
    found: dict[str, float] = {}
    url = URL.format(clients.project) + "/consumerQuotaMetrics?view=FULL"
    for metric in clients.pages(url, "metrics"):
        name, unit = METRICS.get(metric.get("metric", ""), ("", 1))
        for limit in metric.get("consumerQuotaLimits", []) if name else ():
            buckets = {
                bucket.get("dimensions", {}).get("region", ""): int(bucket["effectiveLimit"])
                for bucket in limit.get("quotaBuckets", [])
                if "effectiveLimit" in bucket
            }
            value = buckets.get(region, buckets.get("", -1))
            if value >= 0:
                found[name] = value / unit
    return found


def main() -> int:
    _, project, region = sys.argv
    try:
        print(json.dumps(allowed(Clients(project), region)))
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

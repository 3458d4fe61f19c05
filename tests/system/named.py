"""What alerts and dashboards name, held to the list of what Google measures: metrics.json."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.metrics import promql_name
from tests.system.promql import selectors
from tests.system.watched import Watched

LIST = json.loads((Path(__file__).parent / "metrics.json").read_text())


def queries(watched: Watched) -> dict[str, str]:
    """Every query of the environment, by where it stands."""
    found = {
        f"alert {key}": condition["conditionPrometheusQueryLanguage"]["query"]
        for key, policy in watched.policies.items()
        for condition in policy["conditions"]
    }
    for board in watched.dashboards:
        for tile in board["mosaicLayout"]["tiles"]:
            for number, line in enumerate(tile["widget"].get("xyChart", {}).get("dataSets", [])):
                title = f"{board['displayName']}, {tile['widget']['title']}"
                where = f"dashboard {title} {number}, {tile.get('yPos', 0)}"
                found[where] = line["timeSeriesQuery"]["prometheusQuery"]
    return found


def unknown(query: str, own: dict[str, set[str]]) -> list[str]:
    """What a query names and the list does not hold; own: log-based metrics with their labels."""
    faults = []
    for name, matchers in selectors(query):
        base = name.removesuffix("_bucket")
        labels = {label for label, _, _ in matchers} - {"monitored_resource", "le"}
        resources = [value for label, _, value in matchers if label == "monitored_resource"]
        if base in own:
            resource, known = "cloud_run_revision", own[base]
        elif base in LIST["metrics"]:
            resource = LIST["metrics"][base]["resource"]
            known = set(LIST["metrics"][base]["labels"])
            if (name != base) != (LIST["metrics"][base]["kind"] == "distribution"):
                faults.append(f"{name} is not a {LIST['metrics'][base]['kind']}")
        else:
            faults.append(f"metric {name}")
            continue
        if resources != [resource]:
            faults.append(f"{name} is of {resource}, not of {resources}")
        known = known | set(LIST["resources"][resource]["labels"])
        faults += [f"label {label} of {name}" for label in sorted(labels - known)]
    return faults


def own_metrics(watched: Watched) -> dict[str, set[str]]:
    return {promql_name(m["name"]): set(m.get("labelExtractors", {})) for m in watched.log_metrics}


def faults(watched: Watched) -> dict[str, list[str]]:
    """What is wrong with each query, by where it stands."""
    own = own_metrics(watched)
    found = {where: unknown(query, own) for where, query in queries(watched).items()}
    return {where: wrong for where, wrong in found.items() if wrong}

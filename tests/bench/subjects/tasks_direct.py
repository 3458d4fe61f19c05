"""A candidate for the bridge: tasks.create of the REST API over urllib3, with nothing between."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.bench.subjects.direct import Google


class Refused(Exception):
    """An answer other than 200, as the bridge reads it."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"{response.status}")
        self.response = response
        response.status_code = response.status


class DirectTasks:
    """The one method of CloudTasksClient that the bridge uses."""

    def __init__(self) -> None:
        self._google = Google()

    def create_task(self, request: dict[str, Any], *, timeout: float) -> object:
        task = request["task"]
        http = task["http_request"]
        token = http["oidc_token"]
        body = {
            "name": task["name"],
            "dispatchDeadline": f"{task['dispatch_deadline']['seconds']}s",
            "httpRequest": {
                "httpMethod": http["http_method"],
                "url": http["url"],
                "headers": http["headers"],
                "body": base64.b64encode(http["body"]).decode(),
                "oidcToken": {
                    "serviceAccountEmail": token["service_account_email"],
                    "audience": token["audience"],
                },
            },
        }
        response = self._google.ask(
            "POST",
            f"https://cloudtasks.googleapis.com/v2/{request['parent']}/tasks",
            "application/json",
            body=json.dumps({"task": body}).encode(),
            timeout=timeout,
        )
        if response.status != 200:
            raise Refused(response)
        return response.json()

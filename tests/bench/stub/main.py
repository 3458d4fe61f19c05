"""The least that a function of the framework can do."""

from __future__ import annotations

import functions_framework
from flask import Request


@functions_framework.http
def handle(request: Request) -> tuple[dict[str, str], int]:
    return {"status": "ok"}, 200

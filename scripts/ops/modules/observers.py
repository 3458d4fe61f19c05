"""Observers: what their webhooks never took."""

from __future__ import annotations

from ..look import Checks
from .completions import undelivered

CHECKS: Checks = {"dead letters of observers": undelivered("observers")}

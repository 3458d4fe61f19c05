"""Which class serves a resource type that differs from the general case in engine.py."""

from __future__ import annotations

from .engine import Resource
from .kinds import (
    CustomRole,
    Function,
    ProjectService,
    Protected,
    Queue,
    Repository,
    SchedulerJob,
    ServiceAccount,
    SoftDeleted,
    Subscription,
)
from .members import AuditConfig, Member
from .monitoring import Channel, CustomService, Dashboard, Slo
from .storage import Bucket, Notification, Object
from .tables import load

HANDLERS: dict[str, type[Resource]] = {
    "audit_config": AuditConfig,
    "bucket": Bucket,
    "channel": Channel,
    "custom_role": CustomRole,
    "custom_service": CustomService,
    "dashboard": Dashboard,
    "function": Function,
    "iam": Member,
    "notification": Notification,
    "object": Object,
    "project_service": ProjectService,
    "queue": Queue,
    "repository": Repository,
    "protected": Protected,
    "scheduler_job": SchedulerJob,
    "service_account": ServiceAccount,
    "slo": Slo,
    "soft_deleted": SoftDeleted,
    "subscription": Subscription,
}


def resources() -> dict[str, Resource]:
    tables = [table for (kind, _), table in load().items() if kind == "resource"]
    return {t.name: HANDLERS.get(t.settings.get("handler", ""), Resource)(t) for t in tables}

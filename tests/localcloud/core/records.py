"""Resources that the cloud only keeps: created, read, changed, deleted, never acted upon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .api import Call, Json, Service
from .errors import ApiError, not_found

if TYPE_CHECKING:
    from .server import Cloud


def stored(value: Any) -> Any:
    """What Google answers of what it was sent: fields of proto3 that hold their type's zero (0, "",
    false, an empty list) are not written (protobuf's ProtoJSON); an empty message is.
    """
    if isinstance(value, dict):
        kept = {name: stored(member) for name, member in value.items()}
        return {name: member for name, member in kept.items() if member or isinstance(member, dict)}
    return [stored(member) for member in value] if isinstance(value, list) else value


class Records(Service):
    """A service whose resources are JSON documents by name."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.records: dict[str, Json] = {}

    def exists(self, resource: str) -> bool:
        return resource in self.records

    def snapshot(self) -> list[str]:
        return list(self.records)

    def _add(self, name: str, record: Json) -> Json:
        if name in self.records:
            raise ApiError(409, f"Resource '{name}' already exists.")
        self.records[name] = stored(record)
        return self.records[name]

    def _get(self, call: Call, key: str = "name") -> Json:
        name = call.params[key]
        if name not in self.records:
            raise not_found(name)
        return self.records[name]

    def _update(self, call: Call, key: str = "name") -> Json:
        """Fields of the update mask, or all that the body holds, replaced."""
        record = self._get(call, key)
        mask = call.params.get("updateMask")
        for field in mask.split(",") if mask else call.body:
            top = field.split(".")[0]
            if top in call.body:
                record[top] = call.body[top]
            else:
                record.pop(top, None)
        self.records[call.params[key]] = stored(record)
        return self.records[call.params[key]]

    def _delete(self, call: Call, key: str = "name") -> Json:
        self._get(call, key)
        name = call.params[key]
        del self.records[name]
        self.cloud.iam.forget(name)
        return {}

    def _under(self, parent: str) -> list[Json]:
        return [r for name, r in self.records.items() if name.startswith(parent + "/")]

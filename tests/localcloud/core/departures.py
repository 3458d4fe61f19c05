"""Parameters that are not treated as Google's discovery documents say."""

from __future__ import annotations

# Parameters that clients send and the discovery documents do not list.
UNLISTED = {
    "pubsub.projects.subscriptions.patch": {"updateMask"},
    "pubsub.projects.topics.patch": {"updateMask"},
    "storage.objects.insert": {"upload_id"},
}
# Parameters that documents demand and that the path says already.
SAID = {
    "cloudbuild.projects.locations.builds.create": {"projectId"},
    "cloudbuild.projects.locations.builds.get": {"projectId", "id"},
}
RENAMED = {"repository_id": "repositoryId"}  # the provider sends the first, Google takes both
# Query parameters that would change an answer and that no service reads: refused, not ignored.
UNSERVED = {
    *("copySourceAcl", "destinationKmsKeyName", "dropContextGroups", "enableObjectRetention"),
    *("filter", "orderBy", "overrideUnlockedRetention", "restoreToken"),
    *("rewriteToken", "validateOnly"),
}
STANDARD = {"uploadType", "upload_protocol", "userProject", "key", "$.xgafv", "$alt"}

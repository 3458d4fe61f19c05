"""Cloud Storage as far as a front door needs it: create, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from runtime.storage import unless_there
from upload.offer import Offer
from web.problems import reached

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

CALL_SECONDS = 20.0
RETRY_SECONDS = 10.0  # beyond that it is the client that tries again
SERVICE = "Cloud Storage"


class Storage:
    """Raises Unreached for whatever is neither success nor "it is there already"."""

    def __init__(self, client: Callable[[], Client], bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def session(self, offer: Offer, origin: str | None) -> str | None:
        """A resumable upload that creates the object once: its URI is a key, good for a week.

        None: the object is there already. Cloud Storage has been seen to say so at the end only,
        but its documents do not promise that (googleapis/google-cloud-java issue 201).

        origin: the page whose script will send the bytes; Cloud Storage lets no other in.
        """
        with reached(SERVICE), unless_there():
            uri = self._blob(offer).create_resumable_upload_session(
                content_type=offer.content_type,
                size=offer.size,
                origin=origin,
                if_generation_match=0,
                checksum=None,
                timeout=CALL_SECONDS,
                retry=_retry(),
            )
            return str(uri)
        return None

    def create(self, offer: Offer, content: IO[bytes]) -> None:
        """Stores the bytes; what is there already, from an earlier try, stays as it is."""
        with reached(SERVICE), unless_there():
            self._blob(offer).upload_from_file(
                content,
                size=offer.size,
                content_type=offer.content_type,
                if_generation_match=0,
                timeout=CALL_SECONDS,
                retry=_retry(),
            )

    def _blob(self, offer: Offer) -> Blob:
        blob = self._client().bucket(self._bucket).blob(offer.object)
        blob.metadata = dict(offer.metadata) or None
        return blob


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=0.3).with_timeout(RETRY_SECONDS)

"""Cloud Storage's client as an instance keeps it, and objects that are written once.

The library is imported by the first call: it is half of what a cold start would load.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud.storage import Client

# Else the library asks for each bucket's metadata in the background, which nobody here may read.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


def cloud_storage(project_id: str, connections: int | None = None) -> Client:
    """connections: that stay open between calls; by default one for each of THREADS."""
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    client = storage.Client(project_id)
    kept = connections or int(os.environ.get("THREADS", 16))
    client._http.mount("https://", HTTPAdapter(pool_maxsize=kept))
    return client


@contextmanager
def unless_there() -> Iterator[None]:
    """Around a call with if_generation_match=0: ends quietly where the name is taken.

    with unless_there():
        blob.upload_from_string(data, if_generation_match=0)
        return True
    return False
    """
    from google.api_core.exceptions import Forbidden, PreconditionFailed

    try:
        yield
    except PreconditionFailed:
        return
    except Forbidden as error:
        # An account that may only create may be told, instead, that it may not overwrite.
        if "storage.objects.delete" not in str(error):
            raise

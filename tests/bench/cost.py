"""What ten thousand files cost at Google's list prices, from what was measured here."""

from __future__ import annotations

# Dollars in us-central1, November 2026; docs/scale.md cites where they are listed.
CLASS_A = 0.005 / 1000  # an operation of Cloud Storage that writes or lists, Standard storage
CLASS_B = 0.0004 / 1000  # one that reads
REQUEST = 0.40e-6  # of Cloud Run
VCPU_SECOND, GIB_SECOND = 24e-6, 2.5e-6  # of Cloud Run, billed per request
TASK = 0.40e-6  # an operation of Cloud Tasks: the creation, each dispatch
PUBSUB_BYTE = 40 / 2**40
EVENT_BYTES = 3 * 1000  # published and delivered, at least 1 kB each; and a spare one

PROCESSOR = 2 * VCPU_SECOND + 2 * GIB_SECOND  # a second of an instance: 2 CPU, 2 GiB
BRIDGE = 1 * VCPU_SECOND + 0.5 * GIB_SECOND


def parts(processor_seconds: float, bridge_seconds: float, reads: float) -> dict[str, float]:
    """Dollars for 10,000 files, one at a time in an instance: the dearest way to run them.

    Args:
        processor_seconds, bridge_seconds: of wall clock, for one file.
        reads: requests to Cloud Storage that read, for one file.
    """
    each = {
        "Cloud Run, processor": processor_seconds * PROCESSOR + REQUEST,
        "Cloud Run, bridge": bridge_seconds * BRIDGE + REQUEST,
        "Cloud Storage, the upload": CLASS_A,
        "Cloud Storage, claim, output and manifest": 3 * CLASS_A,
        "Cloud Storage, reads": reads * CLASS_B,
        "Cloud Tasks": 2 * TASK,
        "Pub/Sub": EVENT_BYTES * PUBSUB_BYTE,
    }
    return {name: 10_000 * dollars for name, dollars in each.items()}

"""From a notification of Cloud Storage to a named task."""

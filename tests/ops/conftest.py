"""The operator's tool puts the functions' folders on the path."""

import scripts.ops  # noqa: F401

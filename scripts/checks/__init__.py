"""Gates over the repository's own files: `python3 -m scripts.checks.gates`."""

"""The benchmark: this project beside the tutorial it replaces, and beside the machine's limit."""

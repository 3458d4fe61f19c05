"""The benchmark: this project beside the tutorial it replaces, and beside the limit of the machine."""

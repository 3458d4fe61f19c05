"""One piece of work, from its task to its record."""

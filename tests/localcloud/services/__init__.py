"""One folder for each of Google's services."""

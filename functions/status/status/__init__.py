"""What has become of a file, read from the results bucket; it keeps nothing."""

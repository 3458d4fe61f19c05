"""What functions with an HTTP interface of their own share: paths, problems, who calls."""

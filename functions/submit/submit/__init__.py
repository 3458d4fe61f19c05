"""Submit: requests in, tasks out."""

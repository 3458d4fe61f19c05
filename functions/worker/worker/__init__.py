"""Worker: does submitted tasks, each in a process of its own."""

"""What a task is and what it ends in: identity, task, records, reasons. Standard library only."""

"""What submit and worker share: a task's request, and the records that it ends in."""

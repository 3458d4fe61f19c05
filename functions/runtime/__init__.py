"""What every deployable runs on: settings, logs, once. Standard library only."""

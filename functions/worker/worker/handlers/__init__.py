"""What a worker can do: a module for each type of task, with `handle(task, request) -> outcome`.

An outcome is {"status": "done" or "failed", …}; outputs are written before it is returned.
"""


class Failed(Exception):
    """The task cannot be done: reason is one of batch.records.REASONS, detail a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Unavailable(Exception):
    """Google was not reached: the task goes back, for somebody to try again."""

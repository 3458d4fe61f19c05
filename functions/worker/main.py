"""Worker: `main.py` does the tasks that wait, and ends; `main.py sweep` finds lost ones."""

from __future__ import annotations

import signal
import sys

from batch.records import Records
from runtime.logs import Log
from runtime.once import once
from runtime.storage import cloud_storage
from worker.pool import Worker
from worker.settings import Config
from worker.subscription import Subscription
from worker.sweep import sweep


def main(arguments: list[str]) -> int:
    config = Config.from_env()
    log = Log(config.project_id, config.hash_object_names)
    records = Records(once(lambda: cloud_storage(config.project_id, 16)), config.tasks_bucket)
    if arguments == ["sweep"]:
        return sweep(config, records, log)
    worker = Worker(config, records, Subscription(config.subscription), log)
    # Cloud Run gives 10 s from here on.
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    return worker.run(Subscription(config.dead_letters))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What every deployable runs on. Standard library only, but for storage.py."""

import os

# functions-framework gives gunicorn the request's timeout as its heartbeat's. An instance that has
# no CPU between requests for longer than that wakes up with a heartbeat too old, and gunicorn may
# kill the worker with the request that woke it. Set before the server starts, since the framework
# imports the function first (functions_framework/_http/gunicorn.py); 0 turns the heartbeat off.
# The platform ends requests that take too long, and the heartbeat notices no thread that hangs.
os.environ["CLOUD_RUN_TIMEOUT_SECONDS"] = "0"

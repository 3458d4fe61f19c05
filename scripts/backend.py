"""Where the state of an environment is: in the project's bucket or, for bootstrap, before that.

The bootstrap environment makes the bucket that its own state belongs in. Its first run therefore
keeps the state in a local file, chosen by a git-ignored backend_override.tf, and then moves it. The
local file goes last: as long as it is there, the next run takes up from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from known import NoStateBucket
from recall import recall
from runner import Environment, terraform

BOOTSTRAP = "bootstrap"
LOCAL_BACKEND = 'terraform {{\n  backend "local" {{\n    path = "{path}"\n  }}\n}}\n'


def use_bucket(environment: Environment, *options: str) -> None:
    """Initializes the environment with its state in the project's bucket."""
    print(
        f"deploy: initializing {environment.name} with its state in gs://{environment.state_bucket}"
    )
    environment.override.unlink(missing_ok=True)
    terraform(
        environment,
        "init",
        "-input=false",
        f"-backend-config=bucket={environment.state_bucket}",
        *(options or ("-reconfigure",)),
        quiet=True,
    )


def use_local_file(environment: Environment, *options: str) -> None:
    """Initializes bootstrap with its state in the local file. Drop the override afterwards."""
    environment.override.write_text(LOCAL_BACKEND.format(path=environment.local_state.name))
    terraform(environment, "init", "-input=false", *(options or ("-reconfigure",)), quiet=True)


@contextmanager
def initialized(environment: Environment) -> Iterator[None]:
    """Initializes the environment where its state is: in the bucket or, for bootstrap, before that.

    A bootstrap that has made the bucket has its state moved there at the end.
    """
    if environment.name != BOOTSTRAP:
        use_bucket(environment)
        yield
        return
    try:
        if environment.local_state.exists():
            print("deploy: going on from the local state of an earlier run")
            use_local_file(environment)
        else:
            try:
                use_bucket(environment)
            except NoStateBucket:
                print("deploy: the bucket does not exist yet: the state begins in a local file")
                use_local_file(environment)
        recall(environment)
        yield
        if environment.override.exists() and "google_storage_bucket.this" in terraform(
            environment, "state", "list", quiet=True
        ):
            move_to_bucket(environment)
    finally:
        environment.override.unlink(missing_ok=True)


def move_to_bucket(environment: Environment) -> None:
    print("deploy: the bucket is there: moving the state into it")
    use_bucket(environment, "-migrate-state", "-force-copy")
    drop_local_state(environment)


def drop_local_state(environment: Environment) -> None:
    backup = environment.local_state.with_suffix(".tfstate.backup")
    backup.unlink(missing_ok=True)
    environment.local_state.unlink(missing_ok=True)

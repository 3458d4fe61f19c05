"""How long a task waits, whatever becomes of submits, starts and workers: on the driven clock."""

from __future__ import annotations

import random

import pytest
from batch_world import BEGIN, CLOCK_SECONDS, SLOWEST_START, SWEEP_SECONDS, World
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.records import DONE, FAILED
from submit.announce import LEAD_SECONDS
from worker.subscription import LEASE_SECONDS, PULL_SECONDS
from worker.sweep import PATIENCE

WINDOW, TASK_SECONDS = 60, 20.0
BACKOFF = 80.0  # the longest of a message that is not set aside yet
STARTED = LEAD_SECONDS + WINDOW + SLOWEST_START
FOUND = CLOCK_SECONDS + SLOWEST_START  # by the clock
seeds = st.integers(0, 2**32)
gaps = st.floats(0, 70) | st.floats(0, 900)  # within a window, too


def world(patch: pytest.MonkeyPatch, seed: int) -> World:
    made, draw = World(patch, WINDOW), random.Random(seed)
    made.start_seconds = lambda: draw.uniform(1, SLOWEST_START)
    made.task_seconds = lambda: draw.uniform(0.1, TASK_SECONDS)
    return made


@given(seeds, st.lists(gaps, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_message_that_can_be_seen_waits_a_window_and_a_start(
    seed: int, pauses: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        made = world(patch, seed)
        for pause in pauses:
            made.clock.run(pause)
            made.submit()
        made.clock.run(2 * WINDOW + CLOCK_SECONDS)
        assert len(made.bus.waits) == len(pauses)
        assert max(made.bus.waits) <= STARTED + PULL_SECONDS


faults = st.sampled_from(["die", "end", "submit", "submit", "request", "publish"])


@given(seeds, st.lists(st.tuples(gaps, faults, st.integers(0, 9)), min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_whatever_dies_every_task_ends_within_the_bound_of_the_last_death(
    seed: int, steps: list[tuple[float, str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        made, accepted, unsent = world(patch, seed), [], 0
        for pause, step, number in steps:
            made.clock.run(pause)
            if step == "die":
                made.kill(number)
            elif step == "end":
                made.end(number)
            else:
                accepted.append(made.submit("start" if step == "submit" else step))
                unsent += step == "request"
        bound = LEASE_SECONDS + BACKOFF + FOUND + 3 * TASK_SECONDS + PULL_SECONDS
        bound += FOUND if any(step in ("die", "end") for _, step, _ in steps) else 0  # set aside
        bound += PATIENCE.total_seconds() + SWEEP_SECONDS + FOUND if unsent else 0
        made.clock.run(bound)
        outcomes = [made.records.outcome(task) for task in accepted]
        assert {outcome and outcome["status"] for outcome in outcomes} <= {DONE, FAILED}
        # The clock's own executions find nothing and end; before its next one, none runs.
        made.clock.run(CLOCK_SECONDS - 1 - (made.clock.now() - BEGIN) % CLOCK_SECONDS)
        assert made.executions == 0
        for subscription in (made.tasks, made.dead):
            assert not subscription.ready
            assert not subscription.leases

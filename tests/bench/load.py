"""Load on a service: a block of requests as fast as they go, or at a fixed rate."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench.service import Service

WATCH = 0.25  # seconds between two looks at the memory of a service


@dataclass(frozen=True, slots=True)
class _Cost:
    """CPU seconds of the service, and wall clock, of so many requests."""

    count: int
    cpu: float
    wall: float

    @property
    def cpu_each(self) -> float:
        return self.cpu / self.count

    @property
    def per_second(self) -> float:
        return self.count / self.wall


@dataclass(frozen=True, slots=True)
class Block(_Cost):
    """What a block of requests cost, and each latency."""

    latencies: tuple[float, ...]


def block(
    service: Service,
    bodies: list[bytes],
    path: str = "/",
    connections: int = 1,
    rate: float | None = None,
    method: str = "POST",
) -> Block:
    """Sends all bodies.

    Args:
        rate: requests a second; a latency counts from when a request was due. None: no pause.
    """
    numbers = itertools.count()
    cpu, began = service.cpu(), time.perf_counter()

    def one(ask: Callable[..., bytes]) -> list[float]:
        latencies = []
        while (number := next(numbers)) < len(bodies):
            due = time.perf_counter()
            if rate:
                due = began + number / rate
                time.sleep(max(0.0, due - time.perf_counter()))
            ask(method, path, bodies[number])
            latencies.append(time.perf_counter() - due)
        return latencies

    clients = [service.client() for _ in range(connections)]
    with ThreadPoolExecutor(connections) as pool:
        found = list(pool.map(one, [client.ask for client in clients]))
    wall = time.perf_counter() - began
    for client in clients:
        client.hang_up()
    latencies = tuple(latency for some in found for latency in some)
    return Block(len(bodies), service.cpu() - cpu, wall, latencies)


@dataclass(frozen=True, slots=True)
class Sustained(_Cost):
    """A block by time: CPU seconds beside the service, the most memory in bytes."""

    beside: float
    memory: int


def sustained(
    service: Service,
    bodies: Iterator[bytes],
    path: str,
    connections: int,
    seconds: float,
    beside: Callable[[], float] = lambda: 0.0,
) -> Sustained:
    """POSTs for so long, and until what was begun has ended.

    Args:
        beside: CPU seconds that others have used for the service; this process's own are added.
    """
    lock, over = threading.Lock(), threading.Event()
    sizes = [service.memory()]

    def work(ask: Callable[..., bytes]) -> int:
        count = 0
        while time.perf_counter() - began < seconds:
            with lock:
                body = next(bodies)
            ask("POST", path, body)
            count += 1
        return count

    def watch() -> None:
        while not over.wait(WATCH):
            sizes.append(service.memory())

    clients = [service.client() for _ in range(connections)]
    looking = threading.Thread(target=watch)
    looking.start()
    cpu, others = service.cpu(), beside() + time.process_time()
    began = time.perf_counter()
    try:
        with ThreadPoolExecutor(connections) as pool:
            count = sum(pool.map(work, [client.ask for client in clients]))
        wall = time.perf_counter() - began
        used, others = service.cpu() - cpu, beside() + time.process_time() - others
    finally:
        over.set()
        looking.join()
        for client in clients:
            client.hang_up()
    return Sustained(count, used, wall, others, max(sizes))


def percentile(values: tuple[float, ...] | list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]

"""Threads from one pool, results in order, and an end to all of it when the user interrupts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
END: Any = object()


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="emix")


def map_in_order(fn: Callable[[Any], T], items: Sequence[Any], n_threads: int) -> list[T]:
    """Fn of each item, in threads where there are several; results in the order of the items.

    The calling thread is one of them, and each takes the next item when it is done with one: waking a thread costs more
    than a chunk takes to sum. When an item fails, those that have not begun never do, and the first failure is raised.
    """
    n_workers = min(n_threads, len(items))
    if n_workers <= 1:
        return [fn(item) for item in items]
    results: dict[int, T] = {}
    failures: dict[int, BaseException] = {}
    turns = itertools.count()

    def work() -> None:
        while not failures and (turn := next(turns)) < len(items):
            try:
                results[turn] = fn(items[turn])
            except Exception as error:
                failures[turn] = error
            except BaseException as error:  # an interrupt: the others end at their next item
                failures[turn] = error
                raise

    helpers = [_pool(n_threads).submit(work) for _ in range(n_workers - 1)]
    try:
        work()
        for helper in helpers:
            if not helper.cancel():  # one that never began, because the pool is busy, has nothing to wait for
                helper.result()
    except BaseException as error:
        failures.setdefault(-1, error)
        raise
    if failures:
        raise failures[min(failures)]
    return [results[turn] for turn in range(len(items))]


def each_in_order(fn: Callable[[Any], T], items: Iterable[Any], then: Callable[[T], None], n_threads: int) -> None:
    """Fn of each item in `n_threads` threads while one thread more fetches the next item; `then` takes the results.

    Items are fetched one at a time, and results taken one at a time in the order of the items; a thread that is done
    does both for itself, so that none waits to be served. As in `map_in_order` the first failure is raised.
    """
    source, turns = iter(items), itertools.count()
    fetching, taking, slots = threading.Lock(), threading.Lock(), threading.Semaphore(n_threads)
    done: dict[int, T] = {}
    failures: dict[int, BaseException] = {}
    n_taken = 0

    def work() -> None:
        nonlocal n_taken
        turn = -1
        try:
            while not failures:
                with fetching:
                    if failures:
                        return
                    turn = next(turns)
                    item = next(source, END)
                if item is END:
                    return
                with slots:
                    result = fn(item)
                with taking:
                    done[turn] = result
                    while n_taken in done:
                        then(done.pop(n_taken))
                        n_taken += 1
        except Exception as error:
            failures[turn] = error
        except BaseException as error:  # an interrupt: the others end at their next item
            failures[turn] = error
            raise

    helpers = [_pool(n_threads).submit(work) for _ in range(n_threads)]
    try:
        work()
        for helper in helpers:
            if not helper.cancel():
                helper.result()
    except BaseException as error:
        failures.setdefault(-1, error)
        raise
    if failures:
        raise failures[min(failures)]


@cache
def _controller() -> ThreadpoolController:
    """Kept open: a fresh one costs 2.4 ms at each call, this one 12 microseconds."""
    return ThreadpoolController()


@contextmanager
def blas_limited() -> Iterator[None]:
    """One thread for BLAS: ours run side by side, and its sums must not depend on how many there are."""
    with _controller().limit(limits=1, user_api="blas"):
        yield

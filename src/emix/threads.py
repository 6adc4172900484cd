"""Threads from one pool, results in order, and an end to all of it when the user interrupts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="emix")


def map_in_order(fn: Callable[[Any], T], items: Sequence[Any], n_threads: int) -> list[T]:
    """Fn of each item, in threads where there are several; results in the order of the items.

    When one fails, or the user interrupts, those that have not begun never do.
    """
    if n_threads <= 1 or len(items) <= 1:
        return [fn(item) for item in items]
    futures: list[Future[T]] = [_pool(n_threads).submit(fn, item) for item in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        raise


@cache
def _controller() -> ThreadpoolController:
    """Kept open: a fresh one costs 2.4 ms at each call, this one 12 microseconds."""
    return ThreadpoolController()


@contextmanager
def blas_limited() -> Iterator[None]:
    """One thread for BLAS: ours run side by side, and its sums must not depend on how many there are."""
    with _controller().limit(limits=1, user_api="blas"):
        yield

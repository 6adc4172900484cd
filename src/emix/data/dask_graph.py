"""Work on the partitions of a Dask collection, as graphs: one task per partition, and trees of fixed order over them.

The same graphs run on a cluster, where partitions stay on their workers and a lost one is computed again from its
lineage, and in the threads of this process where there is no cluster. Errors of emix travel as values, so that the
first in the order of the partitions is raised, whichever happened first.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from typing import Any
from uuid import uuid4

from emix.errors import ClusterError, DataError, EmixError, FileError
from emix.threads import blas_limited

FAN = 16
"""Parts that one task adds up."""
WHICH = "emix:__version__"
"""What workers are asked for."""
SMALL = 1 << 16
"""Bytes up to which a value goes with each task: it saves two messages and the time in between."""
REMEMBERED = 4
"""Shared values that a process keeps made."""
PATIENCE = "10s"
"""How long a scheduler may take to answer."""
LOST = ("KilledWorker", "FutureCancelledError", "CancelledError", "CommClosedError", "SchedulerClosedError")
"""What Dask raises where a cluster, or a worker too often, is gone."""


def client_of() -> Any:
    """The client of the cluster that Dask would compute on; None where it computes in this process."""
    if "distributed" not in sys.modules:  # nobody made a client
        return None
    import dask
    import distributed

    client = getattr(dask.base.get_scheduler(), "__self__", None)
    return client if isinstance(client, distributed.Client) else None


def check_workers() -> None:
    """Raise if the workers of the cluster lack emix, or have another version of it.

    Raises
    ------
    ClusterError
        The first such worker is named.
    """
    import pkgutil

    client = client_of()
    if client is None:
        return
    required: str = pkgutil.resolve_name("emix:__version__")  # found by name on the workers, too: emix may lack there
    for worker, found in sorted(client.run(pkgutil.resolve_name, WHICH, on_error="return").items()):
        is_gone = isinstance(found, BaseException) and not isinstance(found, ImportError | AttributeError)
        if found != required and not is_gone:  # a worker that just died is Dask's to replace
            raise ClusterError.workers(worker=worker, found=found, required=required)


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address; of 'local', of one worker process per core, which end with it.

    Raises
    ------
    FileError
        `distributed` is not installed.
    ClusterError
        No scheduler answers.
    """
    try:
        import distributed
    except ImportError as error:
        raise FileError.no_extra(package="distributed", extra="dask") from error
    if address == "local":
        options = {"n_workers": os.cpu_count() or 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        with _deaf():
            workers = distributed.LocalCluster(processes=True, **options)
        with workers, distributed.Client(workers) as client, _quiet_end(lambda: client.run(_hush)):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError.unreachable(address, detail=_first_line(error)) from error
    with client, _quiet_end():
        yield client


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin meanwhile hear no interrupt from the terminal: it is for this one, which ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # as it begins it would let the signal through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet_end(beside: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """An interrupt is no error of the tasks that it ends: neither they nor workers of one's own are to tell of it."""
    try:
        yield
    except KeyboardInterrupt:
        _hush()
        with suppress(Exception):
            beside()
        raise


def _hush() -> None:
    for name in ("asyncio", "distributed"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


# -- graphs ------------------------------------------------------------------------------------------------------------


def each(fn: Callable[..., Any], parts: Iterable[Any], *own: Sequence[Any], shared: Any = None) -> tuple[Any, ...]:
    """Delayed fn(part, shared, own...) of each part.

    Parameters
    ----------
    fn : callable
        A function of a module, for workers to find.
    parts : iterable of Delayed
        One for each partition.
    own : sequences of plain values
        One value for each partition.
    shared : any
        What all of them are given.
    """
    from dask.delayed import Delayed

    token, common, name = uuid4().hex, *_shared(shared)
    found = []
    for i, (part, *values) in enumerate(zip(parts, *own, strict=True)):
        key = f"emix-{fn.__name__.strip('_')}-{token}-{i}"
        task = (partial(_guarded, fn), part.key, name, *values)
        found.append(Delayed(key, {**part.__dask_graph__(), **common, key: task}))
    return tuple(found)


def combined(
    fn: Callable[..., Any],
    merge: Callable[[Sequence[Any]], Any],
    parts: Iterable[Any],
    *own: Sequence[Any],
    shared: Any = None,
) -> Any:
    """Fn of each part, as in `each`, merged by a tree whose order depends on the number of parts alone; computed.

    Raises
    ------
    EmixError
        The first that a part met.
    """
    from dask.delayed import Delayed

    token, graph, name = uuid4().hex, *_shared(shared)
    keys = []
    for i, (part, *values) in enumerate(zip(parts, *own, strict=True)):
        graph.update(part.__dask_graph__())
        keys.append(f"emix-{fn.__name__.strip('_')}-{token}-{i}")
        graph[keys[-1]] = (partial(_guarded, fn), part.key, name, *values)
    level = 0
    while len(keys) > 1 or level == 0:
        merged = [f"emix-merged-{token}-{level}-{i}" for i in range(0, len(keys), FAN)]
        graph.update({key: (partial(_merged, merge), *keys[i * FAN : (i + 1) * FAN]) for i, key in enumerate(merged)})
        keys, level = merged, level + 1
    return computed([Delayed(keys[0], graph)])[0]


def _shared(value: Any) -> tuple[dict[str, Any], Any]:
    """What all tasks are given: a small value goes with each, a large one is a task that they depend on.

    Either can be made again where a worker is lost, unlike data that a client sends.
    """
    import cloudpickle

    name = f"emix-shared-{uuid4().hex}"
    shared = _Shared(name, cloudpickle.dumps(value))
    return ({}, shared) if len(shared.data) <= SMALL else ({name: (partial(_same, shared),)}, name)


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Shared:
    """A value that all partitions are given, one object for all tasks of a process.

    It is made from the same bytes everywhere, also in this process: what a model has computed by then, and how its
    arrays lie in memory, would otherwise depend on the way that it took, and with it the last bit of a matrix product.
    """

    name: str
    data: bytes

    def __sizeof__(self) -> int:
        """Bytes, for Dask."""
        return len(self.data)

    @property
    def value(self) -> Any:
        """The value."""
        with _making:
            if self.name not in _made:
                while len(_made) >= REMEMBERED:
                    _made.pop(next(iter(_made)))
                _made[self.name] = pickle.loads(self.data)
            return _made[self.name]


_making = threading.Lock()
_made: dict[str, Any] = {}


def _guarded(fn: Callable[..., Any], part: Any, shared: _Shared, *own: Any) -> Any:
    """The result, or the error of emix that stands in its place; with one thread for BLAS, as the bits depend on it."""
    if isinstance(part, EmixError):
        return part
    try:
        with blas_limited():
            return fn(part, shared.value, *own)
    except EmixError as error:
        return error


def _merged(merge: Callable[[Sequence[Any]], Any], *parts: Any) -> Any:
    return next((part for part in parts if isinstance(part, EmixError)), None) or merge(parts)


def kept(parts: Sequence[Any]) -> tuple[Any, ...]:
    """The parts, held where they are computed."""
    import dask

    with _said():
        return tuple(dask.persist(*parts))


def computed(parts: Sequence[Any]) -> list[Any]:
    """What the parts come to.

    Raises
    ------
    EmixError
        The first that a part met.
    ClusterError
        The cluster is lost, or a partition kills its workers.
    """
    import dask

    with _said():
        found = list(dask.compute(*parts))
    for one in found:
        if isinstance(one, EmixError):
            raise one
    return found


def readable_by_dask(parts: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """What the results come to, which are the first that ask for the user's own partitions.

    Raises
    ------
    DataError
        One of the partitions fails: it is named.
    """
    try:
        return computed(results)
    except (EmixError, KeyboardInterrupt):
        raise
    except Exception:  # whatever the user's own partition raised: raised again below, by name where one fails alone
        for number, one in enumerate(each(_nothing, parts)):
            try:
                computed([one])
            except EmixError:
                raise
            except Exception as own:
                detail = f"{type(own).__name__}: {_first_line(own)}"
                raise DataError.failed_partition(number, n_partitions=len(parts), detail=detail) from own
        raise


def _nothing(part: Any, _: None) -> None:
    """Of a partition, once it is there."""


@contextmanager
def _said() -> Iterator[None]:
    """What Dask raises where a cluster fails, in words; with one thread for BLAS where it computes in this process."""
    try:
        with blas_limited():  # here, too, as threads of Dask may not be allowed to limit it for all
            yield
    except Exception as error:
        lacks_emix = isinstance(error, ModuleNotFoundError) and error.name == "emix"
        if not lacks_emix and (type(error).__name__ not in LOST or "distributed" not in type(error).__module__):
            raise
        raise ClusterError.lost(detail=_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

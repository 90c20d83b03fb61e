"""AWS X-Ray: each call of a port is a subsegment of the segment that Lambda keeps for an invocation, e.g. ``Table.get``.

    table = traced(DynamoTable(name), "Table")

A subsegment says how long a call took, how many things it was asked for and found, and the kind of exception that it raised:
``error`` for those which the port promises, ``fault`` for all others. No key, value, URL or message goes to X-Ray.

Lambda decides which invocations are sampled and says so in its environment, anew for each; of any other invocation nothing
is recorded, and a call costs one look at the environment. There the SDK's import builds no client of AWS (it does elsewhere,
for sampling rules that Lambda already applied) and costs some 20 ms beside what the program imports anyway.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from types import GeneratorType, TracebackType
from typing import Any, TypeAlias, TypeVar, cast

from chalicelib.registry import ports

Port = TypeVar("Port")

_ON_LAMBDA = "LAMBDA_TASK_ROOT"
_HEADER = "_X_AMZN_TRACE_ID"
_SAMPLED = "Sampled=1"
_Recorder: TypeAlias = Any  # the SDK has no types
_Entity: TypeAlias = Any


def traced(port: Port, name: str) -> Port:
    """The port with its calls recorded under ``name``; anywhere but on Lambda, where no segment is open, the port itself."""
    if _ON_LAMBDA not in os.environ:
        return port
    from aws_xray_sdk.core import xray_recorder  # type: ignore[import-untyped]

    return cast(Port, _Traced(port, name, xray_recorder))


class _Traced:
    """Stands in front of a port. A method is wrapped when it is first asked for; what is private or no method passes."""

    def __init__(self, port: object, name: str, recorder: _Recorder) -> None:
        self._port = port
        self._name = name
        self._recorder = recorder

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401  # whatever the port has
        found = getattr(self._port, attribute)
        if attribute.startswith("_") or not callable(found):
            return found
        method = _recorded(found, f"{self._name}.{attribute}", self._recorder)
        vars(self)[attribute] = method
        return method


def _recorded(method: Callable[..., Any], name: str, recorder: _Recorder) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # whatever the method takes and returns
        if _SAMPLED not in os.environ.get(_HEADER, ""):
            return method(*arguments, **named)
        with _Subsegment(recorder, name) as subsegment:
            asked = subsegment.count("asked", *arguments, *named.values())
            result = method(*arguments, **named)
            if not isinstance(result, GeneratorType):
                # a mapping holds what was found if several were asked for, else the attributes of one
                subsegment.count("found", list(result) if asked and isinstance(result, dict) else result)
                return result
            subsegment.drop()
        return _iterated(result, name, recorder)

    return call


def _iterated(found: Generator[object, None, None], name: str, recorder: _Recorder) -> Iterator[object]:
    """The same, recorded when the caller is done with it: other calls happen meanwhile, and they are not part of this one."""
    segment, began, count = _open_segment(recorder), time.time(), 0
    failure: BaseException | None = None
    try:
        with closing(found):
            for each in found:
                count += 1
                yield each
    except Exception as error:
        failure = error
        raise
    finally:
        if segment is not None and segment is _open_segment(recorder):  # it may be dropped long after its invocation
            with _Subsegment(recorder, name, began) as subsegment:
                subsegment.annotate("found", count)
                subsegment.judge(failure)


def _open_segment(recorder: _Recorder) -> _Entity:
    with suppress(Exception):
        return recorder.current_segment()
    return None


class _Subsegment:
    """One subsegment, from entering to leaving. Whatever the SDK raises is swallowed here: no trace is worth a request."""

    def __init__(self, recorder: _Recorder, name: str, began: float | None = None) -> None:
        self._recorder = recorder
        self._name = name
        self._began = began
        self._entity: _Entity = None

    def __enter__(self) -> _Subsegment:
        with suppress(Exception):
            self._entity = self._recorder.begin_subsegment(self._name)
            if self._entity is not None and self._began is not None:
                self._entity.start_time = self._began
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._entity is None:
            return
        self.judge(error)
        with suppress(Exception):
            self._recorder.end_subsegment()

    def drop(self) -> None:
        """Send nothing of it."""
        if self._entity is not None:
            self._entity.sampled = False

    def count(self, key: str, *values: object) -> bool:
        """Annotate how many things the first list or tuple among the values holds; whether there is any. A named tuple, as a
        ``Key`` is, counts as one thing and not here."""
        sizes = [len(value) for value in values if type(value) in (list, tuple)]  # type: ignore[arg-type]
        if sizes:
            self.annotate(key, sizes[0])
        return bool(sizes)

    def annotate(self, key: str, value: str | int) -> None:
        with suppress(Exception):
            self._entity.put_annotation(key, value)

    def judge(self, error: BaseException | None) -> None:
        """Flag an exception by its kind. The SDK's own way would send its message, which may hold a key."""
        if error is None:
            return
        self.annotate("exception", type(error).__name__)
        with suppress(Exception):
            if isinstance(error, ValueError) or type(error).__module__ == ports.__name__:
                self._entity.add_error_flag()
            else:
                self._entity.add_fault_flag()

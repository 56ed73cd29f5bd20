"""Nurseries inside a public block are its own affair: what comes out of it alone comes out as itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["raises_lone_errors"]

Parameters = ParamSpec("Parameters")
Opened = TypeVar("Opened")


def raises_lone_errors(
    open_block: Callable[Parameters, AbstractAsyncContextManager[Opened]],
) -> Callable[Parameters, AbstractAsyncContextManager[Opened]]:
    """Let an error that leaves the block alone leave it as it was raised, without a group around it for each nursery.

    Where several went wrong together, or the block itself raised a group, it is one group, without those around it.

    Args:
        open_block: makes an async context manager that has nurseries inside.
    """

    @wraps(open_block)
    @asynccontextmanager
    async def opened(*args: Parameters.args, **kwargs: Parameters.kwargs) -> AsyncGenerator[Opened]:
        inside: BaseException | None = None
        lone: BaseException
        try:
            async with open_block(*args, **kwargs) as value:
                try:
                    yield value
                except BaseException as error:
                    inside = error
                    raise
            return
        except BaseExceptionGroup as group:
            lone = _peeled(group, to_a_group=isinstance(inside, BaseExceptionGroup))
            if lone is group:
                raise
        # Not from within `except`: the group would become its context, and the two would keep each other alive.
        try:
            raise lone
        finally:
            del lone, inside

    return opened


def _peeled(group: BaseException, *, to_a_group: bool) -> BaseException:
    """What is in a group in a group that has nothing else; if wanted, no further than to the innermost group."""
    error = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        (only,) = error.exceptions
        if to_a_group and not isinstance(only, BaseExceptionGroup):
            break
        error = only
    return error

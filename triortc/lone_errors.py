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

    Where several went wrong together, or the block itself raised a group, a group it stays.

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
            lone = group if isinstance(inside, BaseExceptionGroup) else _lone(group)
            if lone is group:
                raise
        # Not from within `except`: the group would become its context, and the two would keep each other alive.
        try:
            raise lone
        finally:
            del lone, inside

    return opened


def _lone(group: BaseException) -> BaseException:
    """What is alone in a group in a group; the group itself, if there are several."""
    error = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return group if isinstance(error, BaseExceptionGroup) else error

"""The whole engine in one `async with`, for servers that embed it: media, call control, signaling, HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from inspect import iscoroutinefunction

from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.event_log_files import EventLogConfiguration, open_event_log_files
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import open_leg_manager
from triortc.engine.calls.ports import HistoryPort, PushPort, RecordingPolicyPort, RouterPort
from triortc.engine.calls.store import StateStore
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.worker_pool import open_worker_pool
from triortc.errors import ConfigurationError
from triortc.lone_errors import raises_lone_errors
from triortc.signaling.app import OpenMedia, RunningServer, ServerConfiguration, open_server
from triortc.signaling.embedding import Engine
from triortc.signaling.webhooks import WebhookConfiguration, WebhookSender, open_webhook_sender

__all__ = ["Engine", "EngineConfiguration", "open_engine"]


@dataclass(frozen=True, slots=True)
class EngineConfiguration:
    """What an engine is made of.

    Attributes:
        server: where it listens, whose tokens it takes, the numbers of signaling and of call control.
        media: where media is received, what legs may negotiate, the slate, where recordings go.
        workers: media processes beside this one; by default there is none, and media runs in this process.
        event_logs: where the event log of every session is written, for `triortc replay`; None: nowhere.
        webhooks: who is told of calls by HTTP; None: nobody.

    Raises:
        ConfigurationError: calls are to be recorded and there is no directory for it, or a part is of another kind.
    """

    server: ServerConfiguration
    media: MediaConfiguration = field(default_factory=MediaConfiguration)
    workers: WorkerConfiguration = field(default_factory=WorkerConfiguration)
    event_logs: EventLogConfiguration | None = None
    webhooks: WebhookConfiguration | None = None

    def __post_init__(self) -> None:
        require_kinds(self)
        kinds = {"server": ServerConfiguration, "media": MediaConfiguration, "workers": WorkerConfiguration}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                given = type(getattr(self, name)).__name__
                raise ConfigurationError(f"EngineConfiguration.{name} is a {kind.__name__}, not {given}")
        if self.server.calls.recording != "off" and self.media.recording.directory is None:
            raise ConfigurationError(
                "calls.recording is on and nothing says where to: set MediaConfiguration.recording.directory"
            )


def _open_media(configuration: EngineConfiguration) -> OpenMedia:
    if configuration.workers.count:
        return partial(open_worker_pool, configuration.media, configuration.workers)
    return partial(open_leg_manager, configuration.media)


@raises_lone_errors
@asynccontextmanager
async def open_engine(
    configuration: EngineConfiguration,
    *,
    router: RouterPort | None = None,
    history: HistoryPort | None = None,
    recording_policy: RecordingPolicyPort | None = None,
    push: PushPort | None = None,
    store: StateStore | None = None,
) -> AsyncGenerator[Engine]:
    """Serve calls until the block is left; then calls end, devices are told, and every socket and task is gone.

    Arguments:
        configuration: see :class:`EngineConfiguration`.
        router: orders the agents that may be rung; None: the longest idle one first.
        history: keeps the records of ended calls; None: memory.
        recording_policy: may refuse recordings; None: what the configuration allows.
        push: gateways of your own; None: those of `configuration.server.push`.
        store: keeps what must outlive the process, for example `SqliteStore(Path("state"))`; None: memory.

    Raises:
        ConfigurationError: a value makes no sense; the message says what to do.
        OSError: an address or port cannot be bound.
        StoreError: the store cannot be opened or read; the message says what to do.
    """
    if not isinstance(configuration, EngineConfiguration):
        raise ConfigurationError(
            f"open_engine takes an EngineConfiguration, not {type(configuration).__name__}: "
            "EngineConfiguration(server=ServerConfiguration(…))"
        )
    ports = (("router", router, "order"), ("history", history, "append_invitation"), ("store", store, "open"))
    for argument, port, method in ports:
        if port is None:
            continue
        if iscoroutinefunction(getattr(port, method, None)):
            raise ConfigurationError(f"{argument}: {method} is async, and nobody waits for it: return at once")
        if not callable(getattr(port, method, None)):
            raise ConfigurationError(f"{argument}: {type(port).__name__} has no method {method!r} (docs/embedding.md)")
    async with AsyncExitStack() as stack:
        event_log = None
        if configuration.event_logs is not None:
            event_log = await stack.enter_async_context(open_event_log_files(configuration.event_logs))
        webhooks: WebhookSender | None = None

        @asynccontextmanager
        async def open_outbox(store: StateStore) -> AsyncGenerator[WebhookSender | None]:
            nonlocal webhooks
            if configuration.webhooks is None:
                yield None
                return
            async with open_webhook_sender(configuration.webhooks, store=store) as webhooks:
                yield webhooks

        opened = open_server(
            configuration.server,
            open_media=_open_media(configuration),
            router=router,
            history=history,
            recording_policy=recording_policy,
            quality=configuration.media.quality,
            push=push,
            store=store,
            event_log=event_log,
            open_outbox=open_outbox,
            further_health=lambda: {} if webhooks is None else {"webhooks": webhooks.health()},
        )
        server = await stack.enter_async_context(opened)
        yield Engine(**{item.name: getattr(server, item.name) for item in fields(RunningServer)})

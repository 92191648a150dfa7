"""A client and a server that talk over a loopback socket."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from adapters.client import AgencyClient
from adapters.limits import Breaker
from adapters.manifest import Limits
from consent.keys import FileKeyStore
from tests.adapters.loopback import LIMITS, Connect, Respond, Server, client_for, serving


@pytest.fixture
async def agency(key_store: FileKeyStore) -> AsyncIterator[Connect]:
    """Makes a client and the server that it talks to."""
    async with AsyncExitStack() as stack:

        async def connect(
            respond: Respond, *, limits: Limits = LIMITS, breaker: Breaker | None = None
        ) -> tuple[AgencyClient, Server]:
            server = await stack.enter_async_context(serving(respond))
            client = client_for(server.endpoint, key_store, limits=limits, breaker=breaker)
            stack.push_async_callback(client.aclose)
            return client, server

        yield connect

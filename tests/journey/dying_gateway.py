"""`onestop`, but its gateway is killed between the commit of a marked request and the request's answer.

A request is marked by an idempotency key that begins with `fatal`. When its answer is about to leave the
application, all of its work has committed and no byte of the answer was written.
"""

import os
import signal
from typing import Any

from gateway import app
from gateway.cli import main

create_app = app.create_app


def create_dying_app(settings: Any) -> Any:
    """The gateway's own application behind a wrapper that does not let marked answers out."""
    made = create_app(settings)
    handler = made.asgi_handler

    async def dying(scope: Any, receive: Any, send: Any) -> None:
        marked = any(
            name == b"idempotency-key" and value.startswith(b"fatal")
            for name, value in scope.get("headers", ())
        )

        async def die(message: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        await handler(scope, receive, die if marked else send)

    made.asgi_handler = dying
    return made


if __name__ == "__main__":
    app.create_app = create_dying_app
    main(prog_name="onestop")

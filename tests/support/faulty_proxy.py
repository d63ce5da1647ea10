"""A proxy before a real tracking server that can answer with faults."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import requests

HANG = 3.0


class FaultyProxy:
    """Hands requests on to ``target``, or does what ``fault`` says.

    Attributes:
        fault: None, a status such as ``503``, ``reset`` (the connection breaks before the server has seen anything),
            ``lost answer`` (it breaks after the server has done what it was asked), or ``hang`` (no answer for
            :data:`HANG` seconds).
        at: The number of the one request that meets it, from 0 on; None: all do.
        about: Only requests with this text in their address or content meet it.
        requests: Method and path of each request since :meth:`restart`.
        faults: How many requests met a fault.
    """

    def __init__(self, target: str) -> None:
        self.fault: int | str | None = None
        self.at: int | None = None
        self.about = ""
        self.requests: list[str] = []
        self.faults = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.requests.append(f"{self.command} {self.path.partition('?')[0]}")
                meets = proxy.at is None or proxy.at == len(proxy.requests) - 1
                meets = meets and proxy.about in f"{self.path} {body.decode(errors='replace')}"
                fault = proxy.fault if meets else None
                if fault == "hang":
                    proxy.faults += 1
                    time.sleep(HANG)
                    self.reset()
                    return
                if isinstance(fault, int):
                    proxy.faults += 1
                    self.send_error(fault)
                    return
                if fault == "reset":
                    proxy.faults += 1
                    self.reset()
                    return
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                answer = requests.request(self.command, f"{target}{self.path}", data=body, headers=headers, timeout=60)
                if fault == "lost answer":
                    proxy.faults += 1
                    self.reset()
                    return
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def reset(self) -> None:
                self.close_connection = True
                # Closing without lingering sends a reset, as a crashed machine's successor does.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def finish(self) -> None:
                with suppress(OSError, ValueError):  # it was reset
                    super().finish()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def restart(self, fault: int | str | None, at: int | None = None, about: str = "") -> None:
        """Count requests from 0 again, with another fault."""
        self.requests, self.faults, self.fault, self.at, self.about = [], 0, fault, at, about


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """A proxy that runs inside the block."""
    proxy = FaultyProxy(target)
    Thread(target=proxy.server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()

"""Proxies that the environment names (HTTP_PROXY and the like), as requests takes them, and so MLflow."""

import os
from urllib.parse import urlsplit
from urllib.request import getproxies

from requests.utils import get_environ_proxies, select_proxy

from tp1.store.addresses import masked

LOCAL = ("localhost", "127.0.0.1", "::1")
# A server's own refusals, which a proxy has only handed on: MLflow's answers, as text or as JSON.
OF_SERVER = ("Permission denied", "PERMISSION_DENIED", "Invalid Host header", '"error_code"')


def reach_local_hosts() -> None:
    """Have this machine's own addresses asked without a proxy, which would look for them on its own machine."""
    names = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if not getproxies() or names.strip() == "*":
        return
    known = [name.strip() for name in names.split(",") if name.strip()]
    missing = [host for host in LOCAL if host not in known]
    if missing:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join([*known, *missing])


def proxy_fault(uri: str, what: str, answer: str = "") -> str:
    """Explain in one line that a proxy is in the way of a server; empty without a proxy, or if the server has answered.

    Args:
        uri: The server's URI.
        what: What the proxy does, such as ``answers 502 Bad Gateway``.
        answer: Text of the answer, if there is one.
    """
    proxy = select_proxy(uri, get_environ_proxies(uri))
    if not proxy or any(words in answer for words in OF_SERVER):
        return ""
    shown = masked(proxy if "://" in proxy else f"http://{proxy}").rstrip("/")
    server, variables = urlsplit(uri), [name for name, value in os.environ.items() if value == proxy]
    named = [name for name in variables if name.lower() in (f"{server.scheme}_proxy", "all_proxy")]
    name = named[0] if named else "the system's proxy setting"
    return (
        f"the tracking server at {masked(uri)} is asked through the proxy {shown} ({name}), which {what}: correct "
        f"{name}, or, to ask the server without a proxy, add {server.hostname} to NO_PROXY."
    )

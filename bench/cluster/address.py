"""The job server of a Ray cluster: its address, its token, and whether it answers.

Everything that can be wrong here is found out with plain HTTP before Ray is asked, since Ray waits for
minutes and logs warnings where one sentence would do.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.contract import BenchError

#: Where Ray looks for the address of a job server.
VARIABLE = "RAY_API_SERVER_ADDRESS"
#: The port of a head's dashboard and job server, of its client server, and of what `bench run` connects to.
JOBS_PORT, CLIENT_PORT, GCS_PORT = 8265, 10001, 6379
#: Seconds in which a job server has to answer.
WITHIN_S = 10.0
_REACH = "`ray dashboard FILE` or `kubectl port-forward` make it reachable from here"


@dataclass(frozen=True, slots=True)
class Server:
    """A job server that answered: its URL, the version of Ray there, the token to send ("": none), and
    whether it asks for one (None: it does not say).
    """

    url: str
    ray: str
    token: str
    asks: bool | None


def server_url(given: str | None) -> str:
    """The URL of a job server, from ``--address`` or the environment.

    Raises:
        BenchError: none is named, or it is the address of something else.
    """
    named = given or os.environ.get(VARIABLE, "")
    if not named:
        raise BenchError(f"name the cluster with --address http://HEAD:{JOBS_PORT} (or set {VARIABLE})")
    address = f"http://127.0.0.1:{JOBS_PORT}" if named == "auto" else named
    parts = urlsplit(address if "://" in address else f"http://{address}")
    host = parts.hostname or "HEAD"
    if parts.scheme == "ray":
        raise BenchError(
            f"--address {named}: that is a server for Ray's client, through which no sweep runs; "
            f"use launch with http://{host}:{JOBS_PORT}"
        )
    if parts.scheme not in ("http", "https"):
        raise BenchError(f"--address {named}: expected http://HEAD:{JOBS_PORT}, the head's job server")
    try:
        port = parts.port
    except ValueError as e:
        raise BenchError(f"--address {named}: {e}") from e
    if port == GCS_PORT:
        raise BenchError(
            f"--address {named}: port {GCS_PORT} is what `bench run` connects to on the cluster itself; "
            f"jobs are sent to http://{host}:{JOBS_PORT}"
        )
    if parts.username or parts.password:
        raise BenchError(f"--address: a password has no place in it; {_tokens()}")
    at = f"[{host}]" if ":" in host else host
    default = f":{JOBS_PORT}" if port is None and parts.scheme == "http" else f":{port}" if port else ""
    return f"{parts.scheme}://{at}{default}{parts.path.rstrip('/')}"


def check_run_address(address: str | None) -> str:
    """Raise `BenchError` for an address, of ``bench run``, that it cannot connect to; else return where
    something listens, "" if there is nothing to try.
    """
    named = address or os.environ.get("RAY_ADDRESS") or ""
    scheme, _, rest = named.partition("://")
    host = rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0] or "HEAD"
    if scheme in ("http", "https") and rest:
        raise BenchError(
            f"--address {named}: that is a job server, to which sweeps are sent by bench launch --address "
            f"{named}"
        )
    if scheme == "ray" and rest:
        raise BenchError(
            f"--address {named}: that is a server for Ray's client, through which no sweep runs; "
            f"use launch with http://{host}:{JOBS_PORT}"
        )
    if named in ("", "auto", "local") or ":" not in named:
        return ""
    host, _, port = named.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=WITHIN_S):
            return named
    except (OSError, ValueError) as e:
        why = "no answer" if isinstance(e, TimeoutError) else getattr(e, "strerror", None) or str(e)
        raise BenchError(
            f"nothing listens at {named} ({why}); a head that was started by `ray start --head` says its "
            f"address, mostly HEAD:{GCS_PORT}"
        ) from e


def token() -> str:
    """The token of this user, where Ray looks for it; "" if there is none.

    Raises:
        BenchError: a file is named for it that cannot be read.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return ""
    if given := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return given
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as e:
        if named:
            raise BenchError(f"RAY_AUTH_TOKEN_PATH={named}: {e.strerror}") from e
        return ""


def probe(address: str | None) -> Server:
    """Ask a job server whether it is there and takes our token.

    Raises:
        BenchError: nothing answers within `WITHIN_S`, something else does, or the token is missing or wrong.
    """
    url, own = server_url(address), token()
    sent = {"Authorization": f"Bearer {own}"} if own else {}
    code, body = _get(f"{url}/api/version", sent)
    if code == 401:
        raise BenchError(f"{url} asks for a token and none was sent: {_tokens()}")
    if code == 403:
        raise BenchError(f"{url} does not take this token: it is that of another cluster; {_tokens()}")
    try:
        version = str(json.loads(body)["ray_version"])
    except (ValueError, KeyError, TypeError):
        raise BenchError(
            f"{url} answers (status {code}), but not as Ray's job server does; expected the head's "
            f"dashboard, mostly port {JOBS_PORT}"
        ) from None
    code, body = _get(f"{url}/api/authentication_mode", {})
    try:
        asks = json.loads(body)["authentication_mode"] != "disabled" if code == 200 else None
    except (ValueError, KeyError, TypeError):
        asks = None
    return Server(url, version, own if asks is not False else "", asks)


def _tokens() -> str:
    return "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, or put the cluster's token into ~/.ray/auth_token"


def _get(url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body of a GET; `BenchError` if nothing answers in time."""
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, headers=dict(headers))
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return int(answer.status), answer.read(1 << 20)
    except urllib.error.HTTPError as e:
        return e.code, e.read(1 << 20)
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", e)
        slow = isinstance(reason, TimeoutError)
        why = f"no answer in {WITHIN_S:g} s" if slow else getattr(reason, "strerror", None) or str(reason)
        at = urlsplit(url)
        raise BenchError(
            f"nothing listens at {at.scheme}://{at.netloc} ({why}); expected a Ray head's dashboard, mostly "
            f"port {JOBS_PORT}: {_REACH}"
        ) from e

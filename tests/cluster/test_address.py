"""The address and the token of a job server, and what is said where one of them is wrong."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.cluster import address
from bench.cluster.address import check_run_address, probe, server_url, token
from bench.contract import BenchError


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user without token, and an environment that names no cluster."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", address.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://head:8265", "http://head:8265"),
        ("http://head", "http://head:8265"),
        ("head", "http://head:8265"),
        ("head:9000/", "http://head:9000"),
        ("https://cluster.example/ray/", "https://cluster.example/ray"),
        ("http://[::1]:8265", "http://[::1]:8265"),
        ("auto", "http://127.0.0.1:8265"),
    ],
)
def test_an_address_is_read(given, url, monkeypatch):
    assert server_url(given) == url
    monkeypatch.setenv(address.VARIABLE, given)
    assert server_url(None) == url


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "name the cluster with --address http://HEAD:8265"),
        ("ray://head:10001", "use launch with http://head:8265"),
        ("head:6379", "jobs are sent to http://head:8265"),
        ("s3://head", "expected http://HEAD:8265"),
        ("http://me:secret@head:8265", "a password has no place in it"),
        ("http://head:port", "--address http://head:port: "),
    ],
)
def test_another_address_is_told(given, said):
    with pytest.raises(BenchError) as e:
        server_url(given)
    assert said in str(e.value)
    assert "secret" not in str(e.value)


def test_what_run_cannot_connect_to_is_told(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for given, said in (
        ("http://head:8265", "bench launch --address http://head:8265"),
        ("ray://head:10001", "use launch with http://head:8265"),
        (f"127.0.0.1:{port}", f"nothing listens at 127.0.0.1:{port}"),
    ):
        with pytest.raises(BenchError) as e:
            check_run_address(given)
        assert said in str(e.value)
        monkeypatch.setenv("RAY_ADDRESS", given)
        with pytest.raises(BenchError):
            check_run_address(None)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        check_run_address(f"127.0.0.1:{listening.getsockname()[1]}")
    for given in ("auto", "local", ""):
        monkeypatch.setenv("RAY_ADDRESS", "")
        check_run_address(given)


def test_the_token_is_where_ray_looks_for_it(nobody, monkeypatch):
    assert token() == ""
    (nobody / ".ray").mkdir()
    (nobody / ".ray" / "auth_token").write_text("from home\n")
    assert token() == "from home"
    (nobody / "other").write_text("from a file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(nobody / "other"))
    assert token() == "from a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert token() == "given"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token() == ""
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(nobody / "nowhere"))
    with pytest.raises(BenchError, match="RAY_AUTH_TOKEN_PATH"):
        token()


@contextmanager
def serving(wanted, answers):
    """A server that answers as a head does which asks for the token ``wanted`` (None: for none)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            code, body = 200, answers.get(self.path)
            if wanted is not None and self.path != "/api/authentication_mode":
                sent = self.headers.get("Authorization")
                code = 401 if sent is None else 403 if sent != f"Bearer {wanted}" else 200
            self.send_response(code if body is not None else 404)
            self.end_headers()
            self.wfile.write((body or "nothing here").encode())

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def ray_like(mode):
    return {
        "/api/version": json.dumps({"ray_version": "2.60.0"}),
        "/api/authentication_mode": json.dumps({"authentication_mode": mode}),
    }


def test_a_server_with_the_right_token_answers(monkeypatch):
    with serving("right", ray_like("token")) as url:
        for name, said in (("", "asks for a token and none was sent"), ("wrong", "does not take this token")):
            monkeypatch.setenv("RAY_AUTH_TOKEN", name)
            with pytest.raises(BenchError, match=said):
                probe(url)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
        server = probe(url)
    assert (server.ray, server.token, server.asks, server.url) == ("2.60.0", "right", True, url)


def test_a_server_that_asks_for_nothing_is_told_apart_and_gets_no_token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with serving(None, ray_like("disabled")) as url:
        server = probe(url)
    assert (server.token, server.asks) == ("", False)


def test_what_is_no_job_server_is_told(monkeypatch):
    with serving(None, {}) as url, pytest.raises(BenchError, match="not as Ray's job server does"):
        probe(url)
    with pytest.raises(BenchError, match=f"nothing listens at {url}"):
        probe(url)
    monkeypatch.setattr(address, "WITHIN_S", 0.05)
    # One that takes the connection and says nothing.
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(BenchError, match=r"no answer in 0\.05 s"):
        probe(f"127.0.0.1:{silent.getsockname()[1]}")

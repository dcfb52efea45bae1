"""A stand-in for a W&B server on this machine: the protocol that a run needs, and how it fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["none", "hang", "401", "500", "garbage", "close"]
KEY = "local-" + "0" * 40  # of the form that the client asks for
HANG = 60.0  # seconds without an answer, longer than any test waits


class WandbServer(ThreadingHTTPServer):
    """Answer as W&B does, and keep what was sent. `fault` is how the next requests fail.

    `starts` are the settings of each run that was begun; `history` and `files` are by run. `sweep`: settings
    of the runs that an agent is still to start, by `sweep_command`.
    """

    daemon_threads = True

    def __init__(self, fault: Fault, *, after_start: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault: Fault = "none" if after_start else fault
        self.later = fault
        self.released = threading.Event()
        self.starts: list[dict[str, Any]] = []
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.sweep: list[dict[str, Any]] = []
        self.sweep_command: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that give up are what these tests are about."""


@contextmanager
def wandb_server(fault: Fault = "none", *, after_start: bool = False) -> Iterator[WandbServer]:
    """Serve until the block ends. With `after_start` the fault begins once a run was begun."""
    server = WandbServer(fault, after_start=after_start)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(lambda _: {})

    def do_POST(self) -> None:
        self._answer(self._graphql if self.path == "/graphql" else self._file_stream)

    def do_PUT(self) -> None:
        self._answer(self._upload)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, action: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault
        if fault == "hang":
            self.server.released.wait(HANG)
        if fault in ("hang", "close"):
            self.close_connection = True
            return
        if fault in ("401", "500"):
            self._send(int(fault), b'{"errors": [{"message": "no"}]}')
        else:
            self._send(200, b"<html>\x00" if fault == "garbage" else json.dumps(action(body)).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _graphql(self, body: bytes) -> dict[str, Any]:
        asked = json.loads(body)
        query, given = asked["query"], asked.get("variables") or {}
        if "upsertBucket" in query:
            return {"data": {"upsertBucket": self._begin(given)}}
        if "createRunFiles" in query:
            urls = [
                {"name": name, "uploadUrl": f"{self.server.url}/up/{given['run']}/{name}"}
                for name in given["files"]
            ]
            return {"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": urls}}}
        if "createAgent" in query:
            return {"data": {"createAgent": {"agent": {"id": "agent"}}}}
        if "agentHeartbeat" in query:
            return {"data": {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": self._command(given)}}}
        if "SweepWithRuns" in query:
            sweep = {"id": "s", "name": "sweep", "config": json.dumps({"command": self.server.sweep_command})}
            return {"data": {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}}
        if "viewer" in query:
            return {"data": {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}"}}}
        if "createArtifact" in query:
            kept = {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}
            return {"data": {"createArtifact": {"artifact": kept}}}
        return {"data": {"project": None, "model": None, "serverInfo": {"features": []}}}

    def _command(self, given: dict[str, Any]) -> str:
        """Tell a sweep's agent what is next: nothing while a run of it goes on, a run, the end."""
        if any(json.loads(given.get("runState") or "{}").values()):
            return "[]"
        if not self.server.sweep:
            return json.dumps([{"type": "exit"}])
        settings = {name: {"value": value} for name, value in self.server.sweep.pop(0).items()}
        run = f"swept{len(self.server.sweep)}"
        return json.dumps([{"type": "run", "run_id": run, "args": settings, "program": "none"}])

    def _begin(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["name"]
        self.server.starts.append(given)
        self.server.history.setdefault(name, [])
        self.server.files.setdefault(name, {})
        self.server.fault = self.server.later
        project = {"id": "p", "name": given.get("project") or "p", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": name, "displayName": name, "config": "{}", "project": project}
        return {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}

    def _file_stream(self, body: bytes) -> dict[str, Any]:
        run = self.path.split("/")[-2]
        lines = json.loads(body).get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        self.server.history[run] += [json.loads(line) for line in lines]
        return {}

    def _upload(self, body: bytes) -> dict[str, Any]:
        _, _, run, name = self.path.split("/", 3)
        self.server.files[run][name] = body
        return {}

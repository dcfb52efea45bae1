"""Headless Chromium over its DevTools protocol: what a page did, what it says, what it looks like."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "google-chrome", "chromium-browser")
BINARY = next((b for name in NAMES if (b := shutil.which(name))), None)


class Page:
    """One tab. `errors`: console errors and exceptions; `requests`: every URL that was asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.ids = socket, itertools.count(1)
        self.errors: list[str] = []
        self.requests: list[str] = []

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.ids)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json(timeout=60)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])

    async def value(self, expression: str) -> Any:
        """A JavaScript expression's value; promises are awaited."""
        how = {"returnByValue": True, "awaitPromise": True}
        done = await self.send("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def until(self, expression: str, *, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not await self.value(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}; {self.errors}"
            await asyncio.sleep(0.1)

    async def size(self, width: int, height: int) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    async def theme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path) -> None:
        shot = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


def visit(page_file: Path, do: Any, *, width: int = 1280, height: int = 900, theme: str = "light") -> Any:
    """Open a file and run `await do(page)`; Chromium ends with it."""
    assert BINARY is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless=new",
            "--disable-gpu",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
        ]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [BINARY, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return asyncio.run(_visit(page_file, do, _port(Path(profile), process), width, height, theme))
        finally:
            process.terminate()
            process.wait(timeout=20)


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    file, end = profile / "DevToolsActivePort", time.monotonic() + 60
    while not (file.exists() and file.read_text().strip()):
        assert process.poll() is None and time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])


async def _visit(page_file: Path, do: Any, port: int, width: int, height: int, theme: str) -> Any:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            tab = next(t for t in await answer.json() if t["type"] == "page")
        async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Network", "Log"):
                await page.send(f"{domain}.enable")
            await page.size(width, height)
            await page.theme(theme)
            await page.send("Page.navigate", url=page_file.resolve().as_uri())
            await page.until("document.readyState === 'complete'")
            return await do(page)

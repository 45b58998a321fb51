"""A real browser for tests of pages: headless Chromium over the Chrome DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/ says what each command and event means.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
_KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), " ": ("Space", 32, " "), "Escape": ("Escape", 27, "")}


class Browser:
    """A running Chromium. Its pages share nothing: each has storage of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._pages: dict[str, Page] = {}

    def page(self, width: int = 1280, height: int = 900) -> Page:
        """A new page."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log", "Performance"):
            page.call(f"{domain}.enable")
        page.emulate(width, height)
        return page

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a command; what happened meanwhile is told to the pages.

        Raises:
            AssertionError: the browser refuses it.
        """
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("sessionId") in self._pages:
                self._pages[answer["sessionId"]].hear(answer["method"], answer["params"])


class Page:
    """A tab.

    Attributes:
        errors: uncaught exceptions, errors on the console, what the content's policy forbids; one line each.
        failed: the address of every request that was refused or broke off.
        requests: the address of every request, in order.
        weight: bytes of the bodies that came, by address.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.errors: list[str] = []
        self.failed: list[str] = []
        self.requests: list[str] = []
        self.weight: dict[str, int] = {}
        self._urls: dict[str, str] = {}

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        return self._browser.call(method, self._session, **params)

    def hear(self, method: str, params: dict[str, Any]) -> None:
        """Note an event."""
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            if entry["source"] == "network":
                self.failed.append(entry.get("url", ""))
            else:
                self.errors.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
            self._urls[params["requestId"]] = params["request"]["url"]
        elif method == "Network.dataReceived":
            url = self._urls.get(params["requestId"], "")
            self.weight[url] = self.weight.get(url, 0) + params["dataLength"]

    def goto(self, url: str) -> None:
        """Load an address; an address that differs in its fragment alone loads nothing."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load it again."""
        self.evaluate("void (window.isOld = true)")
        self.call("Page.reload")
        self.wait("!window.isOld && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise.

        Raises:
            AssertionError: it throws.
        """
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        details = done.get("exceptionDetails", {})
        assert not details, details.get("exception", {}).get("description") or details["text"]
        return done["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> Any:
        """The first true value of the expression."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}; errors: {self.errors}"
            time.sleep(0.03)
        return value

    def text(self, selector: str) -> str:
        """What is to be read there, once it is there."""
        self.wait(f"!!document.querySelector({json.dumps(selector)})")
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText.trim()"))

    def press(self, key: str) -> None:
        """Press a key: Enter, Tab, Escape or a space."""
        code, number, text = _KEYS[key]
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def emulate(self, width: int, height: int, dark: bool = False, still: bool = False) -> None:
        """The size of the window; whether the system is set to dark colours, and to little motion."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def hide(self, hidden: bool = True) -> None:
        """Minimise the window, which hides the page as another tab before it would; or show it again."""
        window = self.call("Browser.getWindowForTarget")["windowId"]
        self.call(
            "Browser.setWindowBounds", windowId=window, bounds={"windowState": "minimized" if hidden else "normal"}
        )
        self.wait(f"document.hidden === {json.dumps(hidden)}")

    def metrics(self) -> dict[str, float]:
        """Seconds and counts since the page began, such as ScriptDuration, LayoutDuration, RecalcStyleDuration."""
        return {m["name"]: m["value"] for m in self.call("Performance.getMetrics")["metrics"]}

    def screenshot(self, path: Path, full: bool = False) -> None:
        """What is seen now, as PNG; `full`: all of the page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Chromium, with its profile in `folder`."""
    profile = folder / "profile"
    process = subprocess.Popen(
        ["chromium", *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with connect(_address(process, profile / "DevToolsActivePort"), max_size=None, ping_interval=None) as socket:
            yield Browser(socket)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(process: subprocess.Popen[bytes], told: Path) -> str:
    """Where it listens, once it does."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(FileNotFoundError, ValueError):
            port, path = told.read_text(encoding="utf-8").split()
            return f"ws://127.0.0.1:{port}{path}"
        assert process.poll() is None, "chromium ended at once"
        assert time.monotonic() < deadline, "chromium does not come up"
        time.sleep(0.05)

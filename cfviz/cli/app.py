"""`cfviz app`: start the app."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from cfviz.bundled import app

LOCAL = ("localhost", "127.0.0.1", "::1")


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "app", help="start the app", description="Start the app and open it in your browser."
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help="port to listen on (default: 8501, or the next free one)"
    )
    parser.add_argument(
        "--host",
        default="localhost",
        metavar="HOST",
        help="address to listen on; 0.0.0.0 lets others reach the app (default: localhost)",
    )
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.set_defaults(run=_app)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _app(args: argparse.Namespace) -> int:
    """Replace this process with Streamlit's server, with the `.streamlit` settings from beside `app.py`."""
    options = {"server.address": args.host, "server.showEmailPrompt": "false"}
    if args.port:
        options["server.port"] = args.port
    if args.headless:
        options["server.headless"] = "true"
    run = ("-P", "-m", "streamlit", "run", str(app()))  # -P: import no modules from the current folder
    command = [sys.executable, *run, *(f"--{key}={value}" for key, value in options.items())]
    if args.host in LOCAL:  # requests that another site makes the browser send here carry that site's name
        command += [f"--server.allowedHosts={name}" for name in LOCAL]
    # Without this, glibc keeps memory for every thread that the server ever had.
    os.execve(sys.executable, command, {"MALLOC_ARENA_MAX": "2", **os.environ})

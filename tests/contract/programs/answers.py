"""An app for tests: answers, and does or tries on request what its container should or should not allow."""

import json
import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

CONNECT_S = 0.7


def facts() -> dict[str, object]:
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "capabilities": status["CapBnd"].strip() + status["CapEff"].strip(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "writable": [folder for folder in ("/", "/app", "/data", "/tmp", "/etc", "/usr") if writes(folder)],
        "ipv6": Path("/proc/net/if_inet6").read_text() if Path("/proc/net/if_inet6").exists() else "",
        "environment": dict(os.environ),
        "pid": os.getpid(),
    }


def writes(folder: str) -> bool:
    try:
        Path(folder, "written").write_text("yes")
    except OSError:
        return False
    return True


def reaches(host: str, port: int) -> str:
    """Also a refusal says that something is there."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "blocked"
    return "open"


def run(path: str, query: dict[str, str]) -> str:
    if path == "/facts":
        return json.dumps(facts())
    if path == "/reach":
        return reaches(query["host"], int(query["port"]))
    if path == "/say":
        print(query["line"], file=sys.stderr if "error" in query else sys.stdout, flush=True)
    if path == "/exit":
        os._exit(int(query["code"]))
    if path == "/hog":
        return str(len(bytearray(os.urandom(1024)) * (1024 * 1024)))
    return "ok"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/broken":
            self.send_error(503)
            return
        answer = run(url.path, {key: values[0] for key, values in parse_qs(url.query).items()}).encode()
        self.send_response(404 if url.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()

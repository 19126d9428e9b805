"""An endpoint of the Hugging Face Hub on this machine: repositories of small files, in memory."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator

COMMIT = "0" * 39 + "1"


class FakeHub(http.server.BaseHTTPRequestHandler):
    """Makes repositories, takes commits of small files, and gives them back."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, dict[str, bytes]]

    def log_message(self, *unused):
        pass

    def answer(self, body=b"", status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        path = urllib.parse.urlparse(self.path).path.split("/")
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if path[-2:] == ["repos", "create"]:
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.repositories.setdefault(name, {})
            self.answer({"url": f"http://{self.headers['Host']}/{name}"})
        elif path[-1] == "validate-yaml":  # of the card
            self.answer({"errors": [], "warnings": []})
        elif "preupload" in path:
            files = json.loads(content)["files"]
            self.answer(
                {"files": [each | {"uploadMode": "regular", "shouldIgnore": False} for each in files]}
            )
        elif "commit" in path:
            name = "/".join(path[3:5])
            files = self.repositories[name]
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {
                    "success": True,
                    "commitOid": COMMIT,
                    "commitUrl": f"http://{self.headers['Host']}/{name}/commit/{COMMIT}",
                }
            )
        else:
            self.answer({}, 404)

    def do_GET(self):
        path = urllib.parse.urlparse(self.path).path.split("/")
        name = "/".join(path[3:5] if path[1] == "api" else path[1:3])
        files = self.repositories.get(name)
        if path[1:3] == ["api", "whoami-v2"]:
            self.answer({"name": "user", "type": "user"})
        elif files is None:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif "tree" in path:
            self.answer([dict(type="file", path=each, size=len(files[each]), oid="0" * 40) for each in files])
        elif path[1] == "api":
            self.answer(dict(id=name, sha=COMMIT, siblings=[{"rfilename": each} for each in files]))
        elif (content := files.get("/".join(path[5:]))) is not None:
            tag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.answer(content, ETag=tag, X_Repo_Commit=COMMIT, Accept_Ranges="bytes")
        else:
            self.answer({}, 404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET


@contextlib.contextmanager
def fake_hub() -> Iterator[tuple[str, dict[str, dict[str, bytes]]]]:
    """Serves; yields the address and {repository: {file: content}}."""
    repositories: dict[str, dict[str, bytes]] = {}
    handler = type("Handler", (FakeHub,), {"repositories": repositories})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", repositories
        server.shutdown()

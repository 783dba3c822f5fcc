"""What the service providers in Python share: the pages, and who is signed in."""

import http.cookies
import http.server
import json
import secrets
import sys
import traceback
import urllib.parse

FILE = sys.argv[1]


def settings():
    with open(FILE, encoding="utf-8") as f:
        return json.load(f)


def text(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class Onward:
    """Where a page sends the browser, or what it shows."""

    def __init__(self, url=None, page=None):
        self.url, self.page = url, page


def serve(provider):
    """Serves a provider: an object with metadata, login, response, logout and logout_message."""
    sessions = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, status, kind, body, headers=()):
            body = body if isinstance(body, bytes) else body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def onward(self, to):
            if to is None:
                self.answer(200, "text/plain", "signed out")
            elif to.url:
                self.answer(302, "text/plain", "", [("Location", to.url)])
            else:
                self.answer(200, "text/html; charset=utf-8", to.page)

        def do_GET(self):
            try:
                self.route({})
            except Exception as e:  # a refusal, shown to the person
                traceback.print_exc()
                self.answer(403, "text/plain", "%s: %s" % (type(e).__name__, e))

        def do_POST(self):
            try:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self.route(dict(urllib.parse.parse_qsl(body, keep_blank_values=True)))
            except Exception as e:
                traceback.print_exc()
                self.answer(403, "text/plain", "%s: %s" % (type(e).__name__, e))

        def route(self, form):
            s = settings()
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
            cookie = http.cookies.SimpleCookie(self.headers.get("Cookie", "")).get("pyprovider")
            who = cookie.value if cookie else ""
            if url.path == "/metadata":
                self.answer(200, "application/samlmetadata+xml", provider.metadata(s))
            elif url.path == "/login":
                self.onward(provider.login(s))
            elif url.path == "/acs":
                who = secrets.token_hex(16)
                sessions[who] = provider.response(s, form)
                self.answer(302, "text/plain", "", [("Location", "/session"), ("Set-Cookie", "pyprovider=%s; Path=/; HttpOnly" % who)])
            elif url.path == "/session":
                if who not in sessions:
                    self.answer(401, "application/json", "{}")
                else:
                    p = sessions[who]
                    self.answer(200, "application/json", json.dumps({k: p[k] for k in ("nameID", "format", "attributes")}))
            elif url.path == "/logout":
                self.onward(provider.logout(s, sessions.pop(who)))
            elif url.path == "/slo":
                name, to = provider.logout_message(s, query, url.query, form, list(sessions.values()))
                for key in [k for k, p in sessions.items() if name and p["nameID"] == name]:
                    del sessions[key]
                self.onward(to)
            else:
                self.answer(404, "text/plain", "not found")

    host, port = settings()["listen"].split(":")
    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()

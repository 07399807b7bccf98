"""The part of OpenStack's keystone that a notifier of masakari, and masakari itself, use."""

import datetime
import threading
import uuid

import local_http

USER, PASSWORD = "masakari", "secret"


class Keystone:
    """Gives tokens for the password, and validates them, as for keystonemiddleware. `faults` are statuses for the next
    requests."""

    def __init__(self):
        self.lock = threading.Lock()
        self.faults = []
        self._server = local_http.Server(self._handle)
        self.url = self._server.url
        self.tokens = {}
        self.logins = 0
        self.masakari = None  # its URL, for the catalog

    def _handle(self, handler):
        body = local_http.body_of(handler)
        with self.lock:
            fault = self.faults.pop(0) if self.faults else None
        local_http.send_json(handler, *((fault, {}) if fault else self._answer(handler, body)))

    def close(self):
        self._server.close()

    def give(self):
        """A new token."""
        token = uuid.uuid4().hex
        with self.lock:
            self.tokens[token] = self._body()
        return token

    def revoke(self):
        with self.lock:
            self.tokens.clear()

    def _answer(self, request, body):
        if request.path in ("/", "/v3", "/v3/"):
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.url}/v3/"}]}
            if request.path == "/":
                return 300, {"versions": {"values": [version]}}
            return 200, {"version": version}
        if request.path.startswith("/v3/auth/tokens") and request.command == "POST":
            user = body["auth"]["identity"]["password"]["user"]
            if (user["name"], user["password"]) != (USER, PASSWORD):
                return 401, {"error": {"code": 401, "message": "wrong password"}}
            self.logins += 1
            token = self.give()
            return 201, self._body(), {"X-Subject-Token": token}
        with self.lock:
            known = self.tokens.get(request.headers.get("X-Subject-Token"))
        return (200, known) if known else (404, {"error": {"code": 404}})

    def _body(self):
        now = datetime.datetime.utcnow()
        domain = {"id": "default", "name": "Default"}
        def endpoints(url):
            return [{"id": interface, "interface": interface, "region": "RegionOne", "region_id": "RegionOne",
                     "url": url} for interface in ("internal", "public", "admin")]
        catalog = [{"id": "i", "type": "identity", "name": "keystone", "endpoints": endpoints(f"{self.url}/v3")}]
        if self.masakari:
            catalog.append({"id": "m", "type": "instance-ha", "name": "masakari",
                            "endpoints": endpoints(self.masakari)})
        return {"token": {
            "methods": ["password"], "issued_at": f"{now.isoformat()}Z", "audit_ids": ["a"],
            "expires_at": f"{(now + datetime.timedelta(hours=1)).isoformat()}Z",
            "user": {"id": "user-id", "name": USER, "domain": domain},
            "project": {"id": "0123456789abcdef0123456789abcdef", "name": "service", "domain": domain},
            "roles": [{"id": "r", "name": "admin"}, {"id": "s", "name": "service"}],
            "catalog": catalog}}

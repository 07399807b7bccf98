"""As much of OpenStack as a notifier of masakari meets: keystone's tokens, and masakari's notifications."""

import datetime
import threading
import uuid

import local_http

USER, PASSWORD = "masakari", "secret"


class _Server:
    """An HTTP server with JSON, and a way to fail: `faults` are statuses for the next requests."""

    def __init__(self):
        self.lock = threading.Condition()
        self.faults = []
        self._server = local_http.Server(self._handle)
        self.url = self._server.url

    def _handle(self, handler):
        body = local_http.body_of(handler)
        with self.lock:
            fault = self.faults.pop(0) if self.faults else None
            self.lock.notify_all()
        local_http.send_json(handler, *((fault, {}) if fault else self.answer(handler, body)))

    def close(self):
        self._server.close()


class Keystone(_Server):
    """Gives tokens for the password, and validates them, as for keystonemiddleware."""

    def __init__(self):
        super().__init__()
        self.tokens = {}
        self.logins = 0
        self.masakari = None  # its URL, for the catalog

    def give(self):
        """A new token."""
        token = uuid.uuid4().hex
        with self.lock:
            self.tokens[token] = self._body()
        return token

    def revoke(self):
        with self.lock:
            self.tokens.clear()

    def answer(self, request, body):
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


class Masakari(_Server):
    """POST and GET of notifications, for the hosts that are in a segment."""

    def __init__(self, keystone, *hosts):
        super().__init__()
        self._keystone, self._hosts = keystone, hosts
        self._found = []

    @property
    def endpoint(self):
        return f"{self.url}/v1"

    def answer(self, request, body):
        with self._keystone.lock:
            if request.headers.get("X-Auth-Token") not in self._keystone.tokens:
                return 401, {"error": "who are you?"}
        notification = body["notification"]
        assert request.path == "/v1/notifications" and notification["type"] == "VM", request.path
        datetime.datetime.fromisoformat(notification["generated_time"])
        uuid.UUID(notification["payload"]["instance_uuid"])
        if notification["hostname"] not in self._hosts:
            return 400, {"badRequest": {"message": f"no host {notification['hostname']}"}}
        with self.lock:
            if notification["payload"] in self._found:
                return 409, {"conflictingRequest": {"message": "duplicate"}}
            self._found.append(notification["payload"])
            return 202, body

    def notifications(self):
        """The payloads of the accepted ones, in order."""
        with self.lock:
            return list(self._found)

"""A Kubernetes API server, as far as lists and watches of objects go: resource versions, pages, label
selectors and that of a pod's node, bookmarks, watches that end or are cut, and positions that have expired;
and as far as one object is read, made, or changed by a merge patch."""

import contextlib
import json
import re
import threading
import urllib.parse

import local_http
from patience import patience

CHUNK = 4096  # as Go's server writes
KINDS = {f"/apis/kubevirt.io/v1/{kind.lower()}s": {"apiVersion": "kubevirt.io/v1", "kind": kind}
         for kind in ("VirtualMachine", "VirtualMachineInstance")}


class FakeKubeApi:
    """Objects by path, kind by kind. `log` has the queries that came."""

    def __init__(self, token=None, tls=None):
        self._changed = threading.Condition()
        self._objects = {}   # path: {(namespace, name): object}
        self._changes = {}   # path: [(version, type, object)]
        self._version = 100
        self._oldest = 0     # watches from before have expired
        self.watches = 0     # that are open
        self._cut = 0        # how often all watches were ended
        self._closing = False
        self._token = token
        self.page = None     # objects of a page; None: as many as are asked for
        self.log = []
        self.faults = []     # statuses of the next answers
        self.terminating = set()  # namespaces, which take no new objects
        self._server = local_http.Server(self.answer, tls)
        self.url = self._server.url

    def close(self):
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._server.close()

    # The cluster's own actions.

    def put(self, path, namespace, name, uid, labels=None, **fields):
        """Makes or replaces an object."""
        meta = {"namespace": namespace, "name": name, "uid": uid, "labels": labels or {},
                "creationTimestamp": "2026-01-01T00:00:00Z", **fields.pop("metadata", {})}
        fields = {**KINDS.get(path, {}), **fields}
        with self._changed:
            known = self._objects.setdefault(path, {})
            kind = "MODIFIED" if (namespace, name) in known else "ADDED"
            self._change(path, kind, {"metadata": meta, **fields})

    def delete(self, path, namespace, name):
        with self._changed:
            self._change(path, "DELETED", self._objects[path][namespace, name])

    def bookmark(self, path):
        with self._changed:
            self._change(path, "BOOKMARK", {"metadata": {}})

    def _change(self, path, kind, body):
        self._version += 1
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        key = (body["metadata"].get("namespace"), body["metadata"].get("name"))
        known = self._objects.setdefault(path, {})
        if kind == "DELETED":
            del known[key]
        elif kind != "BOOKMARK":
            known[key] = body
        self._changes.setdefault(path, []).append((self._version, kind, body))
        self._changed.notify_all()

    def cut(self):
        """Ends all watches."""
        with self._changed:
            self._cut += 1
            self._changed.notify_all()

    @contextlib.contextmanager
    def missed(self):
        """No watch reports what changes within it: all watches have ended before, and the position of a later watch has
        expired."""
        with self._changed:  # so that no watch begins in between
            self.cut()
            yield
            self._oldest = self._version
            self._changes = {}

    def wait(self, condition):
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout=patience()):
                raise AssertionError(f"the client did not come; its queries: {self.log}")

    # The requests of a client.

    def answer(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        with self._changed:
            self.log.append((url.path, query))
            self._changed.notify_all()
        if self._token and handler.headers.get("Authorization") != f"Bearer {self._token}":
            return self._fail(handler, 401, "Unauthorized")
        with self._changed:
            fault = self.faults.pop(0) if self.faults else None
        if fault:
            return self._fail(handler, fault, "by order")
        one = re.fullmatch(r"(/apis?/.*)/namespaces/([^/]+)/([^/]+)(?:/([^/]+)(/status)?)?", url.path)
        if one and handler.command == "PATCH":
            return self._patch(handler, f"{one[1]}/{one[3]}", (one[2], one[4]), bool(one[5]))
        if one:
            return self._serve_one(handler, f"{one[1]}/{one[3]}", one[2], one[4])
        if query.get("watch") == "1":
            return self._serve_watch(handler, url.path, query)
        return self._serve_list(handler, url.path, query)

    @staticmethod
    def _matches(body, query):
        wanted = dict(each.split("=") for each in query.get("labelSelector", "").split(",") if each)
        labels = body["metadata"].get("labels", {})
        node = query.get("fieldSelector", "").removeprefix("spec.nodeName=")
        return (all(labels.get(key) == value for key, value in wanted.items())
                and (not node or body.get("spec", {}).get("nodeName") == node))

    def _fail(self, handler, code, message, **details):
        local_http.send_json(handler, code, {"kind": "Status", "code": code, "message": message, "details": details})

    def _serve_one(self, handler, path, namespace, name):
        if handler.command == "POST":
            body = local_http.body_of(handler)
            assert body["metadata"]["namespace"] == namespace and not name
            name = body["metadata"]["name"]
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name), name
            with self._changed:
                if namespace in self.terminating:
                    return self._fail(handler, 403, "by another wording", causes=[
                        {"reason": "NamespaceTerminating", "message": "too", "field": "metadata.namespace"}])
                if (namespace, name) in self._objects.get(path, {}):
                    return self._fail(handler, 409, f'{path} "{name}" already exists')
                self._change(path, "ADDED", body)
            return local_http.send_json(handler, 201, body)
        with self._changed:
            body = self._objects.get(path, {}).get((namespace, name))
        return local_http.send_json(handler, 200, body) if body else self._fail(handler, 404, "not found")

    def _patch(self, handler, path, key, of_status):
        """Patches as KubeVirt's definitions permit: a VirtualMachine's status is a subresource, an instance's is not."""
        patch = local_http.body_of(handler)
        assert handler.headers["Content-Type"] == "application/merge-patch+json" and set(patch) == {"metadata", "status"}
        if of_status != path.endswith("/virtualmachines"):
            return self._fail(handler, 404, "no such subresource")
        with self._changed:
            known = self._objects.get(path, {}).get(key)
            if not known:
                return self._fail(handler, 404, "not found")
            if patch["metadata"] != {"resourceVersion": known["metadata"]["resourceVersion"]}:
                return self._fail(handler, 409, "the object has been modified")
            self._change(path, "MODIFIED", {**known, "status": {**known.get("status", {}), **patch["status"]}})
        return local_http.send_json(handler, 200, {})

    def objects(self, path):
        """All objects of a kind, oldest first."""
        with self._changed:
            return list(self._objects.get(path, {}).values())

    def _serve_list(self, handler, path, query):
        with self._changed:
            found = [body for _, body in sorted(self._objects.get(path, {}).items())
                     if self._matches(body, query)]
            version = str(self._version)
        begin = int(query.get("continue", "0"))
        end = begin + (self.page or int(query.get("limit", "500")))
        meta = {"resourceVersion": version}
        if end < len(found):
            meta["continue"] = str(end)
        local_http.send_json(handler, 200, {"kind": "List", "metadata": meta, "items": found[begin:end]})

    def _serve_watch(self, handler, path, query):
        position = int(query["resourceVersion"])
        with self._changed:
            expired = position < self._oldest
            cut = self._cut
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()

        def send(change):
            text = json.dumps(change, ensure_ascii=False).encode() + b"\n"
            for chunk in (text[at:at + CHUNK] for at in range(0, len(text), CHUNK)):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            handler.wfile.flush()

        if expired:  # as the API server does: within the stream
            send({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired",
                                              "message": f"too old resource version: {position}"}})
            handler.wfile.write(b"0\r\n\r\n")
            return
        with self._changed:
            self.watches += 1
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._closing or self._cut != cut or any(
                            version > position for version, _, _ in self._changes.get(path, [])))
                    news = [each for each in self._changes.get(path, []) if each[0] > position]
                    ends = self._closing or self._cut != cut
                if ends:
                    handler.close_connection = True
                    return  # without the last chunk: cut
                for version, kind, body in news:
                    position = version
                    if kind != "BOOKMARK" and not self._matches(body, query):
                        continue
                    send({"type": kind, "object": body})
        except OSError:
            pass
        finally:
            with self._changed:
                self.watches -= 1
                self._changed.notify_all()

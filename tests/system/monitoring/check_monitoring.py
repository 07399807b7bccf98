#!/usr/bin/python3
"""Checks the files for Prometheus and Grafana.

  rules    the alert rules, their unit tests and the dashboard's queries, with promtool
  runbooks the runbook_url of a real Prometheus' alert opens a page that has a section for each alert
  metrics  what a running daemon answers to a scrape, with promtool
  names    each metric that a rule, the dashboard or docs/monitoring.md names is one that a running
           daemon exposes, with the labels that are used, and docs/monitoring.md names them all
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402

METRIC = re.compile(r"\b((?:vmeventd|process)_[a-z0-9_]+)\b")
# The suffixes of a histogram's series.
SUFFIXES = ("_bucket", "_count", "_sum")
# Words that look like metrics but are not.
NO_METRICS = {"process_tracking"}


def scrape(options):
    """What a vmeventd with every part that has metrics answers, including TLS, once a VM has stopped."""
    world.PROGRAMS.update(vmeventd=options.daemon, fake_qemu=options.fake_qemu)
    node = world.World()
    try:
        world.make_certificate(node.path, "localhost")
        # An invalid journal is moved aside, which publishes an event.
        node.state.mkdir(mode=0o700)
        (node.state / "journal.db").write_text("no database", encoding="utf-8")
        (node.state / "journal.db").chmod(0o600)
        certificate = node.path / "localhost.pem"
        node.start("--libvirt", f"qemu+unix:///system?socket={node.path}/no-libvirt-sock", "--listen",
                   f"unix:{node.socket}", "--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key",
                   node.path / "localhost.key", "--tls-client-ca", certificate, "--metrics-listen", "127.0.0.1:0",
                   "--metrics-vms", "10", "--process-tracking", "off", "--signal-senders", "auto")
        node.started_vm(node.oldest()).exit()
        url = re.search(r"metrics at (http://\S+)", node.log())[1]

        def metrics():
            with urllib.request.urlopen(url, timeout=world.patience()) as answer:
                text = answer.read().decode()
            return text if all(f"vmeventd_{name}_timestamp_seconds" in text
                               for name in ("journal_oldest_event", "vm_last_stop")) else None
        return world.wait_until("there is an event in the journal, and a VM has stopped", metrics)
    finally:
        node.close()


def promtool(options, *arguments, text=None):
    done = subprocess.run([options.promtool, *arguments], input=text, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def check_rules(options):
    problems = []
    rules = options.source / "deploy/prometheus/vmeventd.rules.yml"
    tests = options.source / "deploy/prometheus/vmeventd.rules.test.yml"
    for arguments in (("check", "rules", rules), ("test", "rules", tests)):
        code, output = promtool(options, *arguments)
        if code != 0:
            problems.append(output)
    alerts = re.findall(r"- alert: (\w+)", rules.read_text(encoding="utf-8"))
    tested = tests.read_text(encoding="utf-8")
    problems += [f"no unit test names the alert {name}" for name in alerts if name not in tested]
    for part in rules.read_text(encoding="utf-8").split("- alert: ")[1:]:
        name = part.split()[0]
        for key in ("severity:", "summary:", "description:", "runbook:", "runbook_url:"):
            if key not in part:
                problems.append(f"the alert {name} has no {key}")
        if not re.search(r"severity: (critical|warning)\n", part):
            problems.append(f"the alert {name} is neither critical nor a warning")
        if not re.search(rf"runbook_url: '{{{{ \$externalURL }}}}/consoles/vmeventd-runbooks\.html#{name.lower()}'\n", part):
            problems.append(f"the runbook_url of {name} is not the address of its section")
    sections = re.findall(r"^### (\w+)$", (options.source / "docs/monitoring.md").read_text("utf-8"), re.M)
    if sections != alerts:
        problems.append(f"the sections of docs/monitoring.md do not match the alerts: {sections}, {alerts}")
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as queries:
        # JSON is YAML; a query that is valid by itself is valid in a rule.
        json.dump({"groups": [{"name": "dashboard", "rules": [
            {"record": f"query:{number}", "expr": query}
            for number, query in enumerate(dashboard_queries(options))]}]}, queries)
        queries.flush()
        code, output = promtool(options, "check", "rules", queries.name)
        if code != 0:
            problems.append(f"the dashboard: {output}")
    return problems


def check_runbooks(options):
    source = options.source.resolve()
    (make_page,) = re.findall(r"^\t(\S+ -m markdown .*) \\$", (source / "debian/rules").read_text("utf-8"), re.M)
    page = subprocess.run(make_page.split(), cwd=source, check=True, stdout=subprocess.PIPE).stdout
    with tempfile.TemporaryDirectory() as directory:
        consoles = pathlib.Path(directory, "consoles")
        consoles.mkdir()
        (consoles / "vmeventd-runbooks.html").write_bytes(page)
        configuration = pathlib.Path(directory, "prometheus.yml")
        configuration.write_text(json.dumps({"global": {"evaluation_interval": "1s"}, "rule_files": [
            str(source / "deploy/prometheus/vmeventd.rules.yml")]}), "utf-8")
        address = f"127.0.0.1:{world.free_port()}"
        with open(pathlib.Path(directory, "log"), "wb") as log, subprocess.Popen(
                [pathlib.Path(options.promtool).with_name("prometheus"), f"--config.file={configuration}",
                 f"--storage.tsdb.path={directory}/data", f"--web.listen-address={address}",
                 f"--web.external-url=http://{address}", f"--web.console.templates={consoles}"],
                stdout=log, stderr=log) as prometheus:
            try:
                url = world.wait_until("Prometheus has the alert", lambda: address_of_alert(address))
                with urllib.request.urlopen(url, timeout=world.patience()) as answer:
                    kind, served = answer.headers["Content-Type"], answer.read().decode()
            finally:
                prometheus.terminate()
    problems = [] if kind.startswith("text/html") else [f"the runbooks are no page for a browser: {kind}"]
    rules = (source / "deploy/prometheus/vmeventd.rules.yml").read_text("utf-8")
    return problems + [f"{url} has no section of {name}" for name in re.findall(r"vmeventd-runbooks\.html#(\w+)'", rules)
                       if f'id="{name}"' not in served]


def address_of_alert(prometheus):
    """The runbook_url of VmeventdAbsent, which is pending where nothing is scraped; None: not yet."""
    try:
        with urllib.request.urlopen(f"http://{prometheus}/api/v1/alerts", timeout=world.patience()) as answer:
            alerts = json.load(answer)["data"]["alerts"]
    except OSError:
        return None
    return next((alert["annotations"]["runbook_url"] for alert in alerts
                 if alert["labels"]["alertname"] == "VmeventdAbsent"), None)


def dashboard(options):
    return json.loads((options.source / "deploy/grafana/vmeventd.json").read_text("utf-8"))


def dashboard_panels(board):
    """All panels, those of collapsed rows as well."""
    return [each for panel in board["panels"] for each in (panel, *panel.get("panels", []))]


def dashboard_queries(options):
    """The queries of all panels, with values for the variables."""
    out = []
    for panel in dashboard_panels(dashboard(options)):
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in (("$node", ".*"), ("$__rate_interval", "5m"),
                                    ("$__range", "1h")):
                query = query.replace(variable, value)
            out.append(query)
    return out


def check_metrics(options):
    code, output = promtool(options, "check", "metrics", text=scrape(options))
    return [output] if code != 0 or output.strip() else []


def exposed(text):
    """Metric by name, with the labels that it has."""
    metrics = {name: set() for name in re.findall(r"^# TYPE (\S+)", text, re.M)}
    for name, labels in re.findall(r"^([a-z0-9_]+)\{(.*)\} ", text, re.M):
        metrics[base_name(name, metrics)].update(re.findall(r'(\w+)="', labels))
    return metrics


def base_name(name, metrics):
    for suffix in SUFFIXES:
        if name.endswith(suffix) and name[: -len(suffix)] in metrics:
            return name[: -len(suffix)]
    return name


def check_names(options):
    problems = []
    metrics = exposed(scrape(options))
    rules = (options.source / "deploy/prometheus/vmeventd.rules.yml").read_text(encoding="utf-8")
    document = (options.source / "docs/monitoring.md").read_text(encoding="utf-8")
    board = dashboard(options)
    queries = dashboard_queries(options)
    queries += [variable["query"]["query"] for variable in board["templating"]["list"]
                if variable["type"] == "query"]
    # Matches rows of tables, not the prose between them.
    rows = re.findall(r"^\| `((?:vmeventd|process)_\w+)` \|", document, re.M)

    for where, text in (("the alert rules", rules), ("the dashboard", "\n".join(queries)),
                        ("docs/monitoring.md", document)):
        for name in set(METRIC.findall(text)) - NO_METRICS:
            if base_name(name, metrics) not in metrics:
                problems.append(f"{where}: the daemon has no metric {name}")
        for name, selector in re.findall(r"\b((?:vmeventd|process)_\w+)\{([^}]*)\}", text):
            known = metrics.get(base_name(name, metrics), set()) | {"instance", "job", "le"}
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
                if label not in known:
                    problems.append(f"{where}: {name} has no label {label}")
    problems += [f"docs/monitoring.md does not list {name}" for name in metrics if name not in rows]
    problems += [f"docs/monitoring.md lists {name} twice" for name in set(rows)
                 if rows.count(name) > 1]

    everything = dashboard_panels(board)
    panels = [panel for panel in everything if panel["type"] != "row"]
    if len({panel["id"] for panel in everything}) != len(everything):
        problems.append("the dashboard: two panels have one id")
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    if rows[0]["title"] != "Who ended what" or [row["title"] for row in rows if not row["collapsed"]] != ["Who ended what"]:
        problems.append("the dashboard: not the row \"Who ended what\" alone is open, on top")
    for panel in panels:
        if panel["datasource"]["uid"] != "${datasource}" or not panel["targets"]:
            problems.append(f"the dashboard: {panel['title']} has no data source or no query")
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("check", choices=("rules", "runbooks", "metrics", "names"))
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--promtool", required=True)
    parser.add_argument("--daemon", required=True)
    parser.add_argument("--fake-qemu", required=True)
    options = parser.parse_args()
    checks = {"rules": check_rules, "runbooks": check_runbooks, "metrics": check_metrics, "names": check_names}
    problems = checks[options.check](options)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()

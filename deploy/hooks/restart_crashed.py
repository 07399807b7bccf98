#!/usr/bin/python3
"""Restarts VMs that crashed, and leaves alone those that a user or an admin ended.

An example to adapt; it needs python3-vmeventd. One runs on each node, as the unit restart-crashed.service next to it does.

  restart_crashed.py --state /var/lib/restart-crashed/state --manager proxmox --dry-run
  restart_crashed.py --state FILE --start 'systemctl start qemu@{vm}.service' [--gave-up 'page {vm}']

Nobody can say who wanted an UNKNOWN end: such a VM is left off, unless --unknown restart is given; then too one that may
still run, here or elsewhere, is left alone.

A VM that crashed is started after --first-delay seconds, twice as long after each further crash within --window, and
not at all after more than --max-starts: then --gave-up runs once. A start command that fails counts as a crash; one that
takes longer than --start-timeout fails, and is killed with all that it has started. A VM that runs again by then, has
been ended by somebody since, or crashed longer than --max-age ago is left alone. Commands run without a shell; {vm} is
the VM's name, {uuid} its UUID, {id} the number at the end of its name. --dry-run writes what would run.

Its state is in one file: its position, so that an outage loses nothing, and what it has still to start.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import pathlib
import re
import shlex
import signal
import sys
import time

import grpc
import vmeventd
import vmeventd.aio
from vmeventd.v1 import vm_events_pb2 as pb
from vmeventd.v1 import vm_events_pb2_grpc as rpc

LOG = logging.getLogger("restart_crashed")
MANAGERS = {
    "systemd": "systemctl start qemu@{vm}.service",
    "libvirt": "virsh -c qemu:///system start {vm}",
    "proxmox": "qm start {vm}",
    "opennebula": "onevm resume {id}",
    "cloudstack": "cmk start virtualmachine id={uuid}",
    "ganeti": "ssh {master} gnt-instance startup {vm}",
}
GANETI_MASTER = "/var/lib/ganeti/ssconf_master_node"
CALL_SECONDS = 10
ASK_AGAIN_SECONDS = 1
MAX_RUNS = 1000  # number of handled runs that the state stores


class State:
    """The position and the pending starts, in a file that is replaced as a whole."""

    def __init__(self, path):
        self._path = pathlib.Path(path)
        self.position = None
        self.handled = []  # run ids
        self.crashes = {}  # times, by the VM's name
        self.pending = {}  # by the VM's name: its run, its UUID, and when to start it
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            self.position = vmeventd.Position.parse(stored["position"]) if stored["position"] else None
            self.handled, self.crashes = stored["handled"], stored["crashes"]
            self.pending = stored["pending"]
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            sys.exit(f"{path} is no state of restart_crashed: {error}; remove it, or name another file")

    def save(self):
        del self.handled[:-MAX_RUNS]
        vmeventd.replace_file(self._path, json.dumps(
            {"position": str(self.position) if self.position else None, "handled": self.handled,
             "crashes": self.crashes, "pending": self.pending}))


class Restarter:
    """Decides what to start, and when. One asyncio task follows, one for each VM waits."""

    def __init__(self, options):
        self._options = options
        self._server = vmeventd.Server(options.server)
        self._state = State(options.state)
        self._tasks = {}

    async def run(self):
        for name in self._state.pending:
            self._tasks[name] = asyncio.create_task(self._start_when_due(name))
        classes = [pb.SHUTDOWN_CLASS_CRASH]
        if self._options.unknown == "restart":
            classes.append(pb.SHUTDOWN_CLASS_UNKNOWN)
        crashes = pb.EventFilter(types=[pb.EVENT_TYPE_STOPPED, pb.EVENT_TYPE_GAP], vm_names=self._options.vm,
                                 classes=classes)
        # Provisional: a full disk delays no restart. What comes again was handled.
        follower = vmeventd.aio.follow(self._server, position=self._state.position, start="now",
                                       filter=crashes, provisional=True)
        async for item in follower:
            if isinstance(item, vmeventd.Gap):
                LOG.error("crashes may be missing: %s", item.why)
            elif isinstance(item, vmeventd.NewEvent) and item.event.type == pb.EVENT_TYPE_GAP:
                LOG.error("crashes may be missing: %s", item.event.message)
            elif isinstance(item, vmeventd.NewEvent):
                self._on_crash(item.event)
            self._state.position = item.position
            self._state.save()

    def _on_crash(self, event):
        if event.vm.run_id in self._state.handled:
            return
        self._state.handled.append(event.vm.run_id)
        crashed = event.shutdown.shutdown_class == pb.SHUTDOWN_CLASS_CRASH
        LOG.warning("%s %s: %s", event.vm.name, "crashed" if crashed else "ended", event.message)
        if event.shutdown.may_still_run:
            LOG.warning("%s: left alone: it may still run, here or elsewhere", event.vm.name)
            return
        # After a gap the oldest events come first: they are the past.
        age = time.time() - event.observe_time.ToNanoseconds() / 1e9
        if age > self._options.max_age:
            LOG.warning("%s: left alone: that was %.0f s ago, longer than --max-age", event.vm.name, age)
            return
        self._plan(event.vm.name, event.vm.run_id, event.vm.uuid)

    def _plan(self, name, run_id, uuid):
        """Plans a start, or gives up."""
        options = self._options
        now = time.time()
        times = [when for when in self._state.crashes.get(name, []) if now - options.window < when <= now]
        self._state.crashes = {vm: each for vm, each in self._state.crashes.items()
                               if each and each[-1] > now - options.window}
        self._state.crashes[name] = [*times, now]
        self._cancel(name)
        if len(times) >= options.max_starts:
            LOG.error("%s: gave up after %d crashes in %g s", name, len(times) + 1, options.window)
            if options.gave_up:
                self._tasks[name] = asyncio.create_task(self._execute(options.gave_up, name, uuid))
            return
        delay = min(options.first_delay * 2 ** len(times), options.max_delay)
        LOG.warning("%s: start %d of %d, in %g s", name, len(times) + 1, options.max_starts, delay)
        self._state.pending[name] = {"run_id": run_id, "uuid": uuid, "due": now + delay}
        self._tasks[name] = asyncio.create_task(self._start_when_due(name))

    def _cancel(self, name):
        self._state.pending.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _start_when_due(self, name):
        pending = self._state.pending[name]
        # A clock that is set back delays no longer than that.
        await asyncio.sleep(min(max(pending["due"] - time.time(), 0), self._options.max_delay))
        why_not = await self._reason_against(name, pending["run_id"])
        if why_not:
            LOG.warning("%s: left alone: %s", name, why_not)
        elif not await self._execute(self._options.start, name, pending["uuid"]):
            self._plan(name, pending["run_id"], pending["uuid"])
            self._state.save()
            return
        self._cancel(name)
        self._state.save()

    async def _reason_against(self, name, run_id):
        """Why a VM is not to be started; waits for vmeventd, which knows."""
        while True:
            async with self._server.aio_channel() as channel:
                try:
                    answer = await rpc.VmEventServiceStub(channel).GetVm(
                        pb.GetVmRequest(vm_name=name), timeout=CALL_SECONDS)
                    break
                except grpc.RpcError as error:
                    if error.code() == grpc.StatusCode.NOT_FOUND:
                        return None  # it is too long ago
                    if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                        return error.details()  # more than one runs under that name
                    LOG.warning("%s: vmeventd does not answer: %s", name, error.details())
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        if answer.vm.state != pb.VM_STATE_STOPPED:
            return "it runs again"
        if answer.vm.ref.run_id != run_id:
            return "it ended once more since"
        return None

    async def _execute(self, template, name, uuid):
        """Returns true if the command succeeded."""
        number = re.search(r"\d+$", name)
        values = {"vm": name, "uuid": uuid, "id": number[0] if number else ""}
        if "{master}" in template:
            try:
                values["master"] = pathlib.Path(self._options.ganeti_master).read_text(encoding="utf-8").strip()
            except OSError as error:
                LOG.error("%s: {master}: %s", name, error)
                return False
        command = [re.sub(r"\{(\w+)\}", lambda found: values[found[1]], word)
                   for word in shlex.split(template)]
        if self._options.dry_run:
            LOG.warning("would run: %s", shlex.join(command))
            return True
        process, ended = None, False
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE, start_new_session=True)
            _, errors = await asyncio.wait_for(process.communicate(), self._options.start_timeout)
            ended = True
        except asyncio.TimeoutError:
            LOG.error("%s: %s: killed after %g s", name, shlex.join(command), self._options.start_timeout)
            return False
        except OSError as error:
            LOG.error("%s: %s: %r", name, shlex.join(command), error)
            return False
        finally:
            # Also if a further crash cancels it: a VM has one start at a time.
            if process is not None and not ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode != 0:
            LOG.error("%s: %s: exit %d: %s", name, shlex.join(command), process.returncode,
                      errors.decode(errors="replace").strip()[:500])
            return False
        LOG.warning("%s: done: %s", name, shlex.join(command))
        return True


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="address of vmeventd (default: $VMEVENTS_SERVER, else the system's socket)",
                        default=os.environ.get("VMEVENTS_SERVER") or "unix:/run/vmeventd/vmeventd.sock")
    parser.add_argument("--state", required=True, metavar="FILE", help="file with its position and pending starts")
    parser.add_argument("--vm", action="append", default=[], metavar="GLOB",
                        help="only VMs whose name matches; may be repeated")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--manager", choices=sorted(MANAGERS), help="start VMs with the command of this manager")
    how.add_argument("--start", metavar="COMMAND", help="start VMs with this command")
    parser.add_argument("--unknown", choices=("leave", "restart"), default="leave",
                        help="what to do with a VM whose end is UNKNOWN (default: leave)")
    parser.add_argument("--gave-up", metavar="COMMAND", help="command to run for a VM that crashes too often")
    parser.add_argument("--first-delay", type=float, default=2, metavar="SECONDS",
                        help="delay of the first start in a window; doubled for each further one (default: 2)")
    parser.add_argument("--max-delay", type=float, default=300, metavar="SECONDS", help="longest delay (default: 300)")
    parser.add_argument("--max-starts", type=int, default=5, metavar="N",
                        help="maximum number of starts in a window (default: 5)")
    parser.add_argument("--window", type=float, default=3600, metavar="SECONDS",
                        help="time in which crashes of a VM are counted (default: 3600)")
    parser.add_argument("--max-age", type=float, default=3600, metavar="SECONDS",
                        help="largest age of a crash after which the VM is started (default: 3600)")
    parser.add_argument("--start-timeout", type=float, default=300, metavar="SECONDS",
                        help="timeout of a start command (default: 300)")
    parser.add_argument("--dry-run", action="store_true", help="write what would run, run nothing")
    parser.add_argument("--ganeti-master", default=GANETI_MASTER, metavar="FILE",
                        help="file with the name of the master node, for {master}")
    options = parser.parse_args()
    options.start = options.start or MANAGERS[options.manager]
    for template in (options.start, options.gave_up or ""):
        for name in re.findall(r"\{(\w+)\}", template):
            if name not in ("vm", "uuid", "id", "master"):
                parser.error(f"{{{name}}} in a command: neither {{vm}}, {{uuid}}, {{id}} nor {{master}}")
    return options


def main():
    options = parse_arguments()
    logging.basicConfig(format="%(message)s")
    try:
        asyncio.run(Restarter(options).run())
    except vmeventd.Refused as refused:
        sys.exit(str(refused))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

"""The endings, and the truth about each: the only part of the comparison that a person writes."""

import dataclasses
import signal
from typing import Callable

from machine import DomainOptions, Failure


def nothing(_domain):
    pass


@dataclasses.dataclass(frozen=True)
class Ending:
    name: str
    title: str
    truth: str  # USER, ADMIN or CRASH
    act: Callable  # of a Domain; None where `away` has ended it
    options: DomainOptions = DomainOptions()
    # With any of these, every observer is killed (SIGKILL) and started again: `before` comes first,
    # `away` while none runs, and then `act`.
    observers_restart: bool = False
    before: Callable = nothing
    away: Callable = nothing


def poweroff(domain):
    domain.type("poweroff -f")


def press_the_button(domain):
    domain.virsh("shutdown", "--mode", "acpi")


def virsh(*arguments):
    return lambda domain: domain.virsh(*arguments)


def kill(signal_number):
    return lambda domain: domain.kill(signal_number)


def destroy_hung(domain):
    domain.kill(signal.SIGSTOP)
    domain.virsh("destroy")


def fill_its_cgroup(domain):
    with domain.limited_memory(16 << 20):
        domain.type("dd if=/dev/zero of=/file bs=1M count=60")
        domain.wait_gone()


def quit_qemu(domain):
    try:
        domain.virsh("qemu-monitor-command", '{"execute":"quit"}')
    except Failure:
        pass  # QEMU may end before it answers; that it does end is checked later


def save(domain):
    domain.virsh("save", f"{domain.directory}/{domain.name}.save")


def reset_then_poweroff(domain):
    boot = domain.boot_id()
    domain.virsh("reset")
    domain.wait_ready(unlike=boot)
    poweroff(domain)


def ignored_then_destroy(domain):
    press_the_button(domain)
    domain.virsh("destroy")


def ignored_then_reset_then_poweroff(domain):
    press_the_button(domain)
    reset_then_poweroff(domain)


DEAF = DomainOptions(ignores_power_button=True)

ENDINGS = [
    Ending("poweroff", "the guest powers itself off", "USER", poweroff),
    Ending("reboot-exit", "the guest reboots, and a reboot ends the VM (on_reboot=destroy)", "USER",
           lambda domain: domain.type("reboot -f"), DomainOptions(on_reboot="destroy")),
    Ending("reset-poweroff", "virsh reset; the guest boots again and later powers itself off", "USER",
           reset_then_poweroff),
    Ending("deaf-reset-poweroff",
           "virsh shutdown is ignored, virsh reset; the guest later powers itself off", "USER",
           ignored_then_reset_then_poweroff, DEAF),
    Ending("shutdown", "virsh shutdown (ACPI), and the guest obeys", "ADMIN", press_the_button),
    Ending("destroy", "virsh destroy", "ADMIN", virsh("destroy")),
    Ending("deaf-destroy", "virsh shutdown is ignored, then virsh destroy", "ADMIN",
           ignored_then_destroy, DEAF),
    Ending("hung-destroy", "virsh destroy of a QEMU that hangs", "ADMIN", destroy_hung),
    Ending("save", "virsh save", "ADMIN", save),
    Ending("quit", "quit on a monitor", "ADMIN", quit_qemu),
    Ending("sigterm", "SIGTERM to QEMU", "ADMIN", kill(signal.SIGTERM)),
    Ending("panic", "the guest's kernel panics (on_crash=destroy)", "CRASH",
           lambda domain: domain.type("echo c > /proc/sysrq-trigger")),
    Ending("sigkill", "kill -9 of QEMU, by hand", "ADMIN", kill(signal.SIGKILL)),
    Ending("oom", "QEMU's memory cgroup is full, and the kernel kills it", "CRASH", fill_its_cgroup),
    Ending("sigsegv", "SIGSEGV in QEMU", "CRASH", kill(signal.SIGSEGV)),
    Ending("restart-poweroff", "the observer is killed and started; later the guest powers itself off",
           "USER", poweroff, observers_restart=True),
    Ending("restart-shutdown", "virsh shutdown; the observer is killed and started; then the guest obeys",
           "ADMIN", poweroff, DEAF, observers_restart=True, before=press_the_button),
    Ending("away-poweroff", "the guest powers itself off while no observer runs", "USER", None,
           observers_restart=True, away=poweroff),
]

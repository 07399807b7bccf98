#include "tests/simulation/coverage.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tests/simulation/faults.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/session/classification_rules.h"

namespace vmeventd::simulation {
namespace {

constexpr const char* kPoints[] = {
    "clock step",
    "clock step ahead by hours",
    "clock step back by hours",
    "history read",
    "retention by age",
    "retention by number",
    "intent declared",
    "start fails",
    "stop",
    "fault EIO in read of journal.db",
    "fault EIO in read of journal.db-wal",
    "kill in fchmod of the shutdown file",
    "kill in open of the shutdown file",
    "kill in recv of a socket",
    "kill in unlink of the shutdown file",
    "list: a page",
    "list: a page, newest first",
    "list: the last page",
    "list: the last page, newest first",
    "list ends with 3",     // INVALID_ARGUMENT: the token of another question
    "list ends with 11",    // OUT_OF_RANGE
    "list ends with 14",    // UNAVAILABLE
    "stream ends with 1",   // CANCELLED
    "stream ends with 8",   // RESOURCE_EXHAUSTED: the client read nothing
    "stream ends with 11",  // OUT_OF_RANGE
    "a VM is resumed after a restart",
    "a domain's process is handed over",
    "a monitor is handed over",
    "a stop while a QEMU that hangs has been asked",
    "a stop within a line",
    "a cgroup has an earlier kill for memory",
    "an end over a clean stop has its class",
    "an end over a clean stop has no exit status",
    "a kill that came while no daemon ran is known",
    "a VM that is GUEST_DOWN is shown as that",
    "a VM that is PAUSED is shown as that",
    "a VM that is SUSPENDED is shown as that",
    "a VM is listed while nobody is known who listens",
    "a launcher ends before its QEMU has sent anything",
    "a launcher listens and leaves",
    "a launcher listens and stays",
    "a launcher listens for several QEMUs",
    "a client of named VMs begins at the oldest event",
    "a damaged journal is replaced at a start",
    "a VM is followed after a shortage of descriptors",
    "a VM that gets no descriptor is listed",
    "no descriptor in SO_PEERPIDFD",
    "no descriptor in open of /dev/null",
    "no descriptor in open of a file of /proc",
    "no descriptor in open of a file of /sys",
    "no descriptor in open of a socket",
    "no descriptor in open of journal.db",
    "no descriptor in open of journal.db-wal",
    "no descriptor in open of the directory",
    "no descriptor in open of the shutdown file",
    "no descriptor in epoll_create1",
    "no descriptor in eventfd",
    "no descriptor in inotify_init1",
    "no descriptor in pidfd_open",
    "no descriptor in socket",
    "a GAP for what retention has thinned out",
    "a position held back by what is not durable",
    "bound: the VMs of a user have their descriptors",
    "bound: the log is full",
    "the inotify queue overflows",
    "a QEMU's command line can be read",
    "a QEMU has another name",
    "a domain is followed",
    "a domain whose process is not seen",
    "a list of domains",
    "a list has a domain whose number another process has",
    "libvirtd ends",
    "the ids of domains begin again",
};

}  // namespace

std::vector<std::string> NotReached(const std::map<std::string, uint64_t>& reached) {
  std::vector<std::string> missing;
  const auto want = [&](std::string point) {
    if (!reached.contains(point)) missing.push_back(std::move(point));
  };
  for (const Rule& rule : kClassificationRules) want(absl::StrCat("rule ", rule.id));
  for (int type = v1::EventType_MIN + 1; type <= v1::EventType_MAX; ++type) {
    if (v1::EventType_IsValid(type)) {
      want(absl::StrCat("event ", v1::EventType_Name(static_cast<v1::EventType>(type)).substr(11)));
    }
  }
  for (const absl::string_view what : {"fault EIO", "fault ENOSPC", "kill", "power is lost"}) {
    for (const absl::string_view file : {"journal.db", "journal.db-wal", "sequence"}) {
      want(absl::StrCat(what, " in write of ", file));
      if (what == "fault ENOSPC") continue;  // a full disk fails no sync
      want(absl::StrCat(what, " in fsync of ", file));
    }
  }
  for (const char* point : kPoints) want(point);
  for (const FaultText& fault : kFaults) want(absl::StrCat("fault: ", fault.sentence));
  return missing;
}

}  // namespace vmeventd::simulation

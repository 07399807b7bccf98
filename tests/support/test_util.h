#pragma once

#include <sys/resource.h>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/unique_fd.h"
#include "nlohmann/json.hpp"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/event_sink.h"

namespace vmeventd {

// The line of a QMP event.
inline std::string EventLine(const std::string& name, const std::string& data = "{}") {
  return "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 5}, \"event\": \"" + name +
         "\", \"data\": " + data + "}\r\n";
}

// The message in the form that QEMU sends with pretty=on.
inline std::string Spread(const std::string& line) {
  const std::string text = nlohmann::ordered_json::parse(line).dump(4);
  return absl::StrReplaceAll(text, {{"\n", "\r\n"}}) + "\r\n";
}

using TempDir = TemporaryDirectory;

// A clock that stands still until advanced.
class ManualClock : public Clock {
 public:
  Instant Now() const override { return {absl::UnixEpoch() + now_, now_}; }
  void Advance(absl::Duration step) { now_ += step; }

 private:
  absl::Duration now_ = absl::Seconds(1000);
};

// Records the pushed updates, and whether the VM's shutdown file existed at that moment.
class RecordingSink : public EventSink {
 public:
  struct Entry {
    VmUpdate update;
    bool shutdown_file = false;
  };

  void Push(VmUpdate update) override;

  const std::vector<Entry>& entries() const { return entries_; }

  // The types of the events of the VM `name`, in order; without a name, of all VMs.
  std::vector<EventType> Types(const std::string& name = "") const;
  int Count(EventType type) const;
  // The newest status of a VM; null: there is none.
  const v1::Vm* Latest(const std::string& name) const;
  // The newest event of a type; null: there is none.
  const Entry* Last(EventType type) const;
  // The saved runs that have not ended, by run id, as a journal has them.
  std::map<std::string, std::string> SavedRuns() const;

 private:
  std::vector<Entry> entries_;
};

// Occupies every free descriptor of the process while it exists.
class FullDescriptorTable {
 public:
  FullDescriptorTable();
  ~FullDescriptorTable();
  FullDescriptorTable(const FullDescriptorTable&) = delete;
  FullDescriptorTable& operator=(const FullDescriptorTable&) = delete;

 private:
  rlimit before_{};
  std::vector<UniqueFd> taken_;
};

bool FileExists(const std::string& path);
void WriteFile(const std::string& path);

}  // namespace vmeventd

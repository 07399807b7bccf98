#include "tests/support/recording_sink.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/files.h"

namespace vmeventd {

void RecordingSink::Push(VmUpdate update) {
  bool shutdown_file = false;
  if (update.status.has_value()) {
    const std::string& path = update.status->monitor_path();
    const std::string directory = path.substr(0, path.rfind('/'));
    shutdown_file =
        e2e::Exists(absl::StrCat(directory, "/", update.status->ref().name(), ".shutdown"));
  }
  entries_.push_back({std::move(update), shutdown_file});
}

std::vector<EventType> RecordingSink::Types(const std::string& name) const {
  std::vector<EventType> types;
  for (const Entry& entry : entries_) {
    if (!entry.update.event.has_value()) continue;
    if (!name.empty() &&
        (!entry.update.status.has_value() || entry.update.status->ref().name() != name)) {
      continue;
    }
    types.push_back(static_cast<EventType>(entry.update.event->type()));
  }
  return types;
}

int RecordingSink::Count(EventType type) const {
  int count = 0;
  for (const EventType each : Types()) count += each == type ? 1 : 0;
  return count;
}

const v1::Vm* RecordingSink::Latest(const std::string& name) const {
  const v1::Vm* latest = nullptr;
  for (const Entry& entry : entries_) {
    const std::optional<v1::Vm>& status = entry.update.status;
    if (status.has_value() && status->ref().name() == name) latest = &*status;
  }
  return latest;
}

const RecordingSink::Entry* RecordingSink::Last(EventType type) const {
  const Entry* last = nullptr;
  for (const Entry& entry : entries_) {
    if (entry.update.event.has_value() && entry.update.event->type() == type) last = &entry;
  }
  return last;
}

std::map<std::string, std::string> RecordingSink::SavedRuns() const {
  std::map<std::string, std::string> saved;
  for (const Entry& entry : entries_) {
    if (!entry.update.saved_run.has_value()) continue;
    const std::string run_id(entry.update.status->ref().run_id());
    if (entry.update.saved_run->empty()) {
      saved.erase(run_id);
    } else {
      saved[run_id] = *entry.update.saved_run;
    }
  }
  return saved;
}

}  // namespace vmeventd

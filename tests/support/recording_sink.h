#pragma once

#include <map>
#include <string>
#include <vector>

#include "vmeventd/contract/enums.h"
#include "watcher/core/update_sink.h"
#include "watcher/core/vm_update.h"

namespace vmeventd {

// Records the pushed updates, and whether the VM's shutdown file existed at that moment.
class RecordingSink : public UpdateSink {
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

}  // namespace vmeventd

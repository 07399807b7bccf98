#include "client/commands/uuid_names.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/uuid.h"
#include "client/output/node_vm.h"

namespace vmeventd::client {

std::optional<Failure> TakeUuids(ListSource* source, v1::EventFilter* filter) {
  v1::EventFilter by_uuid;
  for (const std::string& name : filter->vm_names()) {
    if (ParseUuid(name)) by_uuid.add_uuids(name);
  }
  if (by_uuid.uuids().empty()) return std::nullopt;
  NodeVms vms;
  auto failure = source->ReadVms(by_uuid, /*stopped_too=*/true, &vms);
  if (vms.empty()) return failure;
  if (by_uuid.uuids_size() < filter->vm_names_size()) {
    return Failure{ExitCode::kUsage,
                   absl::StrCat("\"", by_uuid.uuids(0),
                                "\" is a UUID, and not all others are: use one command for "
                                "names and another for UUIDs")};
  }
  filter->clear_vm_names();
  filter->mutable_uuids()->MergeFrom(by_uuid.uuids());
  return std::nullopt;
}

}  // namespace vmeventd::client

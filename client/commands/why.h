#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/invocation.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"
#include "vmeventd/v1/vm_events.pb.h"

// `why`: explains why VMs ended.

namespace vmeventd::client {

struct WhyCommand {
  v1::EventFilter filter;  // no types; may be empty only if a time is set
  bool markdown = false;   // writes Markdown, for a ticket
  std::optional<absl::Time> since;
  std::optional<absl::Time> until;

  // Returns whether it asks for ends (by class, cause or time) and not for VMs.
  bool is_of_ends() const {
    return filter.classes_size() + filter.causes_size() > 0 || since || until;
  }
};

// Asked for ends, prints the story of each end, the newest first; kNotFound: there is none. Asked
// for VMs, prints the story of each VM: one story, even if it moved to another node. VMs with the
// same name have separate stories if their UUIDs differ, or if several of them run. A name that no
// VM has may be a VM's pid: that of the living run, otherwise of the newest. kNotFound: there is no
// VM for a name.
std::optional<Failure> RunWhy(const WhyCommand& command, const Invocation& invocation,
                              ListSource* source, Formatter* formatter, Output* output,
                              absl::Time now);

// Returns the id of the run whose process has or had that pid, among VMs with the names and UUIDs
// of `vms`: the living run, otherwise the newest. Empty: none is known. `*failure` gets the failure
// of nodes that did not answer.
std::string RunOfPid(ListSource* source, const v1::EventFilter& vms, int64_t pid,
                     std::optional<Failure>* failure);

}  // namespace vmeventd::client

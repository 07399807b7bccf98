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

// `why`: tells why VMs ended.

namespace vmeventd::client {

struct WhyCommand {
  v1::EventFilter filter;  // no types; empty only with a time
  bool markdown = false;   // for a ticket
  std::optional<absl::Time> since;
  std::optional<absl::Time> until;

  // Returns whether it asks for ends, by class, cause or time, and not for VMs.
  bool is_of_ends() const {
    return filter.classes_size() + filter.causes_size() > 0 || since || until;
  }
};

// Prints the story of each end that is asked for, the newest first; NOT_FOUND's code: there is
// none. Or else the story of each VM: it has one, also if it moved to another node. VMs of one name
// have a story each if their UUIDs differ, or if several of them run. A name that no VM has may be
// the pid of one: of the living run, else of the newest. NOT_FOUND's code if a name has none.
std::optional<Failure> RunWhy(const WhyCommand& command, const Invocation& invocation,
                              ListSource* source, Formatter* formatter, Output* output,
                              absl::Time now);

// Finds the run whose process has or had that pid, among the VMs of such names and UUIDs: the
// living one, else the newest. Empty: none is known; `failure`: of the nodes that did not answer.
std::string RunOfPid(ListSource* source, const v1::EventFilter& vms, int64_t pid,
                     std::optional<Failure>* failure);

}  // namespace vmeventd::client

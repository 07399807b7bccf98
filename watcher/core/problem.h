#pragma once

#include <string>

#include "vmeventd/contract/enums.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// A problem of a VM, a socket or a connection. No text: there is none.
struct Problem {
  ProblemCode code = ProblemCode::kUnspecified;
  std::string text;  // UTF-8

  bool empty() const { return text.empty(); }
  bool operator==(const Problem&) const = default;
};

v1::Problem ToProto(const Problem& problem);

}  // namespace vmeventd

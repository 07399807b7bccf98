#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "base/uuid.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Request of DeclareIntent. Texts are UTF-8 and within their limits.
struct IntentRequest {
  std::string vm_name;  // this or `uuid`, or both
  std::string run_id;   // empty: the one run of that name
  std::string intent_id;
  std::string actor;
  std::string reason;
  absl::Duration ttl;
  std::string request_id;   // empty: a retry is another declaration
  std::string declared_by;  // the caller, as the server knows it
  std::optional<Uuid> uuid;
  absl::Time started_before =
      absl::InfiniteFuture();  // only a run that started before this time, by the node's clock
  // The stopped run that lived at `started_before`. The request is for it if no running one
  // matches.
  std::optional<v1::VmRef> ended = std::nullopt;

  bool has_start() const { return started_before < absl::InfiniteFuture(); }
};

}  // namespace vmeventd

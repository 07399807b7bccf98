#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/access/access_policy.h"
#include "server/rpc/call_service.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The methods of vmeventd.v1.VmEventService, as a GrpcServer serves them.
class ServiceMethods {
 public:
  virtual ~ServiceMethods() = default;
  // Adds the methods. `policy`, which decides who may call, outlives them; `listeners` is called
  // for GetServerInfo, on any thread. Call it once.
  virtual void AddTo(CallService* methods, AccessPolicy* policy,
                     std::function<std::vector<v1::Listener>()> listeners) = 0;
  // Call it about every second.
  virtual void CheckDeadlines() = 0;
};

// The path of a method of that service.
inline std::string MethodPath(absl::string_view method) {
  return absl::StrCat("/vmeventd.v1.VmEventService/", method);
}

}  // namespace vmeventd

#ifndef VMEVENTD_CLIENT_OUTPUT_FORMATTER_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMATTER_H_

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "grpc/health/v1/health.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Turns what the server says into text for standard output. Pure but for what a formatter remembers
// of its own output (column widths); one thread. Each text is whole lines, or empty.
// INTERNAL: a message cannot be shown; says which.
class Formatter {
 public:
  virtual ~Formatter() = default;

  using Events = google::protobuf::RepeatedPtrField<v1::Event>;
  using Vms = google::protobuf::RepeatedPtrField<v1::Vm>;
  using Health = grpc::health::v1::HealthCheckResponse;

  // What stands above events: asked for once, before the first of them is there.
  virtual std::string EventHeading() = 0;
  // Called again and again as events come, in order.
  virtual absl::StatusOr<std::string> FormatEvents(const Events& events) = 0;
  virtual absl::StatusOr<std::string> FormatVms(const Vms& vms) = 0;
  // One VM in full.
  virtual absl::StatusOr<std::string> FormatVm(const v1::Vm& vm) = 0;
  // An intent that was declared.
  virtual absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) = 0;
  virtual absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) = 0;
  virtual absl::StatusOr<std::string> FormatHealth(const Health& health) = 0;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMATTER_H_

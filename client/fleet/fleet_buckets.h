#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/fleet/fleet_subjects.h"

namespace vmeventd::client {

// Key-value buckets of the fleet. A key consists of the escaped tokens, separated by dots. Its
// values have the subject "$KV.BUCKET.KEY" in the stream "KV_BUCKET".
inline constexpr absl::string_view kVmsBucket = "VMEVENTS_VMS";      // CLUSTER.NODE.VM: v1.Vm
inline constexpr absl::string_view kNodesBucket = "VMEVENTS_NODES";  // CLUSTER.NODE: NodeHeartbeat
inline std::string NodeBucketKey(absl::string_view cluster, absl::string_view node) {
  return absl::StrCat(EscapeToken(cluster), ".", EscapeToken(node));
}
inline std::string VmBucketKey(absl::string_view cluster, absl::string_view node,
                               absl::string_view vm) {
  return absl::StrCat(NodeBucketKey(cluster, node), ".", EscapeToken(vm));
}
inline std::string KeySubject(absl::string_view bucket, absl::string_view key) {
  return absl::StrCat("$KV.", bucket, ".", key);
}
inline std::string BucketStream(absl::string_view bucket) { return absl::StrCat("KV_", bucket); }

}  // namespace vmeventd::client

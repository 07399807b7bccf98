#include "tests/support/error_info.h"

#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

std::map<std::string, std::string> FactsOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  details.ParseFromString(status.error_details());
  if (!details.details().empty()) details.details(0).UnpackTo(&info);
  return {info.metadata().begin(), info.metadata().end()};
}

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details().empty() ||
      !details.details(0).UnpackTo(&info)) {
    return "none";
  }
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  EXPECT_EQ(details.message(), status.error_message());
  EXPECT_EQ(info.domain(), "vmeventd");
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  EXPECT_TRUE(v1::ErrorReason_Parse(absl::StrCat("ERROR_REASON_", info.reason()), &reason));
  return info.reason();
}

}  // namespace vmeventd

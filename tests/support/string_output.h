#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/output/output.h"

namespace vmeventd::client {

// Records the written text.
class StringOutput : public Output {
 public:
  absl::Status Write(absl::string_view added) override {
    if (!status.ok()) return status;
    absl::StrAppend(&text, added);
    after_write();
    return absl::OkStatus();
  }

  std::string text;
  absl::Status status;  // result of Write()
  std::function<void()> after_write = [] {};
};

}  // namespace vmeventd::client

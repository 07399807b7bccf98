#pragma once

#include <string>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace vmeventd {

// Parses a message in protobuf's text format: FromText<v1::EventFilter>("vm_names: 'web1'").
template <typename Message>
Message FromText(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

}  // namespace vmeventd

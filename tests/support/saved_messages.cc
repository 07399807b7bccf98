#include "tests/support/saved_messages.h"

#include <fstream>

#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"

namespace vmeventd {

SavedMessages::SavedMessages() {
  std::ifstream file(VMEVENTD_RUN_STATE_DESCRIPTOR, std::ios::binary);
  google::protobuf::FileDescriptorSet set;
  EXPECT_TRUE(set.ParseFromIstream(&file)) << VMEVENTD_RUN_STATE_DESCRIPTOR;
  for (const auto& one : set.file()) EXPECT_NE(pool_.BuildFile(one), nullptr) << one.name();
}

std::unique_ptr<google::protobuf::Message> SavedMessages::New(const std::string& type) {
  const auto* const descriptor = pool_.FindMessageTypeByName("vmeventd.internal." + type);
  return std::unique_ptr<google::protobuf::Message>(factory_.GetPrototype(descriptor)->New());
}

}  // namespace vmeventd

#pragma once

#include <memory>
#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/message.h"

namespace vmeventd {

// Makes messages of run_state.proto that know their fields. Those of the generated code do not, as
// they are for the lite runtime.
class SavedMessages {
 public:
  SavedMessages();

  // Makes an empty message of a type such as "RunState". It is valid as long as this object.
  std::unique_ptr<google::protobuf::Message> New(const std::string& type);

 private:
  google::protobuf::DescriptorPool pool_{google::protobuf::DescriptorPool::generated_pool()};
  google::protobuf::DynamicMessageFactory factory_;
};

}  // namespace vmeventd

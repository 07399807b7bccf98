#include "watcher/session/run_state.h"

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "tests/support/saved_run.h"

namespace vmeventd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Makes messages of run_state.proto that know their fields, unlike those of the generated code.
class SavedMessages {
 public:
  SavedMessages() {
    std::ifstream file(VMEVENTD_RUN_STATE_DESCRIPTOR, std::ios::binary);
    google::protobuf::FileDescriptorSet set;
    EXPECT_TRUE(set.ParseFromIstream(&file)) << VMEVENTD_RUN_STATE_DESCRIPTOR;
    for (const auto& one : set.file()) EXPECT_NE(pool_.BuildFile(one), nullptr) << one.name();
  }
  std::unique_ptr<Message> NewRunState() {
    const Descriptor* const type = pool_.FindMessageTypeByName("vmeventd.internal.RunState");
    return std::unique_ptr<Message>(factory_.GetPrototype(type)->New());
  }

 private:
  google::protobuf::DescriptorPool pool_{google::protobuf::DescriptorPool::generated_pool()};
  google::protobuf::DynamicMessageFactory factory_;
};

// Sets each field of a message, and of those in it; numbers and texts differ, each flag is `flag`.
void Fill(bool flag, int* count, Message* message) {
  const Descriptor* const type = message->GetDescriptor();
  const auto* const reflection = message->GetReflection();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* const field = type->field(i);
    const int number = ++*count;
    const int32_t small = number % 2 + 1;  // a value of each enumeration, and of a Fact
    if (field->is_repeated()) {
      for (int each = 0; each < 2; ++each) {
        if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
          reflection->AddUInt64(message, field, static_cast<uint64_t>(number));
        } else {
          Fill(flag, count, reflection->AddMessage(message, field));
        }
      }
      continue;
    }
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Fill(flag, count, reflection->MutableMessage(message, field));
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        reflection->SetString(message, field, std::to_string(number));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection->SetBool(message, field, flag);
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        reflection->SetInt32(message, field, small);
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        reflection->SetEnumValue(message, field, small);
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        reflection->SetUInt32(message, field, static_cast<uint32_t>(number));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        reflection->SetInt64(message, field, number);
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection->SetUInt64(message, field, static_cast<uint64_t>(number));
        break;
      default:
        ADD_FAILURE() << field->full_name() << ": of a type that this test does not know";
    }
  }
}

TEST(RunStateTest, EachFieldOfTheSavedMessageIsRestoredAndSavedAgain) {
  SavedMessages messages;
  const uint32_t format = ParseSaved(SaveRunState({})).format();
  for (const bool flag : {true, false}) {
    const std::unique_ptr<Message> saved = messages.NewRunState();
    int count = 0;
    Fill(flag, &count, saved.get());
    saved->GetReflection()->SetUInt32(saved.get(),
                                      saved->GetDescriptor()->FindFieldByName("format"), format);

    const auto restored = RestoreRunState(saved->SerializeAsString());
    ASSERT_TRUE(restored.ok()) << restored.status();
    const std::unique_ptr<Message> again = messages.NewRunState();
    ASSERT_TRUE(again->ParseFromString(SaveRunState(*restored)));
    google::protobuf::util::MessageDifferencer differencer;
    std::string differences;
    differencer.ReportDifferencesToString(&differences);
    EXPECT_TRUE(differencer.Compare(*saved, *again)) << differences;
  }
}

}  // namespace
}  // namespace vmeventd

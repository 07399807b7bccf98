#include "tests/support/filled_message.h"

#include <cstdint>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

class Filler {
 public:
  explicit Filler(bool flag) : flag_(flag) {}

  void Fill(Message* message) {
    const Descriptor* const type = message->GetDescriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* const field = type->field(i);
      ++count_;
      if (!field->is_repeated()) {
        Set(field, message);
        continue;
      }
      for (int entry = 0; entry < 2; ++entry, ++count_) Add(field, message);
    }
  }

 private:
  // A value of each enumeration, and of a Fact.
  int32_t small() const { return count_ % 2 + 1; }

  void Set(const FieldDescriptor* field, Message* message) {
    const Reflection* const reflection = message->GetReflection();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Fill(reflection->MutableMessage(message, field));
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection->SetString(message, field, std::to_string(count_));
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection->SetBool(message, field, flag_);
      case FieldDescriptor::CPPTYPE_INT32:
        return reflection->SetInt32(message, field, small());
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection->SetEnumValue(message, field, small());
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection->SetUInt32(message, field, static_cast<uint32_t>(count_));
      case FieldDescriptor::CPPTYPE_INT64:
        return reflection->SetInt64(message, field, count_);
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection->SetUInt64(message, field, static_cast<uint64_t>(count_));
      default:
        ADD_FAILURE() << field->full_name() << ": of a type that Fill() does not know";
    }
  }

  void Add(const FieldDescriptor* field, Message* message) {
    const Reflection* const reflection = message->GetReflection();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Fill(reflection->AddMessage(message, field));
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection->AddString(message, field, std::to_string(count_));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection->AddEnumValue(message, field, small());
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection->AddUInt64(message, field, static_cast<uint64_t>(count_));
      default:
        ADD_FAILURE() << field->full_name() << ": repeated, of a type that Fill() does not know";
    }
  }

  const bool flag_;
  int count_ = 1000;  // so that texts sort as the numbers do
};

}  // namespace

void Fill(bool flag, Message* message) { Filler(flag).Fill(message); }

std::string Differences(const Message& expected, const Message& found) {
  google::protobuf::util::MessageDifferencer differencer;
  std::string differences;
  differencer.ReportDifferencesToString(&differences);
  differencer.Compare(expected, found);
  return differences;
}

}  // namespace vmeventd

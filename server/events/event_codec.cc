#include "server/events/event_codec.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"

namespace vmeventd {
namespace {

using google::protobuf::internal::WireFormatLite;

// The end of each event's encoding: the VmRef, unless it is empty, and then `durable`.
constexpr absl::string_view kDurable("\x50\x01", 2);
static_assert(v1::Event::kDurableFieldNumber == 10 && v1::Event::kVmFieldNumber == 4);

// Appends the tag and the length of a field whose contents follow.
void AppendHeader(int field, size_t size, std::string* out) {
  out->push_back(static_cast<char>(field << 3 | 2));
  for (; size >= 0x80; size >>= 7) out->push_back(static_cast<char>(size | 0x80));
  out->push_back(static_cast<char>(size));
}

}  // namespace

void CompleteEvent(const v1::Vm* vm, uint64_t sequence, v1::Event* event) {
  event->set_sequence(sequence);
  if (vm == nullptr) return;
  *event->mutable_vm() = vm->ref();
  event->set_state(vm->state());
  *event->mutable_problems() = vm->problems();
}

std::string Serialized(const google::protobuf::MessageLite& message) {
  std::string out(message.ByteSizeLong(), 0);
  google::protobuf::io::ArrayOutputStream array(out.data(), static_cast<int>(out.size()));
  google::protobuf::io::CodedOutputStream coded(&array);
  coded.SetSerializationDeterministic(true);  // the order of labels
  message.SerializeWithCachedSizes(&coded);
  coded.Trim();  // writes what it holds back
  return out;
}

absl::string_view MessageOfField(absl::string_view field) {
  // The tag is one byte, and the last byte of the length has no highest bit.
  size_t begin = 1;
  while (begin < field.size() && (field[begin] & 0x80) != 0) ++begin;
  return absl::ClippedSubstr(field, begin + 1);
}

StoredEvent StoredEventOf(absl::string_view event_field, size_t size) {
  absl::string_view message = MessageOfField(event_field);
  message.remove_suffix(kDurable.size());
  return {message.substr(0, size), MessageOfField(message.substr(size))};
}

void AppendStoredEvent(const StoredEvent& stored, std::string* out) {
  static_assert(int{v1::WatchEventsResponse::kEventsFieldNumber} ==
                int{v1::ListEventsResponse::kEventsFieldNumber});
  std::string end;
  if (!stored.vm_ref.empty()) {
    AppendHeader(v1::Event::kVmFieldNumber, stored.vm_ref.size(), &end);
    absl::StrAppend(&end, stored.vm_ref);
  }
  absl::StrAppend(&end, kDurable);
  AppendHeader(v1::WatchEventsResponse::kEventsFieldNumber, stored.event.size() + end.size(), out);
  absl::StrAppend(out, stored.event, end);
}

std::string EncodeSnapshotVmField(const v1::Vm& vm) {
  const std::string message = Serialized(vm);
  std::string out;
  AppendHeader(v1::WatchEventsResponse::kSnapshotVmsFieldNumber, message.size(), &out);
  return out + message;
}

std::string ListedVmField(absl::string_view snapshot_vm_field) {
  // Both tags are one byte, so that only that byte differs.
  static_assert(v1::ListVmsResponse::kVmsFieldNumber < 16);
  static_assert(v1::WatchEventsResponse::kSnapshotVmsFieldNumber < 16);
  std::string out(snapshot_vm_field);
  out[0] = static_cast<char>(WireFormatLite::MakeTag(v1::ListVmsResponse::kVmsFieldNumber,
                                                     WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  return out;
}

}  // namespace vmeventd

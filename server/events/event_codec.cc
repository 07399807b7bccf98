#include "server/events/event_codec.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace vmeventd {

std::string Serialized(const google::protobuf::MessageLite& message) {
  std::string out(message.ByteSizeLong(), 0);
  google::protobuf::io::ArrayOutputStream array(out.data(), static_cast<int>(out.size()));
  google::protobuf::io::CodedOutputStream coded(&array);
  coded.SetSerializationDeterministic(true);  // the order of labels
  message.SerializeWithCachedSizes(&coded);
  coded.Trim();  // writes what it holds back
  return out;
}

namespace {

constexpr absl::string_view kDurable("\x50\x01", kDurableBytes);  // the field `durable`, true
static_assert(v1::Event::kDurableFieldNumber == 10);

// Appends the tag and the length of a field whose contents follow.
void AppendHeader(int field, size_t size, std::string* out) {
  out->push_back(static_cast<char>(field << 3 | 2));
  for (; size >= 0x80; size >>= 7) out->push_back(static_cast<char>(size | 0x80));
  out->push_back(static_cast<char>(size));
}

}  // namespace

void AppendField(int field, absl::string_view message, std::string* out) {
  AppendHeader(field, message.size(), out);
  absl::StrAppend(out, message);
}

size_t AppendEvent(const EventRecord& record, std::string* out) {
  static_assert(int{v1::WatchEventsResponse::kEventsFieldNumber} ==
                int{v1::ListEventsResponse::kEventsFieldNumber});
  std::string vm;
  if (!record.is_of_node()) AppendHeader(v1::Event::kVmFieldNumber, record.vm_ref.size(), &vm);
  AppendHeader(v1::WatchEventsResponse::kEventsFieldNumber,
               record.event.size() + vm.size() + record.vm_ref.size() + kDurable.size(), out);
  const size_t at = out->size();
  absl::StrAppend(out, record.event, vm, record.vm_ref, kDurable);
  return at;
}

}  // namespace vmeventd

#include "server/rpc/raw_message.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/quote.h"
#include "base/utf8.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace vmeventd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kMaxDepth = 10;  // no request is nested this deep

// A text field that is not UTF-8.
struct BadText {
  std::string field;  // as "filter.vm_names[2]"
  std::string value;
};

// The first text field of an encoded message that is not UTF-8; unset: there is none, or the
// encoding is malformed before it.
std::optional<BadText> FindBadText(const std::string& bytes, const Descriptor& type,
                                   const std::string& prefix, int depth) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                      static_cast<int>(bytes.size()));
  std::map<int, int> counts;  // of each repeated field's entries so far
  while (const uint32_t tag = in.ReadTag()) {
    const FieldDescriptor* const field =
        type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool is_text = field != nullptr && field->type() == FieldDescriptor::TYPE_STRING;
    const bool is_message = field != nullptr && field->type() == FieldDescriptor::TYPE_MESSAGE;
    if ((!is_text && !is_message) ||
        WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&in, tag)) return std::nullopt;
      continue;
    }
    uint32_t size = 0;
    std::string value;
    if (!in.ReadVarint32(&size) || !in.ReadString(&value, static_cast<int>(size))) {
      return std::nullopt;
    }
    std::string name = absl::StrCat(prefix, field->name());
    if (field->is_repeated()) absl::StrAppend(&name, "[", counts[field->number()]++, "]");
    if (is_text && !IsValidUtf8(value)) return BadText{std::move(name), std::move(value)};
    if (is_message && depth < kMaxDepth) {
      std::optional<BadText> bad =
          FindBadText(value, *field->message_type(), absl::StrCat(name, "."), depth + 1);
      if (bad.has_value()) return bad;
    }
  }
  return std::nullopt;
}

std::string ToString(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!bytes.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices) {
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return out;
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  // Check first: protobuf refuses such a text as well, but names neither field nor value.
  const std::optional<BadText> bad = FindBadText(ToString(bytes), *message->GetDescriptor(), "", 0);
  if (bad.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(bad->field, ": ", Quote(bad->value), " is not UTF-8"));
  }
  grpc::ByteBuffer copy = bytes;  // shares the memory; the reader takes ownership
  grpc::ProtoBufferReader reader(&copy);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the request is not a valid ", message->GetTypeName(), ": malformed"));
}

}  // namespace vmeventd

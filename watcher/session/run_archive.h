#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/rare.h"
#include "base/shared_text.h"
#include "nlohmann/json.hpp"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"

// Two archives with the same members, so that one list of fields serves for writing a run and for
// reading it (VmSession::ArchiveFields):
//   Field        is always there
//   FieldIf      is written if its condition holds or, without one, if it is not empty, false or 0;
//                one that is missing leaves the value as it is
//   Enum, Flag   are numbers
//   Object       a member with fields of its own, written if its condition holds
// Keys are plain words, text is UTF-8, times and durations are nanoseconds.

namespace vmeventd {

// Writes one JSON object. The watcher saves a run with each step that changes it: this takes a
// fifth of the time of building a document first.
class ArchiveWriter {
 public:
  static constexpr bool kReads = false;

  // Most runs take less than that.
  static constexpr size_t kUsualBytes = 1536;

  ArchiveWriter() { Put('{'); }
  ArchiveWriter(const ArchiveWriter&) = delete;
  ArchiveWriter& operator=(const ArchiveWriter&) = delete;
  // Takes no more memory than it needs: thousands may wait to be written.
  std::string Take() && {
    Put('}');
    return {begin_, end_};
  }

  template <typename T>
  void Field(absl::string_view key, const T& value) {
    Key(key);
    Value(value);
  }
  template <typename T>
  void FieldIf(absl::string_view key, const T& value, bool condition) {
    if (condition) Field(key, value);
  }
  template <typename T>
  void FieldIf(absl::string_view key, const T& value) {
    if constexpr (requires { value.has_value(); }) {
      if (value.has_value()) Field(key, *value);
    } else if constexpr (std::is_arithmetic_v<T>) {
      FieldIf(key, value, value != T());
    } else {
      FieldIf(key, value, !value.empty());
    }
  }

  // One of `first` to `last`.
  template <typename T>
  void Enum(absl::string_view key, const T& value, T /*first*/, T /*last*/) {
    Field(key, static_cast<int>(value));
  }
  template <typename T>
  void EnumIf(absl::string_view key, const T& value, T first, T last, bool condition) {
    if (condition) Enum(key, value, first, last);
  }
  template <typename T>
  void EnumIf(absl::string_view key, const std::optional<T>& value, T first, T last) {
    if (value.has_value()) Enum(key, *value, first, last);
  }
  // 1 or 0.
  void FlagIf(absl::string_view key, bool value, bool condition) {
    if (condition) Field(key, value ? 1 : 0);
  }
  void FlagIf(absl::string_view key, std::optional<bool> value) {
    if (value.has_value()) Field(key, *value ? 1 : 0);
  }
  // Bytes of any kind, unless there are none.
  void RawBytes(absl::string_view key, const SharedText& raw) {
    if (!raw.empty()) Field(key, absl::Base64Escape(raw.str()));
  }
  template <typename... Ts>
  void Numbers(absl::string_view key, const Ts&... numbers) {
    Key(key);
    char separator = '[';
    ((Put(std::exchange(separator, ',')), Value(numbers)), ...);
    Put(']');
  }

  // Lists, unless they are empty.
  void Labels(absl::string_view key, const vmeventd::Labels& labels);

  template <typename Fields>
  void Object(absl::string_view key, bool condition, Fields fields) {
    if (!condition) return;
    Key(key);
    Put('{');
    first_ = true;
    fields();
    Put('}');
    first_ = false;
  }
  // `fields` gets the archive and a T.
  template <typename T, typename Fields>
  void ObjectIf(absl::string_view key, const Rare<T>& value, Fields fields) {
    Object(key, value.has_value(), [&] { fields(this, value.get()); });
  }
  void Entries(absl::string_view key, const std::vector<EvidenceEntry>& entries, size_t /*max*/) {
    Key(key);
    Put('[');
    bool first = true;
    for (const EvidenceEntry& entry : entries) {
      if (!std::exchange(first, false)) Put(',');
      Put('[');
      Value(entry.time);
      Put(',');
      Value(entry.what);
      if (entry.id != EvidenceId::kOther) {
        Put(',');
        Value(static_cast<int>(entry.id));
      }
      Put(']');
    }
    Put(']');
  }

 private:
  // Returns room for `bytes` at most; Wrote then says up to where.
  char* Room(size_t bytes) {
    if (static_cast<size_t>(limit_ - end_) < bytes) Grow(bytes);
    return end_;
  }
  void Wrote(char* end) { end_ = end; }
  void Put(char c) {
    *Room(1) = c;
    ++end_;
  }
  void Grow(size_t bytes);
  void Key(absl::string_view key) {
    char* out = Room(key.size() + 4);
    if (!std::exchange(first_, false)) *out++ = ',';
    *out++ = '"';
    out = std::copy(key.begin(), key.end(), out);
    *out++ = '"';
    *out++ = ':';
    Wrote(out);
  }
  template <typename Number>
  void Value(Number number) {
    constexpr size_t kMaxDigits = 24;
    char* const out = Room(kMaxDigits);
    Wrote(std::to_chars(out, out + kMaxDigits, number).ptr);
  }
  void Value(bool flag) {
    const absl::string_view text = flag ? "true" : "false";
    Wrote(std::copy(text.begin(), text.end(), Room(text.size())));
  }
  void Value(absl::Time time) { Value(absl::ToUnixNanos(time)); }
  void Value(absl::Duration duration) { Value(absl::ToInt64Nanoseconds(duration)); }
  void Value(const Instant& instant) {
    Put('[');
    Value(instant.wall);
    Put(',');
    Value(instant.monotonic);
    Put(']');
  }
  void Value(absl::string_view text);  // quoted
  void Value(const std::string& text) { Value(absl::string_view(text)); }
  void Value(const SharedText& text) { Value(text.str()); }

  std::array<char, kUsualBytes> usual_;
  std::string beyond_usual_;
  // Range in one of the two: [begin_, end_) is written.
  char* begin_ = usual_.data();
  char* end_ = usual_.data();
  char* limit_ = usual_.data() + usual_.size();
  bool first_ = true;
};

// Reads what an ArchiveWriter wrote, where it stands: no document is built. Throws
// nlohmann::json::exception where a field is missing or is not what it must be.
class ArchiveReader {
 public:
  using Json = nlohmann::json;
  static constexpr bool kReads = true;

  // `object`, the text of a JSON object, outlives the reader.
  explicit ArchiveReader(absl::string_view object) { Open(object); }

  template <typename T>
  void Field(absl::string_view key, T& value) {
    Read(At(key), &value);
  }
  template <typename T>
  void FieldIf(absl::string_view key, T& value, bool /*condition*/ = true) {
    if (const auto text = Find(key); text.has_value()) Read(*text, &value);
  }
  template <typename T>
  void FieldIf(absl::string_view key, std::optional<T>& value) {
    if (const auto text = Find(key); text.has_value()) Read(*text, &value.emplace());
  }
  template <typename T>
  void FieldIf(absl::string_view key, Rare<T>& value) {
    if (const auto text = Find(key); text.has_value()) Read(*text, &value.emplace());
  }
  template <typename T>
  void Enum(absl::string_view key, T& value, T first, T last) {
    ReadEnum(At(key), &value, first, last);
  }
  template <typename T>
  void EnumIf(absl::string_view key, T& value, T first, T last, bool /*condition*/) {
    if (const auto text = Find(key); text.has_value()) ReadEnum(*text, &value, first, last);
  }
  template <typename T>
  void EnumIf(absl::string_view key, std::optional<T>& value, T first, T last) {
    if (const auto text = Find(key); text.has_value()) {
      ReadEnum(*text, &value.emplace(), first, last);
    }
  }
  template <typename T>
  void FlagIf(absl::string_view key, T& value, bool /*condition*/ = true) {
    if (const auto text = Find(key); text.has_value()) value = Number<int>(*text) != 0;
  }
  void RawBytes(absl::string_view key, SharedText& raw);
  template <typename... Ts>
  void Numbers(absl::string_view key, Ts&... numbers) {
    const std::vector<absl::string_view> list = Elements(At(key), sizeof...(numbers));
    size_t index = 0;
    ((Read(list[index++], &numbers)), ...);
  }
  void Labels(absl::string_view key, vmeventd::Labels& labels);
  template <typename Fields>
  void Object(absl::string_view key, bool /*condition*/, Fields fields) {
    const auto object = Find(key);
    if (!object.has_value()) return;
    const size_t next = next_;
    std::vector<Member> outer = std::exchange(members_, {});
    Open(*object);
    fields();
    members_ = std::move(outer);
    next_ = next;
  }
  template <typename T, typename Fields>
  void ObjectIf(absl::string_view key, Rare<T>& value, Fields fields) {
    Object(key, true, [&] { fields(this, &value.emplace()); });
  }
  void Entries(absl::string_view key, std::vector<EvidenceEntry>& entries, size_t max);
  bool Has(absl::string_view key) { return Find(key).has_value(); }

 private:
  struct Member {
    absl::string_view key;
    absl::string_view value;  // as it stands in the text
  };

  // Makes the fields those of `object`.
  void Open(absl::string_view object);
  std::optional<absl::string_view> Find(absl::string_view key);
  absl::string_view At(absl::string_view key);
  // Elements of a list of at least `count`.
  static std::vector<absl::string_view> Elements(absl::string_view list, size_t count);
  [[noreturn]] static void Refuse(const std::string& why);

  // A whole number: another one may be beyond all whole ones.
  template <typename T>
  static T Number(absl::string_view text) {
    T number = 0;
    const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
    if (error != std::errc() || end != text.end()) Refuse("not a whole number");
    return number;
  }
  template <typename T>
  static void Read(absl::string_view text, T* value) {
    *value = Number<T>(text);
  }
  static void Read(absl::string_view text, bool* value);
  static void Read(absl::string_view text, std::string* value);
  static void Read(absl::string_view text, SharedText* value) {
    std::string read;
    Read(text, &read);
    *value = read;
  }
  static void Read(absl::string_view text, absl::Time* value) {
    *value = absl::FromUnixNanos(Number<int64_t>(text));
  }
  static void Read(absl::string_view text, absl::Duration* value) {
    *value = absl::Nanoseconds(Number<int64_t>(text));
  }
  static void Read(absl::string_view text, Instant* value) {
    const std::vector<absl::string_view> list = Elements(text, 2);
    Read(list[0], &value->wall);
    Read(list[1], &value->monotonic);
  }
  template <typename T>
  static void ReadEnum(absl::string_view text, T* value, T first, T last) {
    const auto number = Number<int64_t>(text);
    if (number < static_cast<int64_t>(first) || number > static_cast<int64_t>(last)) {
      Refuse(absl::StrCat("no such number: ", number));
    }
    *value = static_cast<T>(number);
  }

  std::vector<Member> members_;
  size_t next_ = 0;  // index in members_ after the one found last
};

}  // namespace vmeventd

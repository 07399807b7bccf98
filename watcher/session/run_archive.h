#ifndef VMEVENTD_WATCHER_SESSION_RUN_ARCHIVE_H_
#define VMEVENTD_WATCHER_SESSION_RUN_ARCHIVE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/instant.h"
#include "nlohmann/json.hpp"
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

  ArchiveWriter() {
    text_.reserve(kUsualBytes);
    text_ += '{';
  }
  std::string Take() && { return std::move(text_) + "}"; }

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
    if constexpr (std::is_arithmetic_v<T>) {
      FieldIf(key, value, value != T());
    } else {
      FieldIf(key, value, !value.empty());
    }
  }
  template <typename T>
  void FieldIf(absl::string_view key, const std::optional<T>& value) {
    if (value.has_value()) Field(key, *value);
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
  // The bytes that `text` was escaped from: written only where they differ.
  void RawBytes(absl::string_view key, const std::string& raw, const std::string& text) {
    if (raw != text) Field(key, absl::Base64Escape(raw));
  }
  template <typename... Ts>
  void Numbers(absl::string_view key, const Ts&... numbers) {
    Key(key);
    text_ += '[';
    Append(numbers...);
    text_ += ']';
  }

  template <typename Fields>
  void Object(absl::string_view key, bool condition, Fields fields) {
    if (!condition) return;
    Key(key);
    text_ += '{';
    first_ = true;
    fields();
    text_ += '}';
    first_ = false;
  }
  // `fields` gets the archive and a T.
  template <typename T, typename Fields>
  void ObjectIf(absl::string_view key, const std::optional<T>& value, Fields fields) {
    Object(key, value.has_value(), [&] { fields(this, &*value); });
  }
  void Entries(absl::string_view key, const std::vector<EvidenceEntry>& entries, size_t /*max*/) {
    Key(key);
    absl::string_view separator = "[";
    for (const EvidenceEntry& entry : entries) {
      absl::StrAppend(&text_, std::exchange(separator, ","), "[", absl::ToUnixNanos(entry.time),
                      ",");
      Value(entry.what);
      text_ += ']';
    }
    text_ += entries.empty() ? "[]" : "]";
  }

 private:
  void Key(absl::string_view key) {
    text_ += std::exchange(first_, false) ? "\"" : ",\"";
    text_.append(key.data(), key.size());
    text_ += "\":";
  }
  template <typename Number>
  void Value(Number number) {
    absl::StrAppend(&text_, number);
  }
  void Value(bool flag) { text_ += flag ? "true" : "false"; }
  void Value(absl::Time time) { Value(absl::ToUnixNanos(time)); }
  void Value(absl::Duration duration) { Value(absl::ToInt64Nanoseconds(duration)); }
  void Value(const Instant& instant) {
    absl::StrAppend(&text_, "[", absl::ToUnixNanos(instant.wall), ",",
                    absl::ToInt64Nanoseconds(instant.monotonic), "]");
  }
  void Value(const std::string& text);  // quoted
  template <typename T, typename... Ts>
  void Append(T first, Ts... others) {
    absl::StrAppend(&text_, first);
    ((absl::StrAppend(&text_, ",", others)), ...);
  }

  std::string text_;
  bool first_ = true;
};

// Reads what an ArchiveWriter wrote. Throws nlohmann::json::exception where a field is missing or
// is not what it must be.
class ArchiveReader {
 public:
  using Json = nlohmann::json;
  static constexpr bool kReads = true;

  // `json` outlives the reader.
  explicit ArchiveReader(const Json* json) : json_(json) {}

  template <typename T>
  void Field(const char* key, T& value) {
    Read(json_->at(key), &value);
  }
  template <typename T>
  void FieldIf(const char* key, T& value, bool /*condition*/ = true) {
    if (const Json* json = Find(key); json != nullptr) Read(*json, &value);
  }
  template <typename T>
  void FieldIf(const char* key, std::optional<T>& value) {
    if (const Json* json = Find(key); json != nullptr) Read(*json, &value.emplace());
  }
  template <typename T>
  void Enum(const char* key, T& value, T first, T last) {
    ReadEnum(json_->at(key), &value, first, last);
  }
  template <typename T>
  void EnumIf(const char* key, T& value, T first, T last, bool /*condition*/) {
    if (const Json* json = Find(key); json != nullptr) ReadEnum(*json, &value, first, last);
  }
  template <typename T>
  void EnumIf(const char* key, std::optional<T>& value, T first, T last) {
    if (const Json* json = Find(key); json != nullptr) {
      ReadEnum(*json, &value.emplace(), first, last);
    }
  }
  void FlagIf(const char* key, bool& value, bool /*condition*/) {
    if (const Json* json = Find(key); json != nullptr) value = Number<int>(*json) != 0;
  }
  void FlagIf(const char* key, std::optional<bool>& value) {
    if (const Json* json = Find(key); json != nullptr) value = Number<int>(*json) != 0;
  }
  void RawBytes(const char* key, std::string& raw, const std::string& text);
  template <typename... Ts>
  void Numbers(const char* key, Ts&... numbers) {
    const Json& list = json_->at(key);
    size_t index = 0;
    ((Read(list.at(index++), &numbers)), ...);
  }
  template <typename Fields>
  void Object(const char* key, bool /*condition*/, Fields fields) {
    const Json* const json = Find(key);
    if (json == nullptr) return;
    const Json* const outer = std::exchange(json_, json);
    fields();
    json_ = outer;
  }
  template <typename T, typename Fields>
  void ObjectIf(const char* key, std::optional<T>& value, Fields fields) {
    Object(key, true, [&] { fields(this, &value.emplace()); });
  }
  void Entries(const char* key, std::vector<EvidenceEntry>& entries, size_t max);
  bool Has(const char* key) const { return Find(key) != nullptr; }

 private:
  const Json* Find(const char* key) const {
    const auto it = json_->find(key);
    return it == json_->end() ? nullptr : &*it;
  }
  [[noreturn]] static void Refuse(const std::string& why);

  // A whole number: another one may be beyond all whole ones.
  template <typename T>
  static T Number(const Json& json) {
    if (!json.is_number_integer()) Refuse("not a whole number");
    return json.get<T>();
  }
  template <typename T>
  static void Read(const Json& json, T* value) {
    *value = Number<T>(json);
  }
  static void Read(const Json& json, bool* value) { *value = json.get<bool>(); }
  static void Read(const Json& json, std::string* value) { *value = json.get<std::string>(); }
  static void Read(const Json& json, absl::Time* value) {
    *value = absl::FromUnixNanos(Number<int64_t>(json));
  }
  static void Read(const Json& json, absl::Duration* value) {
    *value = absl::Nanoseconds(Number<int64_t>(json));
  }
  static void Read(const Json& json, Instant* value) {
    Read(json.at(0), &value->wall);
    Read(json.at(1), &value->monotonic);
  }
  template <typename T>
  static void ReadEnum(const Json& json, T* value, T first, T last) {
    const auto number = Number<int64_t>(json);
    if (number < static_cast<int64_t>(first) || number > static_cast<int64_t>(last)) {
      Refuse(absl::StrCat("no such number: ", number));
    }
    *value = static_cast<T>(number);
  }

  const Json* json_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_SESSION_RUN_ARCHIVE_H_

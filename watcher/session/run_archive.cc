#include "watcher/session/run_archive.h"

#include <algorithm>
#include <array>

namespace vmeventd {
namespace {

constexpr size_t kUsualMembers = 24;

// By a table: most of the time that it takes to write a run goes into looking for escapes.
constexpr std::array<bool, 256> kEscaped = [] {
  std::array<bool, 256> escaped{};
  for (int c = 0; c < 0x20; ++c) escaped[c] = true;
  escaped['"'] = escaped['\\'] = true;
  return escaped;
}();
bool IsEscaped(char c) { return kEscaped[static_cast<unsigned char>(c)]; }

// Goes through the tokens of one JSON object or list. Space between them is skipped.
class JsonText {
 public:
  explicit JsonText(absl::string_view text) : text_(text) {}

  // Takes `c`, if it is next.
  bool Take(char c) {
    SkipSpace();
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  // The value that is next, as it stands there; empty: there is none. What it consists of is looked
  // at by who reads it.
  absl::string_view TakeValue() {
    SkipSpace();
    size_t end = 0;
    for (int depth = 0; end < text_.size(); ++end) {
      const char c = text_[end];
      if (c == '"') {
        end = EndOfString(end);
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        if (depth == 0) break;  // of what this value stands in
        --depth;
      } else if (depth == 0 && (c == ',' || c == ':' || IsSpace(c))) {
        break;
      }
    }
    // A text without an end is no value.
    const absl::string_view value = end <= text_.size() ? text_.substr(0, end) : "";
    text_.remove_prefix(std::min(end, text_.size()));
    return value;
  }
  bool at_end() {
    SkipSpace();
    return text_.empty();
  }

 private:
  static bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
  void SkipSpace() {
    while (!text_.empty() && IsSpace(text_.front())) text_.remove_prefix(1);
  }
  // The place of the quote that ends the string whose first one is at `at`.
  size_t EndOfString(size_t at) const {
    for (++at; at < text_.size() && text_[at] != '"'; ++at) {
      if (text_[at] == '\\') ++at;
    }
    return at;
  }

  absl::string_view text_;
};

}  // namespace

void ArchiveWriter::Grow(size_t bytes) {
  const auto size = static_cast<size_t>(end_ - begin_);
  std::string larger(2 * size + bytes, '\0');
  std::copy(begin_, end_, larger.begin());
  beyond_usual_ = std::move(larger);
  begin_ = beyond_usual_.data();
  end_ = begin_ + size;
  limit_ = begin_ + beyond_usual_.size();
}

void ArchiveWriter::Value(absl::string_view text) {
  constexpr size_t kLongestEscape = 6;  // "\u001f"
  char* out = Room(kLongestEscape * text.size() + 2);
  *out++ = '"';
  for (auto at = text.begin(); at != text.end(); ++at) {
    const auto plain = std::exchange(at, std::find_if(at, text.end(), IsEscaped));
    out = std::copy(plain, at, out);
    if (at == text.end()) break;
    *out++ = '\\';
    if (const auto byte = static_cast<unsigned char>(*at); byte < 0x20) {
      constexpr char kDigits[] = "0123456789abcdef";
      for (const char c : {'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 0xF]}) *out++ = c;
    } else {
      *out++ = *at;
    }
  }
  *out++ = '"';
  Wrote(out);
}

void ArchiveWriter::Labels(absl::string_view key, const vmeventd::Labels& labels) {
  Object(key, !labels.empty(), [&] {
    for (const auto& [name, value] : labels) Field(name, value);
  });
}

void ArchiveReader::Open(absl::string_view object) {
  JsonText text(object);
  bool good = text.Take('{');
  members_.reserve(kUsualMembers);
  if (good && !text.Take('}')) {
    do {
      const absl::string_view key = text.TakeValue();
      good = key.size() >= 2 && key.front() == '"' && text.Take(':');
      if (!good) break;
      members_.push_back({key.substr(1, key.size() - 2), text.TakeValue()});
      good = !members_.back().value.empty();
    } while (good && text.Take(','));
    good = good && text.Take('}');
  }
  if (!good || !text.at_end()) Refuse("not an object");
  next_ = 0;
}

std::optional<absl::string_view> ArchiveReader::Find(absl::string_view key) {
  const auto has_key = [key](const Member& member) { return member.key == key; };
  // Mostly they are asked for in the order in which they were written.
  const auto next = members_.cbegin() + static_cast<ptrdiff_t>(next_);
  auto found = std::find_if(next, members_.cend(), has_key);
  if (found == members_.cend()) {
    found = std::find_if(members_.cbegin(), next, has_key);
    if (found == next) return std::nullopt;
  }
  next_ = static_cast<size_t>(found - members_.cbegin()) + 1;
  return found->value;
}

absl::string_view ArchiveReader::At(absl::string_view key) {
  const std::optional<absl::string_view> text = Find(key);
  if (!text.has_value()) Refuse(absl::StrCat("no ", key));
  return *text;
}

std::vector<absl::string_view> ArchiveReader::Elements(absl::string_view list, size_t count) {
  JsonText text(list);
  std::vector<absl::string_view> elements;
  elements.reserve(count);
  bool good = text.Take('[');
  if (good && !text.Take(']')) {
    do {
      elements.push_back(text.TakeValue());
      good = !elements.back().empty();
    } while (good && text.Take(','));
    good = good && text.Take(']');
  }
  if (!good || !text.at_end()) Refuse("not a list");
  if (elements.size() < count) Refuse("too short a list");
  return elements;
}

void ArchiveReader::Read(absl::string_view text, bool* value) {
  if (text != "true" && text != "false") Refuse("neither true nor false");
  *value = text == "true";
}

void ArchiveReader::Read(absl::string_view text, std::string* value) {
  const auto is_plain = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"' &&
      std::all_of(text.begin() + 1, text.end() - 1, is_plain)) {
    value->assign(text.data() + 1, text.size() - 2);
  } else {
    *value = Json::parse(text.begin(), text.end()).get<std::string>();
  }
}

void ArchiveReader::RawBytes(absl::string_view key, SharedText& raw) {
  const std::optional<absl::string_view> escaped = Find(key);
  if (!escaped.has_value()) return;
  std::string base64;
  std::string bytes;
  Read(*escaped, &base64);
  if (!absl::Base64Unescape(base64, &bytes)) Refuse(absl::StrCat(key, " is not base64"));
  raw = bytes;
}

void ArchiveReader::Entries(absl::string_view key, std::vector<EvidenceEntry>& entries,
                            size_t max) {
  for (const absl::string_view element : Elements(At(key), 0)) {
    if (entries.size() == max) break;
    const std::vector<absl::string_view> parts = Elements(element, 2);
    EvidenceEntry& entry = entries.emplace_back();
    Read(parts[0], &entry.time);
    Read(parts[1], &entry.what);
    // An earlier version kept none.
    if (parts.size() > 2) ReadEnum(parts[2], &entry.id, EvidenceId::kOther, kLastEvidenceId);
  }
}

void ArchiveReader::Labels(absl::string_view key, vmeventd::Labels& labels) {
  Object(key, true, [&] {
    for (const Member& member : members_) {
      labels.emplace_back(member.key, "");
      Read(member.value, &labels.back().second);
    }
  });
}

void ArchiveReader::Refuse(const std::string& why) {
  throw Json::other_error::create(501, why, nullptr);
}

}  // namespace vmeventd

#include "watcher/session/run_archive.h"

#include "absl/strings/str_format.h"

namespace vmeventd {

void ArchiveWriter::Value(const std::string& text) {
  text_ += '"';
  size_t plain = 0;  // [plain, i) needs no escape
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c != '"' && c != '\\' && c >= 0x20) continue;
    text_.append(text, plain, i - plain);
    plain = i + 1;
    if (c < 0x20) {
      absl::StrAppendFormat(&text_, "\\u%04x", c);
    } else {
      text_ += '\\';
      text_ += static_cast<char>(c);
    }
  }
  text_.append(text, plain, text.size() - plain);
  text_ += '"';
}

void ArchiveReader::RawBytes(const char* key, std::string& raw, const std::string& text) {
  const Json* const json = Find(key);
  if (json == nullptr) {
    raw = text;
  } else if (!absl::Base64Unescape(json->get_ref<const std::string&>(), &raw)) {
    Refuse(absl::StrCat(key, " is not base64"));
  }
}

void ArchiveReader::Entries(const char* key, std::vector<EvidenceEntry>& entries, size_t max) {
  for (const Json& json : json_->at(key)) {
    if (entries.size() == max) break;
    EvidenceEntry entry;
    Read(json.at(0), &entry.time);
    Read(json.at(1), &entry.what);
    entries.push_back(std::move(entry));
  }
}

void ArchiveReader::Refuse(const std::string& why) {
  throw Json::other_error::create(501, why, nullptr);
}

}  // namespace vmeventd

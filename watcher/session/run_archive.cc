#include "watcher/session/run_archive.h"

#include "absl/strings/str_format.h"

namespace vmeventd {

void ArchiveWriter::Value(const std::string& text) {
  text_ += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&text_, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      text_ += c;
    }
  }
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

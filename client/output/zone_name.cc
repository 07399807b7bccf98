#include "client/output/zone_name.h"

#include <cstddef>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"

namespace vmeventd::client {
namespace {

// "Europe/Berlin" if the path leads to .../zoneinfo/Europe/Berlin; otherwise empty.
std::string NameOfFile(const std::string& path) {
  const std::string database = "/zoneinfo/";
  std::error_code error;
  const std::string file = std::filesystem::canonical(path, error).string();
  const size_t found = file.rfind(database);
  return error || found == std::string::npos ? "" : file.substr(found + database.size());
}

}  // namespace

std::string ZoneName(absl::TimeZone zone, absl::Time time) {
  std::string name = zone.name();
  const bool is_path = absl::StartsWith(name, "/");
  // Abseil calls a zone that is only an offset so.
  const bool is_offset = absl::StartsWith(name, "Fixed/");
  if (!is_path && !is_offset) return name;
  const std::string of_file = is_path ? NameOfFile(name) : "";
  return of_file.empty() ? absl::FormatTime("%Ez", time, zone) : of_file;
}

}  // namespace vmeventd::client

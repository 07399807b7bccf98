#include "server/eventlog/damage_report.h"

#include <fcntl.h>
#include <unistd.h>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/system.h"
#include "server/eventlog/sqlite.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

std::string ReportPath(const std::string& journal_path) { return journal_path + ".damaged"; }

}  // namespace

void ReportDamage(const std::string& journal_path, absl::string_view why) {
  const UniqueFd fd(open(ReportPath(journal_path).c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!fd.valid()) return;
  // The file is enough, without the reason too.
  if (pwrite(fd.get(), why.data(), why.size(), 0) < 0 || fsync(fd.get()) != 0) return;
}

void RemoveDamageReport(const std::string& journal_path) {
  unlink(ReportPath(journal_path).c_str());
}

absl::Status CheckReportedDamage(const std::string& journal_path) {
  const absl::StatusOr<std::string> why = ReadSmallFile(ReportPath(journal_path));
  if (!why.ok()) return absl::OkStatus();
  const std::string prefix = absl::StrCat(journal_path, ": ");
  const absl::Status damage =
      absl::DataLossError(absl::StrCat(prefix, absl::StripPrefix(*why, prefix)));
  const bool is_there = access(journal_path.c_str(), F_OK) == 0;
  if (!is_there || why->empty() || absl::EndsWith(*why, kRestart)) return damage;
  if (absl::Status found = QuickCheck(journal_path, damage); !found.ok()) return found;
  spdlog::warn("{}; the file passes a check now and is used on", std::string(damage.message()));
  RemoveDamageReport(journal_path);
  return absl::OkStatus();
}

}  // namespace vmeventd

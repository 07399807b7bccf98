#include "server/eventlog/damage_report.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "server/eventlog/database_check.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr char kWithoutCheck[] = "vmeventd.without-check";
// The first line: what the next start does. Without it, it replaces the journal.
constexpr absl::string_view kCheck = "check\n";
constexpr absl::string_view kReplace = "replace\n";

std::string ReportPath(const std::string& journal_path) { return journal_path + ".damaged"; }

}  // namespace

absl::Status WithoutCheck(absl::Status damage) {
  damage.SetPayload(kWithoutCheck, absl::Cord());
  return damage;
}

void ReportDamage(const std::string& journal_path, const absl::Status& damage, bool is_connected) {
  const bool has_log = access((journal_path + "-wal").c_str(), F_OK) == 0 || errno != ENOENT;
  const UniqueFd fd(open(ReportPath(journal_path).c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!fd.valid()) return;
  const bool replace = damage.GetPayload(kWithoutCheck).has_value() || (is_connected && !has_log);
  const std::string why = absl::StrCat(replace ? kReplace : kCheck, damage.message());
  // The file's existence is enough, even without the reason.
  if (pwrite(fd.get(), why.data(), why.size(), 0) < 0 || fsync(fd.get()) != 0) return;
}

void RemoveDamageReport(const std::string& journal_path) {
  unlink(ReportPath(journal_path).c_str());
}

absl::Status CheckReportedDamage(const std::string& journal_path) {
  const absl::StatusOr<std::string> report = ReadSmallFile(ReportPath(journal_path));
  if (!report.ok()) return absl::OkStatus();
  absl::string_view why = *report;
  const bool check = absl::ConsumePrefix(&why, kCheck);
  if (!check) absl::ConsumePrefix(&why, kReplace);
  const absl::Status damage =
      absl::DataLossError(why.empty() ? absl::StrCat(journal_path, ": reported as damaged") : why);
  if (!check || access(journal_path.c_str(), F_OK) != 0) return damage;
  if (absl::Status found = QuickCheck(journal_path, damage); !found.ok()) return found;
  spdlog::warn("{}; the file now passes a check and stays in use", std::string(damage.message()));
  RemoveDamageReport(journal_path);
  return absl::OkStatus();
}

}  // namespace vmeventd

#include "server/config/tls_files.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/do_within.h"
#include "base/mutex.h"
#include "base/thread_name.h"
#include "server/config/tls_material.h"
#include "server/config/tls_paths.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

void LogFault(const absl::Status& status) {
  spdlog::error("{}; the previous certificate stays in use", std::string(status.message()));
}

// Identifies the files and their contents.
std::string Fingerprint(const TlsPaths& paths) {
  std::string out;
  for (const std::string* path : {&paths.cert, &paths.key, &paths.client_ca}) {
    struct stat info {};
    if (stat(path->c_str(), &info) != 0) info = {};
    absl::StrAppend(&out, info.st_dev, " ", info.st_ino, " ", info.st_size, " ",
                    info.st_mtim.tv_sec, " ", info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, " ",
                    info.st_ctim.tv_nsec, "\n");
  }
  return out;
}

}  // namespace

TlsFiles::TlsFiles(TlsPaths paths, const Clock* clock, absl::Duration patience)
    : paths_(std::move(paths)),
      clock_(clock),
      patience_(patience),
      threads_(1, [] { SetThreadName("tls-files"); }) {}

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(const TlsPaths& paths, const Clock* clock,
                                                         absl::Duration patience) {
  std::unique_ptr<TlsFiles> out(new TlsFiles(paths, clock, patience));
  const MutexLock lock(&out->mutex_);
  std::optional<Found> found =
      out->look_.Within(&out->threads_, kFileSystemPatience, [paths] { return Look(paths, ""); });
  if (!found.has_value()) return TlsFilesHang(paths);
  if (!found->contents->ok()) return found->contents->status();
  out->fingerprint_ = std::move(found->fingerprint);
  out->UseLocked(**std::move(found->contents));
  return out;
}

TlsFiles::Found TlsFiles::Look(const TlsPaths& paths, const std::string& known) {
  // The fingerprint is taken first, so that a change during the read causes another read.
  Found out = {.fingerprint = Fingerprint(paths), .contents = std::nullopt};
  if (out.fingerprint != known) out.contents = ReadTlsMaterial(paths);
  return out;
}

absl::Status TlsFiles::LookLocked(const std::string& known, absl::Duration patience) {
  std::optional<Found> found =
      look_.Within(&threads_, patience, [paths = paths_, known] { return Look(paths, known); });
  if (!found.has_value()) return TlsFilesHang(paths_);
  hangs_ = false;
  fingerprint_ = std::move(found->fingerprint);
  if (!found->contents.has_value()) return absl::OkStatus();
  usable_ = found->contents->ok();
  if (usable_) {
    UseLocked(**std::move(found->contents));
    return absl::OkStatus();
  }
  reload_failures_.Add();
  LogFault(found->contents->status());
  return found->contents->status();
}

void TlsFiles::UseLocked(TlsMaterial material) {
  material_ = std::make_shared<const TlsMaterial>(std::move(material));
  const bool expired = material_->not_after <= clock_->Now().wall;
  spdlog::log(expired ? spdlog::level::err : spdlog::level::info, "TLS certificate {} of {} {} {}",
              material_->subject, paths_.cert,
              expired ? "has expired, and clients refuse it: replace it; it was valid until"
                      : "is in use; valid until",
              absl::FormatTime(absl::RFC3339_sec, material_->not_after, absl::UTCTimeZone()));
}

absl::Status TlsFiles::Reload() {
  const MutexLock lock(&mutex_);
  absl::Status status;
  // An earlier look may have read older files.
  if (look_.under_way()) status = LookLocked("", kFileSystemPatience);
  if (!look_.under_way()) status = LookLocked("", kFileSystemPatience);
  if (look_.under_way()) LogHang();
  return status;
}

std::shared_ptr<const TlsMaterial> TlsFiles::Current() {
  const MutexLock lock(&mutex_);
  const absl::Duration now = clock_->Now().monotonic;
  const bool begins = !look_.under_way() && now - looked_at_ >= kLookInterval;
  if (begins) looked_at_ = now;
  if (begins || look_.under_way()) {
    LookLocked(fingerprint_, begins ? patience_ : absl::ZeroDuration())
        .IgnoreError();  // it has been logged
  }
  if (look_.under_way() && now - looked_at_ >= kFileSystemPatience) LogHang();
  return material_;
}

void TlsFiles::LogHang() {
  if (!std::exchange(hangs_, true)) LogFault(TlsFilesHang(paths_));
}

}  // namespace vmeventd

#include "server/transport/tls_files.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(const TlsPaths& paths,
                                                         const Clock* clock) {
  std::unique_ptr<TlsFiles> out(new TlsFiles(paths, clock));
  const MutexLock lock(&out->mutex_);
  if (absl::Status status = out->ReadLocked(); !status.ok()) return status;
  return out;
}

std::string TlsFiles::Fingerprint() const {
  std::string out;
  for (const std::string* path : {&paths_.cert, &paths_.key, &paths_.client_ca}) {
    struct stat info {};
    if (stat(path->c_str(), &info) != 0) info = {};
    absl::StrAppend(&out, info.st_dev, " ", info.st_ino, " ", info.st_size, " ",
                    info.st_mtim.tv_sec, " ", info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, " ",
                    info.st_ctim.tv_nsec, "\n");
  }
  return out;
}

absl::Status TlsFiles::ReadLocked() {
  fingerprint_ = Fingerprint();  // taken first, so that changes during the read cause another one
  absl::StatusOr<TlsMaterial> read = LoadTlsMaterial(paths_);
  if (!read.ok()) return read.status();
  material_ = std::make_shared<const TlsMaterial>(*std::move(read));
  const bool expired = material_->not_after <= clock_->Now().wall;
  spdlog::log(expired ? spdlog::level::err : spdlog::level::info, "TLS certificate {} of {} {} {}",
              material_->subject, paths_.cert,
              expired ? "has expired, and clients refuse it: replace it; it was valid until"
                      : "is in use; valid until",
              absl::FormatTime(absl::RFC3339_sec, material_->not_after, absl::UTCTimeZone()));
  return absl::OkStatus();
}

absl::Status TlsFiles::ReadAgainLocked() {
  absl::Status status = ReadLocked();
  usable_ = status.ok();
  if (!status.ok()) {
    reload_failures_.Add();
    spdlog::error("{}; the certificate that was read before stays in use",
                  std::string(status.message()));
  }
  return status;
}

std::shared_ptr<const TlsMaterial> TlsFiles::Current() {
  const MutexLock lock(&mutex_);
  const absl::Duration now = clock_->Now().monotonic;
  if (now - looked_at_ >= kLookInterval) {
    looked_at_ = now;
    if (Fingerprint() != fingerprint_) ReadAgainLocked().IgnoreError();  // it has been logged
  }
  return material_;
}

}  // namespace vmeventd

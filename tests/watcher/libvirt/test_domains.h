#pragma once

#include <unistd.h>

#include "absl/strings/str_format.h"
#include "watcher/libvirt/libvirt_api.h"

// Domains that a test plays, and what they report.

namespace vmeventd {

// UUIDs of this test process alone: others that run at the same time have processes with theirs.
inline const DomainName kDomain = {"web1",
                                   absl::StrFormat("475852fa-ea74-4630-8eae-%012d", getpid()), 3};
inline const DomainName kOther = {"other",
                                  absl::StrFormat("475852fa-0000-4630-8eae-%012d", getpid()), 9};
// Another life of the first domain.
inline DomainName LifeWithId(int id) {
  DomainName life = kDomain;
  life.id = id;
  return life;
}
inline constexpr char kGuestShutdown[] = R"({"guest":true,"reason":"guest-shutdown"})";
inline constexpr char kHostSignal[] = R"({"guest":false,"reason":"host-signal"})";

}  // namespace vmeventd

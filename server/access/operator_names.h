#ifndef VMEVENTD_SERVER_ACCESS_OPERATOR_NAMES_H_
#define VMEVENTD_SERVER_ACCESS_OPERATOR_NAMES_H_

#include <string>

#include "absl/strings/string_view.h"

namespace vmeventd {

// The kinds of subject alternative names in a certificate.
enum class NameKind { kDns, kUri, kEmail, kIp };

// "DNS", "URI", "email", "IP".
absl::string_view NameKindText(NameKind kind);

// Which kind of name a --tls-operator is, by its form: an IP address, "scheme:…" a URI, "…@…" an
// email address, everything else a DNS name.
NameKind KindOfOperator(absl::string_view name);

// Whether a certificate's name of `kind` is this --tls-operator. The kinds must be the same, so
// that an authority that gives out names of one kind freely makes no operator of another. DNS names
// and domains of email addresses are the same in any case, IP addresses in any notation.
bool IsOperatorName(absl::string_view name_of_operator, NameKind kind, absl::string_view name);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_ACCESS_OPERATOR_NAMES_H_

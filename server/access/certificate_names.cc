#include "server/access/certificate_names.h"

#include <openssl/x509v3.h>

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

std::string DnsName(absl::string_view name) {
  return absl::StrCat("DNS ", absl::AsciiStrToLower(absl::CHexEscape(name)));
}
std::string UriName(absl::string_view name) { return absl::StrCat("URI ", absl::CHexEscape(name)); }

}  // namespace

std::vector<std::string> CertificateNamesOf(X509* certificate) {
  std::vector<std::string> out;
  if (certificate == nullptr) return out;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME& name = *sk_GENERAL_NAME_value(names.get(), i);
    if (name.type != GEN_DNS && name.type != GEN_URI) continue;
    const ASN1_STRING* const text = name.d.ia5;
    const absl::string_view bytes(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                  static_cast<size_t>(ASN1_STRING_length(text)));
    out.push_back(name.type == GEN_DNS ? DnsName(bytes) : UriName(bytes));
  }
  return out;
}

std::string OperatorName(absl::string_view name) {
  return absl::StrContains(name, ':') ? UriName(name) : DnsName(name);
}

}  // namespace vmeventd

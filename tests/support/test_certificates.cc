#include "tests/support/test_certificates.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/openssl_ptr.h"

namespace vmeventd {
namespace {

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "test certificates: %s failed\n", what);
  ERR_print_errors_fp(stderr);
  std::abort();
}

using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpensslDeleter<X509_EXTENSION_free>>;

KeyPtr MakeKey() {
  KeyPtr key(EVP_EC_gen("P-256"));
  Check(key != nullptr, "making a key");
  return key;
}

// Writes a new file and renames it, so that no reader sees half of it.
template <typename Write>
void WriteFile(const std::string& path, std::filesystem::perms mode, Write write) {
  const std::string temporary = path + ".new";
  const BioPtr file(BIO_new_file(temporary.c_str(), "w"));
  Check(file != nullptr, temporary.c_str());
  std::filesystem::permissions(temporary, mode);
  Check(write(file.get()) == 1 && BIO_flush(file.get()) == 1, temporary.c_str());
  std::filesystem::rename(temporary, path);
}

void WriteCertificate(const std::string& path, X509* certificate) {
  WriteFile(path, std::filesystem::perms{0644},
            [certificate](BIO* file) { return PEM_write_bio_X509(file, certificate); });
}

void WriteKey(const std::string& path, EVP_PKEY* key) {
  WriteFile(path, std::filesystem::perms{0600}, [key](BIO* file) {
    return PEM_write_bio_PKCS8PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  Check(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1, value.c_str());
}

// No name has a comma.
void AddAlternativeNames(const CertificateOptions& options, X509* certificate) {
  std::vector<std::string> names;
  const auto add = [&names](const char* kind, const std::vector<std::string>& texts) {
    for (const std::string& text : texts) names.push_back(absl::StrCat(kind, ":", text));
  };
  add("DNS", options.dns_names);
  add("URI", options.uris);
  add("IP", options.ip_addresses);
  if (names.empty()) return;
  AddExtension(certificate, nullptr, NID_subject_alt_name, absl::StrJoin(names, ","));
}

// Makes an unsigned certificate for `key`, without extensions.
X509Ptr MakeCertificate(const CertificateOptions& options, EVP_PKEY* key, X509_NAME* issuer) {
  X509Ptr certificate(X509_new());
  const std::unique_ptr<BIGNUM, OpensslDeleter<BN_free>> serial(BN_new());
  Check(BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1, "a serial number");
  X509_set_version(certificate.get(), X509_VERSION_3);
  BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get()));
  ASN1_TIME_set(X509_getm_notBefore(certificate.get()), absl::ToTimeT(options.not_before));
  ASN1_TIME_set(X509_getm_notAfter(certificate.get()), absl::ToTimeT(options.not_after));
  X509_NAME* const subject = X509_get_subject_name(certificate.get());
  Check(
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(options.common_name.data()),
                                 static_cast<int>(options.common_name.size()), -1, 0) == 1,
      "the common name");
  Check(X509_set_issuer_name(certificate.get(), issuer == nullptr ? subject : issuer) == 1 &&
            X509_set_pubkey(certificate.get(), key) == 1,
        "the certificate's fields");
  return certificate;
}

}  // namespace

struct CertificateAuthority::State {
  KeyPtr key;
  X509Ptr certificate;
  int issued = 0;
};

CertificateAuthority::CertificateAuthority(const std::string& directory,
                                           const std::string& common_name)
    : CertificateAuthority(directory, common_name, nullptr) {}

CertificateAuthority::CertificateAuthority(const std::string& directory,
                                           const std::string& common_name, const State* issuer)
    : certificate_(directory + "/" + common_name + ".pem"), state_(std::make_unique<State>()) {
  const CertificateOptions options = {.common_name = common_name,
                                      .not_before = absl::Now() - absl::Hours(24 * 365),
                                      .not_after = absl::Now() + absl::Hours(24 * 365)};
  state_->key = MakeKey();
  X509* const issuing = issuer == nullptr ? nullptr : issuer->certificate.get();
  state_->certificate = MakeCertificate(
      options, state_->key.get(), issuing == nullptr ? nullptr : X509_get_subject_name(issuing));
  X509* const own = state_->certificate.get();
  AddExtension(own, own, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(own, own, NID_key_usage, "critical,keyCertSign,cRLSign");
  AddExtension(own, own, NID_subject_key_identifier, "hash");
  if (issuing != nullptr) AddExtension(own, issuing, NID_authority_key_identifier, "keyid");
  EVP_PKEY* const signer = issuer == nullptr ? state_->key.get() : issuer->key.get();
  Check(X509_sign(own, signer, EVP_sha256()) > 0, "signing the authority's certificate");
  WriteCertificate(certificate_, own);
}

CertificateAuthority::~CertificateAuthority() = default;

std::unique_ptr<CertificateAuthority> CertificateAuthority::IssueAuthority(
    const std::string& common_name) {
  const std::string directory = certificate_.substr(0, certificate_.rfind('/'));
  return std::unique_ptr<CertificateAuthority>(
      new CertificateAuthority(directory, common_name, state_.get()));
}

CertificateFiles CertificateAuthority::Issue(const CertificateOptions& options) {
  X509* const issuer = state_->certificate.get();
  const KeyPtr key = MakeKey();
  const X509Ptr certificate = MakeCertificate(options, key.get(), X509_get_subject_name(issuer));
  AddExtension(certificate.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
  AddExtension(certificate.get(), issuer, NID_key_usage, "critical,digitalSignature");
  const std::string usages = options.server && options.client ? "serverAuth,clientAuth"
                             : options.server                 ? "serverAuth"
                                                              : "clientAuth";
  if (options.server || options.client) {
    AddExtension(certificate.get(), issuer, NID_ext_key_usage, usages);
  }
  AddExtension(certificate.get(), issuer, NID_subject_key_identifier, "hash");
  AddExtension(certificate.get(), issuer, NID_authority_key_identifier, "keyid");
  AddAlternativeNames(options, certificate.get());
  Check(X509_sign(certificate.get(), state_->key.get(), EVP_sha256()) > 0, "signing");
  const std::string stem = certificate_.substr(0, certificate_.size() - 4) + "-issued-" +
                           std::to_string(++state_->issued);
  CertificateFiles files = {stem + ".pem", stem + ".key"};
  WriteCertificate(files.certificate, certificate.get());
  WriteKey(files.key, key.get());
  return files;
}

CertificateOptions ServerCertificate() {
  return {.common_name = "localhost",
          .dns_names = {"localhost"},
          .ip_addresses = {"127.0.0.1", "::1"},
          .server = true};
}

CertificateOptions ClientCertificate(const std::string& uri) {
  return {.common_name = "client", .uris = {uri}, .client = true};
}

void ReplaceCertificate(const CertificateFiles& from, const CertificateFiles& to) {
  for (const auto& [source, target] :
       {std::pair(from.certificate, to.certificate), std::pair(from.key, to.key)}) {
    const std::string temporary = target + ".new";
    std::filesystem::copy_file(source, temporary,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::rename(temporary, target);
  }
}

}  // namespace vmeventd

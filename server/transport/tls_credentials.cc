#include "server/transport/tls_credentials.h"

#include <string>
#include <utility>

#include "grpc/grpc.h"
#include "grpc/grpc_security.h"

namespace vmeventd {
namespace {

// gRPC's C++ interface has no certificate fetcher; its C interface has: asked at every handshake,
// where the C++ one's file watcher polls, and takes a key that does not match.
class FetchedCredentials : public grpc::ServerCredentials {
 public:
  explicit FetchedCredentials(TlsFiles* files) : files_(files) {
    const auto clients = files->asks_clients()
                             ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                             : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(clients, &Fetch, this));
  }
  ~FetchedCredentials() override { grpc_server_credentials_release(credentials_); }
  FetchedCredentials(const FetchedCredentials&) = delete;
  FetchedCredentials& operator=(const FetchedCredentials&) = delete;

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<FetchedCredentials*>(self)->FetchNew(config);
  }

  grpc_ssl_certificate_config_reload_status FetchNew(grpc_ssl_server_certificate_config** config) {
    std::shared_ptr<const TlsMaterial> current = files_->Current();
    if (current == in_use_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair{current->key.c_str(), current->cert.c_str()};
    // gRPC wants authorities even where it asks for no certificate, and then does not use them.
    const std::string& authorities = files_->asks_clients() ? current->client_ca : current->cert;
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    in_use_ = std::move(current);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  TlsFiles* const files_;
  grpc_server_credentials* credentials_ = nullptr;
  std::shared_ptr<const TlsMaterial> in_use_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(TlsFiles* files) {
  return std::make_shared<FetchedCredentials>(files);
}

}  // namespace vmeventd

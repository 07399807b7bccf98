#ifndef VMEVENTD_SERVER_TRANSPORT_TLS_CREDENTIALS_H_
#define VMEVENTD_SERVER_TRANSPORT_TLS_CREDENTIALS_H_

#include <memory>

#include "grpcpp/grpcpp.h"
#include "server/transport/tls_files.h"

namespace vmeventd {

// TLS 1.2 or newer with what `files` hold at each handshake; connections that are open go on with
// what they began with. Where files->asks_clients(), a client must show a certificate of one of
// those authorities. `files` outlives the credentials. Every connection must be handed to the
// server by one thread: gRPC 1.51 does not guard the exchange of certificates.
std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(TlsFiles* files);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_TRANSPORT_TLS_CREDENTIALS_H_

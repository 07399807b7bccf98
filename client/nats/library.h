#pragma once

#include <nats/nats.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/shared_library.h"

// NATS's client library, loaded when it is needed: a host that does not use NATS needs no package.
// For connection.cc.

namespace vmeventd::nats {

// The library's functions in use.
#define VMEVENTD_NATS_FUNCTIONS(F)           \
  F(natsConnection_Connect)                  \
  F(natsConnection_Destroy)                  \
  F(natsConnection_FlushTimeout)             \
  F(natsConnection_GetLastError)             \
  F(natsConnection_GetMaxPayload)            \
  F(natsConnection_IsClosed)                 \
  F(natsConnection_PublishMsg)               \
  F(natsConnection_Request)                  \
  F(natsConnection_Subscribe)                \
  F(natsMsgHeader_Get)                       \
  F(natsMsgHeader_Set)                       \
  F(natsMsg_Create)                          \
  F(natsMsg_Destroy)                         \
  F(natsMsg_GetData)                         \
  F(natsMsg_GetDataLength)                   \
  F(natsMsg_GetReply)                        \
  F(natsMsg_GetSubject)                      \
  F(natsMsg_IsNoResponders)                  \
  F(natsOptions_Create)                      \
  F(natsOptions_Destroy)                     \
  F(natsOptions_LoadCATrustedCertificates)   \
  F(natsOptions_LoadCertificatesChain)       \
  F(natsOptions_SetAllowReconnect)           \
  F(natsOptions_SetCustomInboxPrefix)        \
  F(natsOptions_SetErrorHandler)             \
  F(natsOptions_SetExpectedHostname)         \
  F(natsOptions_SetMaxPingsOut)              \
  F(natsOptions_SetName)                     \
  F(natsOptions_SetPingInterval)             \
  F(natsOptions_SetSecure)                   \
  F(natsOptions_SetServers)                  \
  F(natsOptions_SetTimeout)                  \
  F(natsOptions_SetUserCredentialsFromFiles) \
  F(natsOptions_SetWriteDeadline)            \
  F(natsOptions_UseGlobalMessageDelivery)    \
  F(natsStatus_GetText)                      \
  F(natsSubscription_Destroy)                \
  F(natsSubscription_SetOnCompleteCB)        \
  F(natsSubscription_SetPendingLimits)       \
  F(nats_GetLastError)

struct Functions {
  VMEVENTD_NATS_FUNCTIONS(VMEVENTD_FUNCTION_MEMBER)
};

// The library; loaded by the first call. FAILED_PRECONDITION: it is missing. Any thread.
const absl::Status& Load();
// Filled by Load, and constant from then on.
const Functions& Lib();

// The library's words for what failed in this thread. They name servers and files, and no contents
// of credentials.
std::string ErrorText(natsStatus status);

// Deleter of the library's objects.
struct Destroyer {
  void operator()(natsConnection* connection) const { Lib().natsConnection_Destroy(connection); }
  void operator()(natsSubscription* subscription) const {
    Lib().natsSubscription_Destroy(subscription);
  }
  void operator()(natsMsg* message) const { Lib().natsMsg_Destroy(message); }
  void operator()(natsOptions* options) const { Lib().natsOptions_Destroy(options); }
};
template <typename T>
using Owned = std::unique_ptr<T, Destroyer>;

}  // namespace vmeventd::nats

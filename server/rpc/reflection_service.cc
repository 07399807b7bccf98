#include "server/rpc/reflection_service.h"

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/support/status.h"
#include "server/rpc/parse_message.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using grpc::health::v1::HealthCheckRequest;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

// Adds the encoded file and what it imports: clients need all of it, and would ask for each.
void AddEncoded(const FileDescriptor& file, std::set<const FileDescriptor*>* added,
                grpc::reflection::v1::FileDescriptorResponse* out) {
  if (!added->insert(&file).second) return;
  google::protobuf::FileDescriptorProto encoded;
  file.CopyTo(&encoded);
  encoded.SerializeToString(out->add_file_descriptor_proto());
  for (int i = 0; i < file.dependency_count(); ++i) AddEncoded(*file.dependency(i), added, out);
}

void SetError(grpc::StatusCode code, const std::string& message, ServerReflectionResponse* out) {
  out->mutable_error_response()->set_error_code(code);
  out->mutable_error_response()->set_error_message(message);
}

void SetFile(const FileDescriptor* file, ServerReflectionResponse* out) {
  if (file == nullptr) return SetError(grpc::NOT_FOUND, "no service of vmeventd uses this", out);
  std::set<const FileDescriptor*> added;
  AddEncoded(*file, &added, out->mutable_file_descriptor_response());
}

absl::StatusOr<std::string> AnswerBytes(const grpc::ByteBuffer& bytes) {
  if (bytes.Length() > kMaxReflectionBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the request has ", bytes.Length(),
                                                   " bytes, at most ", kMaxReflectionBytes,
                                                   " are allowed"));
  }
  ServerReflectionRequest request;
  if (absl::Status status = ParseMessage(bytes, &request); !status.ok()) return status;
  return AnswerReflection(request).SerializeAsString();
}

}  // namespace

ServerReflectionResponse AnswerReflection(const ServerReflectionRequest& request) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  ServerReflectionResponse out;
  out.set_valid_host(request.host());
  *out.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      SetFile(pool.FindFileByName(request.file_by_filename()), &out);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      SetFile(pool.FindFileContainingSymbol(request.file_containing_symbol()), &out);
      break;
    case ServerReflectionRequest::kFileContainingExtension:
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      SetFile(nullptr, &out);  // proto3 has no extensions
      break;
    case ServerReflectionRequest::kListServices:
      for (const FileDescriptor* const file :
           {v1::Event::descriptor()->file(), HealthCheckRequest::descriptor()->file(),
            ServerReflectionRequest::descriptor()->file()}) {
        out.mutable_list_services_response()->add_service()->set_name(
            file->service(0)->full_name());
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(grpc::INVALID_ARGUMENT, "message_request: must be set", &out);
      break;
  }
  return out;
}

void AddReflectionTo(CallService* methods) {
  for (const char* version : {"v1", "v1alpha"}) {
    methods->Add(
        absl::StrCat("/grpc.reflection.", version, ".ServerReflection/ServerReflectionInfo"),
        [](IncomingCall* call) {
          call->Answer(AnswerBytes(call->request()), /*reads_next=*/true);
        });
  }
}

}  // namespace vmeventd

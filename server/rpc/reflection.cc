#include "server/rpc/reflection.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/text_format.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/support/status.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr char kMethod[] = "ServerReflection/ServerReflectionInfo";

// v1alpha is v1 with another name.
FileDescriptorProto AlphaOf(const FileDescriptorProto& file) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(file, &text);
  text = absl::StrReplaceAll(
      text, {{"reflection.v1", "reflection.v1alpha"}, {"reflection/v1", "reflection/v1alpha"}});
  FileDescriptorProto out;
  google::protobuf::TextFormat::ParseFromString(text, &out);
  return out;
}

// Adds the encoded file and what it imports: clients need all of it, and would ask for each.
void AddEncoded(const FileDescriptor& file, std::set<const FileDescriptor*>* added,
                grpc::reflection::v1::FileDescriptorResponse* out) {
  if (!added->insert(&file).second) return;
  FileDescriptorProto encoded;
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

absl::StatusOr<std::string> AnswerTo(const grpc::ByteBuffer& bytes, const Reflection& reflection) {
  if (bytes.Length() > Reflection::kMaxRequestBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the request has ", bytes.Length(),
                                                   " bytes, at most ", Reflection::kMaxRequestBytes,
                                                   " are allowed"));
  }
  ServerReflectionRequest request;
  if (absl::Status status = ParseMessage(bytes, &request); !status.ok()) return status;
  return reflection.Answer(request).SerializeAsString();
}

}  // namespace

Reflection::Reflection() {
  AddFile(*v1::Event::descriptor()->file());
  AddFile(*grpc::health::v1::HealthCheckRequest::descriptor()->file());
  AddFile(*ServerReflectionRequest::descriptor()->file());
  FileDescriptorProto reflection;
  ServerReflectionRequest::descriptor()->file()->CopyTo(&reflection);
  AddFile(*pool_.BuildFile(AlphaOf(reflection)));
}

void Reflection::AddFile(const FileDescriptor& file) {
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i));
  for (int i = 0; i < file.service_count(); ++i) services_.push_back(file.service(i)->full_name());
  if (pool_.FindFileByName(file.name()) != nullptr) return;
  FileDescriptorProto copy;
  file.CopyTo(&copy);
  pool_.BuildFile(copy);
}

ServerReflectionResponse Reflection::Answer(const ServerReflectionRequest& request) const {
  ServerReflectionResponse out;
  out.set_valid_host(request.host());
  *out.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      SetFile(pool_.FindFileByName(request.file_by_filename()), &out);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      SetFile(pool_.FindFileContainingSymbol(request.file_containing_symbol()), &out);
      break;
    case ServerReflectionRequest::kFileContainingExtension:
      SetFile(nullptr, &out);  // proto3 has none
      break;
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      if (pool_.FindMessageTypeByName(request.all_extension_numbers_of_type()) == nullptr) {
        SetFile(nullptr, &out);
      } else {
        out.mutable_all_extension_numbers_response()->set_base_type_name(
            request.all_extension_numbers_of_type());
      }
      break;
    case ServerReflectionRequest::kListServices:
      out.mutable_list_services_response();
      for (const std::string& name : services_) {
        out.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(grpc::INVALID_ARGUMENT, "message_request: must be set", &out);
      break;
  }
  return out;
}

void Reflection::AddTo(CallService* listener) const {
  for (const char* version : {"v1", "v1alpha"}) {
    listener->Add(
        absl::StrCat("/grpc.reflection.", version, ".", kMethod),
        [this](IncomingCall* call) { call->AnswerAndReadNext(AnswerTo(call->request(), *this)); });
  }
}

}  // namespace vmeventd

#include "server/rpc/standard_services.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/error_reason.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/text_format.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/support/status.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr size_t kMaxServiceName = 200;

std::string Encode(int status) {
  HealthCheckResponse response;
  response.set_status(static_cast<HealthCheckResponse::ServingStatus>(status));
  return response.SerializeAsString();
}

// The service named in a request.
absl::StatusOr<std::string> ServiceOf(const grpc::ByteBuffer& bytes) {
  HealthCheckRequest request;
  if (absl::Status status = ParseMessage(bytes, &request); !status.ok()) return status;
  if (request.service().size() > kMaxServiceName) {
    return absl::InvalidArgumentError(
        "service: the name is too long; it must have at most 200 bytes");
  }
  return request.service();
}

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

// One Health/Watch: sends each status that differs from the last one sent. Any thread.
class Health::Watcher : public CallStream, public std::enable_shared_from_this<Health::Watcher> {
 public:
  Watcher(Health* health, StreamCall* call, std::string service)
      : health_(health), call_(call), service_(std::move(service)) {}

  // Call it when the status may have changed, or the daemon stops.
  void Wake() {
    const auto self = shared_from_this();  // another thread may end the call in the meantime
    std::optional<absl::Status> finish;
    {
      const MutexLock lock(&mutex_);
      if (writing_ || finished_) return;
      const Current now = health_->Read(service_);
      if (!cancelled_ && now.status != sent_) {
        writing_ = true;
        sent_ = now.status;
        const grpc::Slice slice(Encode(sent_));
        message_ = grpc::ByteBuffer(&slice, 1);
      } else if (cancelled_ || now.draining) {
        finished_ = true;
        finish = cancelled_ ? absl::CancelledError("the call was cancelled") : ShuttingDown();
      } else {
        return;
      }
    }
    if (finish.has_value()) {
      call_->End(*finish);
    } else {
      call_->Write(&message_);
    }
  }

  void OnWriteDone(bool ok) override {
    {
      const MutexLock lock(&mutex_);
      writing_ = false;
      if (!ok) cancelled_ = true;
    }
    Wake();
  }
  void OnCancel() override {
    {
      const MutexLock lock(&mutex_);
      cancelled_ = true;
    }
    Wake();
  }
  void OnDone() override { health_->Forget(this); }

 private:
  Health* const health_;
  StreamCall* const call_;
  const std::string service_;
  grpc::ByteBuffer message_;  // message in flight

  Mutex mutex_;  // acquired before the lock of health_
  int sent_ ABSL_GUARDED_BY(mutex_) = -1;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

Health::Current Health::Read(const std::string& service) const {
  const MutexLock lock(&mutex_);
  const auto found = serving_.find(service);
  if (found == serving_.end()) return {HealthCheckResponse::SERVICE_UNKNOWN, draining_};
  return {
      found->second && !draining_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING,
      draining_};
}

void Health::WakeWatchers() {
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    const MutexLock lock(&mutex_);
    for (const auto& [key, watcher] : watchers_) watchers.push_back(watcher);
  }
  for (const auto& watcher : watchers) watcher->Wake();
}

std::optional<bool> Health::IsServing(const std::string& service) const {
  const int status = Read(service).status;
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) return std::nullopt;
  return status == HealthCheckResponse::SERVING;
}

void Health::Set(const std::string& service, bool serving) {
  {
    const MutexLock lock(&mutex_);
    serving_[service] = serving;
  }
  WakeWatchers();
}

void Health::Drain() {
  {
    const MutexLock lock(&mutex_);
    draining_ = true;
  }
  WakeWatchers();
}

void Health::Check(IncomingCall* call) const {
  const absl::StatusOr<std::string> service = ServiceOf(call->request());
  if (!service.ok()) return call->Answer(service.status());
  const int status = Read(*service).status;
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    return call->Answer(absl::NotFoundError("no service has this name"));
  }
  call->Answer(Encode(status));
}

void Health::Watch(IncomingCall* call) {
  const absl::StatusOr<std::string> service = ServiceOf(call->request());
  if (!service.ok()) return call->Answer(service.status());
  const auto watcher = std::make_shared<Watcher>(this, call, *service);
  {
    const MutexLock lock(&mutex_);
    watchers_.emplace(watcher.get(), watcher);
  }
  call->AnswerBy(watcher.get());
  watcher->Wake();
}

void Health::Forget(Watcher* watcher) {
  std::shared_ptr<Watcher> released;  // destroyed without the lock
  const MutexLock lock(&mutex_);
  const auto found = watchers_.find(watcher);
  released = std::move(found->second);
  watchers_.erase(found);
}

void Health::AddTo(CallService* listener) {
  listener->Add("/grpc.health.v1.Health/Check", [this](IncomingCall* call) { Check(call); });
  listener->Add("/grpc.health.v1.Health/Watch", [this](IncomingCall* call) { Watch(call); });
}

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
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      SetFile(nullptr, &out);  // proto3 has no extensions
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

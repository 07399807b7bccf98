#include "server/rpc/tool_services.h"

#include <chrono>
#include <utility>

#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/ext/channelz_service_plugin.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/impl/server_builder_option.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd {
namespace {

constexpr std::chrono::seconds kTimeout(5);  // their answers come from memory
constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
constexpr const char* kChannelz[] = {
    "/grpc.channelz.v1.Channelz/GetTopChannels", "/grpc.channelz.v1.Channelz/GetServers",
    "/grpc.channelz.v1.Channelz/GetServer",      "/grpc.channelz.v1.Channelz/GetServerSockets",
    "/grpc.channelz.v1.Channelz/GetChannel",     "/grpc.channelz.v1.Channelz/GetSubchannel",
    "/grpc.channelz.v1.Channelz/GetSocket"};

class RemovePlugins : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->clear();
  }
};

}  // namespace

std::unique_ptr<grpc::ServerBuilderOption> WithoutPlugins() {
  return std::make_unique<RemovePlugins>();
}

// One request in progress. Owns itself.
struct Tools::Forwarded {
  Tools* tools;
  IncomingCall* call;
  bool streams;
  std::string method;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::ClientContext context;

  // The context goes before the answer. It holds a reference to the channel, and after the answer
  // the server may stop: the last reference must not go on this thread, which belongs to the
  // channel (gRPC 1.51 frees the completion queue that the thread goes on to use).
  void Done(const grpc::Status& status) {
    Tools* const from = tools;
    IncomingCall* const to = call;
    const bool reads_next = streams;
    grpc::ByteBuffer answer;
    answer.Swap(&response);
    delete this;
    --from->waiting_;
    if (!status.ok()) {
      to->Refuse(status);
    } else if (reads_next) {
      to->AnswerAndReadNext(answer);
    } else {
      to->Answer(answer);
    }
  }
};

Tools::Tools() = default;

std::unique_ptr<Tools> Tools::Start() {
  static const bool initialized = [] {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::channelz::experimental::InitChannelzService();
    return true;
  }();
  static_cast<void>(initialized);
  std::unique_ptr<Tools> out(new Tools());
  out->named_.push_back(std::make_unique<v1::VmEventService::Service>());
  out->named_.push_back(std::make_unique<grpc::health::v1::Health::Service>());
  grpc::ServerBuilder builder;
  for (const auto& service : out->named_) builder.RegisterService(service.get());
  grpc::ResourceQuota quota("tools");
  quota.SetMaxThreads(kMaxThreads);
  builder.SetResourceQuota(quota);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::CQ_TIMEOUT_MSEC, 3'600'000);
  out->server_ = builder.BuildAndStart();
  if (out->server_ == nullptr) return nullptr;
  out->stub_ =
      std::make_unique<grpc::GenericStub>(out->server_->InProcessChannel(grpc::ChannelArguments()));
  return out;
}

Tools::~Tools() {
  stub_.reset();
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

void Tools::Forward(const std::string& method, bool streams, IncomingCall* call) {
  if (++waiting_ > kMaxWaiting) {
    --waiting_;
    call->Refuse({grpc::RESOURCE_EXHAUSTED,
                  "too many requests of reflection and channelz are under way; try again later"});
    return;
  }
  auto* const forwarded = new Forwarded{this, call, streams, method, call->request(), {}, {}};
  forwarded->context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  stub_->UnaryCall(&forwarded->context, forwarded->method, grpc::StubOptions(), &forwarded->request,
                   &forwarded->response,
                   [forwarded](const grpc::Status& status) { forwarded->Done(status); });
}

// One ping in progress. Owns itself.
struct Tools::Pinged {
  std::function<void()> done;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::ClientContext context;
};

void Tools::Ping(std::function<void()> done) {
  const grpc::Slice empty;
  auto* const pinged = new Pinged{std::move(done), grpc::ByteBuffer(&empty, 1), {}, {}};
  pinged->context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  // No service has this method: the answer is an error, and only that it comes counts.
  stub_->UnaryCall(&pinged->context, "/vmeventd.internal/Ping", grpc::StubOptions(),
                   &pinged->request, &pinged->response, [pinged](const grpc::Status&) {
                     const std::function<void()> answered = std::move(pinged->done);
                     delete pinged;  // before the answer, as in Forwarded::Done
                     answered();
                   });
}

ToolService::ToolService(Tools* tools, CallGate* gate) : CallService(gate) {
  const auto add = [this, tools](const std::string& method, bool streams) {
    Add(method,
        [tools, method, streams](IncomingCall* call) { tools->Forward(method, streams, call); });
  };
  add(kReflection, true);
  for (const char* method : kChannelz) add(method, false);
}

}  // namespace vmeventd

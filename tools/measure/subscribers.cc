#include "tools/measure/subscribers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/io/coded_stream.h"
#include "tests/support/fail.h"
#include "tests/support/wait.h"

namespace vmeventd::bench {

uint64_t CountEvents(const grpc::ByteBuffer& message) {
  grpc::Slice bytes;
  if (!message.DumpToSingleSlice(&bytes).ok()) return 0;
  google::protobuf::io::CodedInputStream in(bytes.begin(), static_cast<int>(bytes.size()));
  uint64_t count = 0;
  constexpr uint32_t kEventsTag = v1::WatchEventsResponse::kEventsFieldNumber << 3 | 2;
  for (uint32_t tag = in.ReadTag(); tag != 0; tag = in.ReadTag()) {
    uint32_t size = 0;
    if (!in.ReadVarint32(&size) || !in.Skip(static_cast<int>(size))) break;
    count += tag == kEventsTag ? 1 : 0;
  }
  return count;
}

struct Subscribers::Stream {
  enum class Step { kStarting, kAsking, kReading, kOver };
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
  grpc::ByteBuffer message;
  Step step = Step::kStarting;
  bool open = false;
};

Subscribers::Subscribers(const std::string& address, int count,
                         const std::shared_ptr<grpc::ChannelCredentials>& with)
    : Subscribers(address, std::vector<v1::WatchEventsRequest>(count), with) {}

Subscribers::Subscribers() : thread_([this] { Run(); }) {}

// An object that another constructor has made is destroyed where this one fails.
Subscribers::Subscribers(const std::string& address,
                         const std::vector<v1::WatchEventsRequest>& requests,
                         const std::shared_ptr<grpc::ChannelCredentials>& with)
    : Subscribers() {
  constexpr int kStreamsAConnection = 100;
  const auto count = static_cast<int>(requests.size());
  for (int i = 0; i < count; ++i) {
    const grpc::Slice encoded(requests[i].SerializeAsString());
    if (i % kStreamsAConnection == 0) {
      grpc::ChannelArguments arguments;
      arguments.SetMaxReceiveMessageSize(-1);
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      channels_.push_back(grpc::CreateCustomChannel(address, with, arguments));
    }
    auto stream = std::make_unique<Stream>();
    stream->context.set_wait_for_ready(true);
    stream->message = grpc::ByteBuffer(&encoded, 1);
    stream->call =
        grpc::GenericStub(channels_.back())
            .PrepareCall(&stream->context, "/vmeventd.v1.VmEventService/WatchEvents", &queue_);
    stream->call->StartCall(stream.get());
    streams_.push_back(std::move(stream));
  }
  e2e::WaitUntil(absl::StrCat(count, " streams are open"), [&] {
    const MutexLock lock(&mutex_);
    if (failed_ > 0) e2e::Fail("a stream was refused");
    return open_ == count;
  });
}

Subscribers::~Subscribers() {
  for (const auto& stream : streams_) stream->context.TryCancel();
  e2e::WaitUntil("the streams are closed", [&] {
    const MutexLock lock(&mutex_);
    return failed_ == static_cast<int>(streams_.size());
  });
  queue_.Shutdown();
  thread_.join();
}

absl::Time Subscribers::WaitDelivered(uint64_t events) {
  const absl::Time deadline = absl::Now() + e2e::Patience();
  const MutexLock lock(&mutex_);
  if (delivered_ >= events) return absl::Now();
  target_ = events;
  while (target_ != 0) {
    if (failed_ > 0) e2e::Fail("a stream ended early");
    if (absl::Now() > deadline) {
      e2e::Fail(absl::StrCat("only ", delivered_, " of ", events, " events were delivered"));
    }
    changed_.WaitFor(&mutex_, absl::Seconds(1));
  }
  return reached_;
}

void Subscribers::OnMessage(Stream* stream) {
  const uint64_t events = CountEvents(stream->message);
  const MutexLock lock(&mutex_);
  if (!std::exchange(stream->open, true)) ++open_;
  delivered_ += events;
  if (target_ != 0 && delivered_ >= target_) {
    reached_ = absl::Now();
    target_ = 0;
    changed_.NotifyAll();
  }
}

void Subscribers::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    auto* const stream = static_cast<Stream*>(tag);
    if (!ok) {
      const MutexLock lock(&mutex_);
      ++failed_;
      continue;
    }
    switch (stream->step) {
      case Stream::Step::kStarting:
        stream->step = Stream::Step::kAsking;
        stream->call->WriteLast(stream->message, grpc::WriteOptions(), stream);
        continue;
      case Stream::Step::kAsking:
        stream->step = Stream::Step::kReading;
        break;
      default:
        OnMessage(stream);
    }
    stream->call->Read(&stream->message, stream);
  }
}

}  // namespace vmeventd::bench

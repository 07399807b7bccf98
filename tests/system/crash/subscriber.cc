#include "tests/system/crash/subscriber.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace vmeventd::crash {
namespace {

// The shortest interval that the contract allows.
constexpr absl::Duration kProgressInterval = absl::Seconds(1);

std::unique_ptr<v1::VmEventService::Stub> MakeStub(const std::string& address) {
  constexpr int kReconnectMs = 20;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // gives it its own connection
  return v1::VmEventService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

}  // namespace

Subscriber::Subscriber(SubscriberOptions options, Sightings* sightings)
    : options_(std::move(options)), sightings_(sightings), stub_(MakeStub(options_.address)) {
  history_.name = options_.name;
  history_.resumes = options_.start == StreamStart::kAfter;
  thread_ = std::thread([this] { Run(); });
}

Subscriber::~Subscriber() {
  if (thread_.joinable()) Stop();
}

void Subscriber::HurryUp() {
  const std::lock_guard<std::mutex> lock(mutex_);
  hurry_ = true;
  changed_.notify_all();
}

bool Subscriber::HasReached(uint64_t sequence) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stop_) return true;
  return context_ != nullptr && !history_.streams.empty() &&
         history_.streams.back().position >= sequence;
}

ClientHistory Subscriber::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    if (context_ != nullptr) context_->TryCancel();
    changed_.notify_all();
  }
  thread_.join();
  return std::move(history_);
}

void Subscriber::Run() {
  while (true) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stop_) return;
    }
    ReadStream();
  }
}

std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> Subscriber::Open(
    grpc::ClientContext* context) {
  context->set_wait_for_ready(true);
  v1::WatchEventsRequest request;
  request.mutable_progress_interval()->set_seconds(absl::ToInt64Seconds(kProgressInterval));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_) return nullptr;
    StreamHistory stream;
    stream.start = options_.start;
    // The last stream that received a position determines where to continue.
    const auto last =
        std::find_if(history_.streams.rbegin(), history_.streams.rend(),
                     [](const StreamHistory& earlier) { return !earlier.journal_id.empty(); });
    if (stream.start == StreamStart::kAfter && last == history_.streams.rend()) {
      stream.start = StreamStart::kOldest;
    }
    if (stream.start == StreamStart::kAfter) {
      stream.after = stream.position = last->position;
      request.set_after_sequence(stream.after);
      request.set_journal_id(last->journal_id);
    } else if (stream.start == StreamStart::kSnapshot) {
      request.set_snapshot(true);
    } else {
      request.set_from_oldest(true);
    }
    history_.streams.push_back(std::move(stream));
    context_ = context;
  }
  return stub_->WatchEvents(context, request);
}

void Subscriber::ReadStream() {
  grpc::ClientContext context;
  const auto reader = Open(&context);
  if (reader == nullptr) return;
  v1::WatchEventsResponse response;
  while (reader->Read(&response)) {
    Take(response);
    Pause();
  }
  const grpc::Status status = reader->Finish();
  const std::lock_guard<std::mutex> lock(mutex_);
  context_ = nullptr;
  StreamHistory& stream = history_.streams.back();
  stream.end = status.error_code();
  stream.end_message = status.error_message();
  if (stream.end == grpc::StatusCode::OUT_OF_RANGE) {
    stop_ = true;  // the checks will report it; retrying adds nothing
  } else if (stream.journal_id.empty()) {
    history_.streams.pop_back();  // the daemon ended before it sent anything: nothing to check
  }
}

void Subscriber::Take(const v1::WatchEventsResponse& response) {
  for (const v1::Event& event : response.events()) sightings_->Add(event);
  const std::lock_guard<std::mutex> lock(mutex_);
  StreamHistory& stream = history_.streams.back();
  if (response.has_progress()) {
    stream.journal_id = response.progress().journal_id();
    // The Progress that opens a snapshot gives its future position.
    if (stream.start != StreamStart::kSnapshot || stream.snapshot_sequence.has_value()) {
      stream.position = std::max(stream.position, response.progress().sequence());
    }
  }
  if (response.has_snapshot_done()) {
    stream.snapshot_sequence = response.snapshot_done().sequence();
    stream.position = std::max(stream.position, response.snapshot_done().sequence());
  }
  for (const v1::Event& event : response.events()) {
    stream.deliveries.push_back(
        {event.sequence(), event.durable(), event.SerializeAsString(), stream.position});
    stream.position = std::max(stream.position, event.sequence());
  }
}

void Subscriber::Pause() {
  if (options_.pause <= absl::ZeroDuration()) return;
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(options_.pause),
                    [this] { return hurry_ || stop_; });
}

}  // namespace vmeventd::crash

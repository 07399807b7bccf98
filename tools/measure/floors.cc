#include "tools/measure/floors.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <filesystem>
#include <iostream>
#include <memory>
#include <set>
#include <vector>

#include "base/mutex.h"
#include "grpcpp/grpcpp.h"
#include "tests/support/fail.h"
#include "tests/support/unix_socket.h"
#include "tools/measure/paused_event.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::bench {
namespace {

class FloorStream;

// The open streams.
class FloorHub {
 public:
  void Add(FloorStream* stream) {
    const MutexLock lock(&mutex_);
    streams_.insert(stream);
  }
  void Remove(FloorStream* stream) {
    const MutexLock lock(&mutex_);
    streams_.erase(stream);
  }
  void Send(const std::shared_ptr<const v1::WatchEventsResponse>& message);

 private:
  Mutex mutex_;
  std::set<FloorStream*> streams_ ABSL_GUARDED_BY(mutex_);
};

class FloorStream : public grpc::ServerWriteReactor<v1::WatchEventsResponse> {
 public:
  explicit FloorStream(FloorHub* hub) : hub_(hub) {
    hub_->Add(this);
    auto first = std::make_shared<v1::WatchEventsResponse>();
    first->mutable_progress();
    Send(std::move(first));
  }
  void Send(std::shared_ptr<const v1::WatchEventsResponse> message) {
    const MutexLock lock(&mutex_);
    waiting_.push_back(std::move(message));
    if (waiting_.size() == 1) StartWrite(waiting_.front().get());
  }
  void OnWriteDone(bool ok) override {
    const MutexLock lock(&mutex_);
    waiting_.pop_front();
    if (ok && !waiting_.empty()) StartWrite(waiting_.front().get());
  }
  void OnCancel() override { Finish(grpc::Status::CANCELLED); }
  void OnDone() override {
    hub_->Remove(this);
    delete this;
  }

 private:
  FloorHub* const hub_;
  Mutex mutex_;
  std::deque<std::shared_ptr<const v1::WatchEventsResponse>> waiting_ ABSL_GUARDED_BY(mutex_);
};

void FloorHub::Send(const std::shared_ptr<const v1::WatchEventsResponse>& message) {
  const MutexLock lock(&mutex_);
  for (FloorStream* stream : streams_) stream->Send(message);
}

class FloorService : public v1::VmEventService::CallbackService {
 public:
  explicit FloorService(FloorHub* hub) : hub_(hub) {}
  grpc::ServerWriteReactor<v1::WatchEventsResponse>* WatchEvents(
      grpc::CallbackServerContext* /*context*/,
      const v1::WatchEventsRequest* /*request*/) override {
    return new FloorStream(hub_);
  }

 private:
  FloorHub* const hub_;
};

}  // namespace

void RunGrpcFloor(const std::string& address, const std::string& file) {
  FloorHub hub;
  FloorService service(&hub);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const int fd = file.empty() ? -1 : open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  uint64_t sequence = 0;
  for (std::string line; std::getline(std::cin, line);) {
    for (int left = std::stoi(line); left > 0; --left) {
      auto message = std::make_shared<v1::WatchEventsResponse>();
      *message->add_events() = PausedEvent(++sequence);
      if (fd >= 0) {
        const std::string bytes = message->SerializeAsString();
        if (write(fd, bytes.data(), bytes.size()) < 0 || fdatasync(fd) != 0) {
          e2e::FailErrno("the floor cannot write " + file);
        }
      }
      hub.Send(message);
    }
  }
  server->Shutdown(std::chrono::system_clock::now());
}

void RunFileFloor(const std::string& directory) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  std::vector<std::string> names;  // by descriptor
  int open_sockets = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (!entry.is_socket()) continue;
    const int fd = e2e::ConnectUnix(entry.path());
    if (fd < 0) e2e::FailErrno("the floor cannot connect to " + entry.path().string());
    if (names.size() <= static_cast<size_t>(fd)) names.resize(fd + 1);
    names[fd] = directory + "/" + entry.path().stem().string() + ".shutdown";
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    ++open_sockets;
  }
  std::cout << "connected" << std::endl;
  std::array<epoll_event, 256> events;
  std::array<char, 65536> bytes;
  while (open_sockets > 0) {
    const int count = epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      ssize_t size = 1;
      while (size > 0) size = recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (size < 0) continue;
      close(open(names[fd].c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
      close(fd);
      --open_sockets;
    }
  }
  close(epoll);
}

}  // namespace vmeventd::bench

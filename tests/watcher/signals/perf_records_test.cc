#include "watcher/signals/perf_records.h"

#include <linux/perf_event.h>

#include <csignal>
#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

// Linux 6.18.
constexpr char kSignalFormat[] = R"(name: signal_generate
ID: 261
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int sig;	offset:8;	size:4;	signed:1;
	field:int errno;	offset:12;	size:4;	signed:1;
	field:int code;	offset:16;	size:4;	signed:1;
	field:char comm[16];	offset:20;	size:16;	signed:0;
	field:pid_t pid;	offset:36;	size:4;	signed:1;
	field:int group;	offset:40;	size:4;	signed:1;
	field:int result;	offset:44;	size:4;	signed:1;

print fmt: "sig=%d errno=%d code=%d comm=%s pid=%d grp=%d res=%d", REC->sig
)";
constexpr char kVictimFormat[] = R"(name: mark_victim
ID: 609
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int pid;	offset:8;	size:4;	signed:1;
	field:__data_loc char[] comm;	offset:12;	size:4;	signed:0;
	field:unsigned long total_vm;	offset:16;	size:8;	signed:0;
	field:unsigned long anon_rss;	offset:24;	size:8;	signed:0;
	field:short oom_score_adj;	offset:64;	size:2;	signed:1;
)";
// Linux 6.1.
constexpr char kOldVictimFormat[] = R"(name: mark_victim
ID: 555
format:
	field:int pid;	offset:8;	size:4;	signed:1;
)";

constexpr char kDeliveryFormat[] = R"(name: signal_deliver
ID: 260
format:
	field:int sig;	offset:8;	size:4;	signed:1;
)";

TraceFormats Formats() {
  return {ParseSignalFormat(kSignalFormat).value(), ParseVictimFormat(kVictimFormat).value(),
          ParseDeliveryFormat(kDeliveryFormat).value()};
}

template <typename T>
void Put(std::string* bytes, size_t at, T value) {
  if (bytes->size() < at + sizeof(value)) bytes->resize(at + sizeof(value));
  std::memcpy(bytes->data() + at, &value, sizeof(value));
}

std::string Record(uint32_t type, const std::string& body) {
  perf_event_header header{};
  header.type = type;
  header.size = static_cast<uint16_t>(sizeof(header) + body.size());
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body;
}

std::string Sample(uint32_t pid, uint64_t time_ns, const std::string& raw) {
  std::string body;
  Put(&body, 0, pid);
  Put(&body, 4, pid + 1);  // its thread
  Put(&body, 8, time_ns);
  Put(&body, 16, static_cast<uint32_t>(raw.size()));
  return Record(PERF_RECORD_SAMPLE, body + raw);
}

constexpr uint8_t kHardInterrupt = 0x08;
constexpr uint8_t kSoftInterrupt = 0x10;

std::string SignalRaw(int signal, int code, int target, uint8_t context = 0) {
  std::string raw(52, '\xee');  // padded as the kernel does
  Put(&raw, 0, uint16_t{261});
  Put(&raw, 2, uint8_t{context});
  Put(&raw, 8, signal);
  Put(&raw, 16, code);
  Put(&raw, 36, target);
  return raw;
}

std::string VictimRaw(int target) {
  std::string raw(68, '\0');
  Put(&raw, 0, uint16_t{609});
  Put(&raw, 8, target);
  Put(&raw, 16, uint64_t{5242880});
  Put(&raw, 24, uint64_t{4194304});
  Put(&raw, 64, int16_t{-200});
  return raw;
}

uint64_t Decode(absl::string_view bytes, const TraceFormats& formats,
                std::vector<SignalRecord>* out) {
  std::vector<KilledThread> killed;
  return DecodeRecords(bytes, formats, out, &killed);
}

TEST(PerfRecordsTest, ASignalHasItsSenderAndItsTarget) {
  std::vector<SignalRecord> records;
  EXPECT_EQ(Decode(Sample(812, 7, SignalRaw(SIGKILL, 0, 4711)), Formats(), &records), 0U);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].kind, SignalRecord::Kind::kSignal);
  EXPECT_EQ(records[0].sender, 812);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_EQ(records[0].signal, SIGKILL);
  EXPECT_FALSE(records[0].by_kernel);
  EXPECT_EQ(records[0].time, absl::Nanoseconds(7));
}

TEST(PerfRecordsTest, TheKernelIsKnownByTheCodeOrByHavingNoProcess) {
  const struct {
    uint32_t pid;
    int code;
    bool by_kernel;
  } kCases[] = {{812, SI_KERNEL, true},
                {0, SI_USER, true},
                {812, SI_USER, false},
                {812, SI_QUEUE, false},
                {812, SI_TKILL, false}};
  for (const auto& expected : kCases) {
    std::vector<SignalRecord> records;
    Decode(Sample(expected.pid, 7, SignalRaw(SIGKILL, expected.code, 1)), Formats(), &records);
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].by_kernel, expected.by_kernel) << expected.pid << " " << expected.code;
    EXPECT_EQ(records[0].sender, expected.by_kernel ? 0 : 812);
  }
}

TEST(PerfRecordsTest, WhatIsSentInAnInterruptIsNotByTheProcessThatItInterrupts) {
  constexpr uint8_t kInterruptsOff = 0x01;  // as where any signal is sent
  const struct {
    int code;
    uint8_t context;
    bool by_kernel;
  } kCases[] = {{SI_TIMER, kHardInterrupt, true},
                {SI_TIMER, kSoftInterrupt | kInterruptsOff, true},
                {SI_ASYNCIO, kSoftInterrupt, true},
                {SI_USER, kInterruptsOff, false},
                // A process that sends it with that code, by sigqueue(2).
                {SI_TIMER, kInterruptsOff, false},
                {SI_SIGIO, kInterruptsOff, false}};
  for (const auto& expected : kCases) {
    std::vector<SignalRecord> records;
    Decode(Sample(812, 7, SignalRaw(SIGKILL, expected.code, 1, expected.context)), Formats(),
           &records);
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].by_kernel, expected.by_kernel)
        << expected.code << " " << int{expected.context};
    EXPECT_EQ(records[0].sender, expected.by_kernel ? 0 : 812);
  }
}

TEST(PerfRecordsTest, AVictimHasItsNumbers) {
  std::vector<SignalRecord> records;
  Decode(Sample(812, 7, VictimRaw(4711)), Formats(), &records);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].kind, SignalRecord::Kind::kOomVictim);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_EQ(records[0].victim.total_vm, 5242880);
  EXPECT_EQ(records[0].victim.anon_rss, 4194304);
  EXPECT_EQ(records[0].victim.oom_score_adj, -200);
}

TEST(PerfRecordsTest, AnOlderKernelsVictimHasNone) {
  TraceFormats formats = Formats();
  formats.victim = ParseVictimFormat(kOldVictimFormat).value();
  std::string raw(12, '\0');
  Put(&raw, 0, uint16_t{555});
  Put(&raw, 8, 4711);
  std::vector<SignalRecord> records;
  Decode(Sample(812, 7, raw), formats, &records);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_FALSE(records[0].victim.total_vm.has_value());
}

TEST(PerfRecordsTest, LostRecordsAreCountedAndOthersLeftOut) {
  std::string lost;
  Put(&lost, 0, uint64_t{3});
  Put(&lost, 8, uint64_t{17});
  std::string unknown_id = SignalRaw(SIGKILL, 0, 1);
  Put(&unknown_id, 0, uint16_t{9});
  const std::string bytes = Record(PERF_RECORD_LOST, lost) + Record(PERF_RECORD_THROTTLE, lost) +
                            Sample(1, 2, unknown_id) + Sample(812, 7, SignalRaw(SIGTERM, 0, 4711));
  std::vector<SignalRecord> records;
  EXPECT_EQ(Decode(bytes, Formats(), &records), 17U);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].signal, SIGTERM);
}

TEST(PerfRecordsTest, BytesThatAreCutAnywhereHarmNothing) {
  const std::string bytes =
      Sample(812, 7, SignalRaw(SIGKILL, 0, 4711)) + Sample(1, 2, VictimRaw(4712));
  for (size_t size = 0; size <= bytes.size(); ++size) {
    std::vector<SignalRecord> records;
    // In memory of its own, so that the sanitizer sees what is read beyond.
    const std::string cut = bytes.substr(0, size);
    Decode(cut, Formats(), &records);
    EXPECT_LE(records.size(), 2U);
  }
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const char byte : {'\0', '\x01', '\x7f', '\xff'}) {
      std::string changed = bytes;
      changed[at] = byte;
      std::vector<SignalRecord> records;
      Decode(changed, Formats(), &records);
      EXPECT_LE(records.size(), 2U);
    }
  }
}

TEST(PerfRecordsTest, AFormatWithoutAFieldIsRefusedByItsName) {
  EXPECT_THAT(ParseSignalFormat("").status().message(), HasSubstr("no ID"));
  EXPECT_THAT(ParseSignalFormat("ID: 3\n").status().message(), HasSubstr("field sig"));
  EXPECT_THAT(ParseVictimFormat("ID: 3\n\tfield:char pid;\toffset:8;\tsize:1;\tsigned:1;\n")
                  .status()
                  .message(),
              HasSubstr("field pid"));
  EXPECT_FALSE(ParseSignalFormat("ID: 99999999\n").ok());
}

std::string DeliveryRaw(int signal) {
  std::string raw(40, '\0');
  Put(&raw, 0, uint16_t{260});
  Put(&raw, 8, signal);
  return raw;
}

TEST(PerfRecordsTest, AThreadThatIsKilledHasItsProcess) {
  std::vector<SignalRecord> records;
  std::vector<KilledThread> killed;
  DecodeRecords(Sample(4711, 8, DeliveryRaw(SIGKILL)) + Sample(4711, 8, DeliveryRaw(SIGTERM)),
                Formats(), &records, &killed);
  EXPECT_TRUE(records.empty());
  ASSERT_EQ(killed.size(), 1U);
  EXPECT_EQ(killed[0].thread, 4712);
  EXPECT_EQ(killed[0].process, 4711);
}

TEST(PerfRecordsTest, AKillOfAThreadIsOneOfItsProcess) {
  const SignalRecord kill{.target = 4712, .signal = SIGKILL, .sender = 812};
  std::vector<SignalRecord> waiting;
  // In one turn.
  std::vector<SignalRecord> records = {kill};
  ResolveThreads({{4712, 4711}}, 0, &records, &waiting);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_TRUE(waiting.empty());
  // In a later one, among others.
  records = {kill};
  ResolveThreads({}, 0, &records, &waiting);
  EXPECT_EQ(records[0].target, 4712);
  records = {{.target = 9, .signal = SIGTERM}};
  ResolveThreads({{4713, 4711}, {4712, 4711}}, 0, &records, &waiting);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[1].target, 4711);
  EXPECT_EQ(records[1].sender, 812);
  EXPECT_TRUE(waiting.empty());
}

TEST(PerfRecordsTest, KillsOfOthersWaitWithinABound) {
  std::vector<SignalRecord> waiting;
  for (int64_t target = 1; target <= 1000; ++target) {
    std::vector<SignalRecord> records = {{.target = target, .signal = SIGKILL}};
    ResolveThreads({}, 0, &records, &waiting);
  }
  ASSERT_EQ(waiting.size(), kMaxWaitingKills);
  EXPECT_EQ(waiting.back().target, 1000);
}

}  // namespace
}  // namespace vmeventd

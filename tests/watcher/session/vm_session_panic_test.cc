// What a guest said as it panicked.

#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"
#include "watcher/core/guest_panic.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kWindows[] =
    R"({"action": "poweroff", "info": {"type": "hyper-v", "arg1": 30,
        "arg2": 18446744072635809797, "arg3": 0, "arg4": 1, "arg5": 2}})";

using VmSessionPanicTest = RunningVmTest;

TEST_F(VmSessionPanicTest, HyperVsArgumentsAreKeptToTheEnd) {
  vm_.Event("GUEST_PANICKED", kWindows);
  ASSERT_TRUE(vm_.Last().panic.has_value());
  EXPECT_EQ(vm_.Last().panic->action, "poweroff");
  vm_.Restart();
  vm_.Gone();
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
  ASSERT_TRUE(vm_.Stopped().panic.has_value());
  EXPECT_EQ(vm_.Stopped().panic->action, "poweroff");
  EXPECT_THAT(std::get<HyperVPanic>(vm_.Stopped().panic->info).args,
              ElementsAre(30, 18446744072635809797U, 0, 1, 2));
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("GUEST_PANICKED action=poweroff, the guest said Hyper-V 0x1e "
                        "0xffffffffc0000005 0x0 0x1 0x2; "));
}

TEST_F(VmSessionPanicTest, OfAnS390GuestTheProgramStatusWordIsKept) {
  vm_.Event("GUEST_PANICKED", R"({"action": "pause", "info": {"type": "s390", "core": 3,
      "psw-mask": 562956395872256, "psw-addr": 1102832, "reason": "disabled-wait"}})");
  vm_.Restart();
  vm_.Gone();
  const auto& s390 = std::get<S390Panic>(vm_.Stopped().panic->info);
  EXPECT_EQ(s390.core, 3U);
  EXPECT_EQ(s390.psw_mask, 562956395872256U);
  EXPECT_EQ(s390.psw_addr, 1102832U);
  EXPECT_EQ(s390.reason, "disabled-wait");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("s390 core 3, PSW 0x2000180000000 0x10d3f0, disabled-wait"));
}

TEST_F(VmSessionPanicTest, ATdxGuestsMessageIsOneLineAndCut) {
  vm_.Event(
      "GUEST_PANICKED",
      absl::StrCat(R"({"action": "pause", "info": {"type": "tdx", "error-code": 7, "message": ")",
                   R"(a\nb\u001b[31m\\c)", std::string(1000, 'x'), R"(", "gpa": 4096}})"));
  vm_.Restart();
  vm_.Gone();
  const auto& tdx = std::get<TdxPanic>(vm_.Stopped().panic->info);
  EXPECT_EQ(tdx.error_code, 7U);
  EXPECT_EQ(tdx.gpa, 4096U);
  EXPECT_EQ(tdx.message.size(), kMaxPanicMessageBytes);
  EXPECT_THAT(tdx.message, testing::StartsWith("a\\x0ab\\x1b[31m\\x5ccxxx"));
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), Not(HasSubstr("\n")));
}

TEST_F(VmSessionPanicTest, AResetForgetsIt) {
  vm_.Event("GUEST_PANICKED", kWindows);
  vm_.Event("RESET");
  vm_.EndBy("guest-shutdown");
  EXPECT_FALSE(vm_.Stopped().panic.has_value());
}

TEST_F(VmSessionPanicTest, ACrashKernelThatSaysNothingLeavesWhatThePanicSaid) {
  vm_.Event("GUEST_PANICKED", kWindows);
  vm_.Event("GUEST_CRASHLOADED", R"({"action": "run"})");
  vm_.End();
  EXPECT_TRUE(std::holds_alternative<HyperVPanic>(vm_.Stopped().panic->info));
}

TEST_F(VmSessionPanicTest, WhatIsOfAnotherTypeIsLeftOut) {
  const auto parse = [](const std::string& data) {
    return ParseGuestPanic(QmpObject::parse(data));
  };
  EXPECT_EQ(DescribePanic(parse(R"({"action": "run"})")), "");
  EXPECT_EQ(DescribePanic(parse(R"({"action": 5, "info": []})")), "");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "sev"}})")), "");
  EXPECT_EQ(DescribePanic(ParseGuestPanic(QmpObject())), "");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "hyper-v", "arg1": -1, "arg2": "x"}})")),
            "Hyper-V 0x0 0x0 0x0 0x0 0x0");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "s390", "core": 4294967296}})")),
            "s390 core 0, PSW 0x0 0x0, ");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "tdx", "message": 3}})")),
            "TDX error 0x0, \"\"");
}

TEST_F(VmSessionPanicTest, ARequestByPvpanicIsAnEventOfItsOwn) {
  vm_.Event("GUEST_PVSHUTDOWN");
  EXPECT_EQ(vm_.Last().type, EventType::kPvshutdownRequested);
  EXPECT_EQ(vm_.Last().qmp_event, "GUEST_PVSHUTDOWN");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

}  // namespace
}  // namespace vmeventd

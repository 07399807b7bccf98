// The signature, the verdict on an answer, and the URL.

#include "client/push/request.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using testing::Not;

const absl::Time kRequestTime =
    absl::FromUnixSeconds(1'782'907'200);  // 2026-07-01 12:00:00, Wednesday

TEST(PushSignatureTest, IsTheHmacOfTimeAndBody) {
  // printf '1782907200.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
  EXPECT_EQ(Signature({"0123456789abcdef"}, R"({"a":1})", kRequestTime),
            "t=1782907200,v1=996fda2f366381349c3925d4aba54777713a8c9e38f1ead099873ad88f2bb994");
}

TEST(PushSignatureTest, TwoSecretsSignTwice) {
  const std::string first = Signature({"0123456789abcdef"}, "x", kRequestTime);
  const std::string both = Signature({"0123456789abcdef", "fedcba9876543210"}, "x", kRequestTime);
  EXPECT_THAT(both, testing::StartsWith(first + ",v1="));
}

TEST(PushSignatureTest, SecretsAreLinesOfSomeLength) {
  EXPECT_EQ(ParseSecrets("0123456789abcdef\r\n")->front(), "0123456789abcdef");
  EXPECT_EQ(ParseSecrets("0123456789abcdef\n\nfedcba9876543210")->size(), 2);
  for (const char* wrong :
       {"", "\n", "short", "0123456789abcdef\n0123456789abcdef\n0123456789abcdef"}) {
    EXPECT_FALSE(ParseSecrets(wrong).ok()) << wrong;
  }
  EXPECT_THAT(std::string(ParseSecrets("hunter2").status().message()), Not(HasSubstr("hunter2")));
}

TEST(PushVerdictTest, OfEachStatus) {
  const auto verdict = [](int status, int events) { return VerdictOn({.status = status}, events); };
  for (const int status : {200, 201, 202, 204}) EXPECT_EQ(verdict(status, 2), Verdict::kDelivered);
  for (const int status : {0, 101, 301, 302, 307, 308, 408, 425, 429, 500, 503, 599, 999}) {
    EXPECT_EQ(verdict(status, 2), Verdict::kRetry) << status;
  }
  for (const int status : {401, 403, 404, 405, 415, 418}) {
    EXPECT_EQ(verdict(status, 2), Verdict::kSetAside) << status;
  }
  for (const int status : {400, 413, 422}) {
    EXPECT_EQ(verdict(status, 2), Verdict::kSplit);
    EXPECT_EQ(verdict(status, 1), Verdict::kSetAside);
  }
  EXPECT_EQ(verdict(410, 1), Verdict::kEnd);
}

TEST(PushVerdictTest, RetryAfterIsANumberOrADateAndBounded) {
  EXPECT_EQ(ParseRetryAfter(" 120 ", kRequestTime), absl::Minutes(2));
  EXPECT_EQ(ParseRetryAfter("0", kRequestTime), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter("999999", kRequestTime), kLongestRetryAfter);
  EXPECT_EQ(ParseRetryAfter("99999999999999999999", kRequestTime), kLongestRetryAfter);
  EXPECT_EQ(ParseRetryAfter("Wed, 01 Jul 2026 12:01:00 GMT", kRequestTime), absl::Minutes(1));
  EXPECT_EQ(ParseRetryAfter("Wednesday, 01-Jul-26 12:01:00 GMT", kRequestTime), absl::Minutes(1));
  EXPECT_EQ(ParseRetryAfter("Wed Jul  1 12:01:00 2026", kRequestTime), absl::Minutes(1));
  EXPECT_EQ(ParseRetryAfter("Wed, 01 Jul 2026 11:00:00 GMT", kRequestTime), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter("Thu, 01 Jul 2027 11:00:00 GMT", kRequestTime), kLongestRetryAfter);
  for (const char* wrong : {"", "  ", "-1", "1.5", "soon", "\t;"}) {
    EXPECT_EQ(ParseRetryAfter(wrong, kRequestTime), std::nullopt) << wrong;
  }
}

TEST(PushVerdictTest, ReasonsAreForPeople) {
  EXPECT_EQ(ReasonOf({.fault = "Connection refused"}), "Connection refused");
  EXPECT_EQ(ReasonOf({.status = 503}), "it answers 503");
  EXPECT_EQ(ReasonOf({.status = 400, .body = "\x1b[1m no\n"}), "it answers 400: \\x1b[1m no");
  EXPECT_LT(ReasonOf({.status = 400, .body = std::string(1000, 'x')}).size(), 400);
}

std::string UrlComplaint(const std::string& url) {
  const auto target = ParsePushTarget(url, PushFormat::kJson, false);
  EXPECT_FALSE(target.ok()) << url;
  return std::string(target.status().message());
}

TEST(PushTargetTest, HidesThePath) {
  const auto target =
      ParsePushTarget("https://hooks.example:8443/T0/secret?x=y", PushFormat::kSlack, false);
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->url, "https://hooks.example:8443/T0/secret?x=y");
  EXPECT_EQ(target->shown, "https://hooks.example:8443");
  EXPECT_THAT(target->key, testing::MatchesRegex("hooks[.]example-[0-9a-f]{16}"));
  EXPECT_NE(target->key,
            ParsePushTarget("https://hooks.example/other", PushFormat::kSlack, false)->key);
}

TEST(PushTargetTest, PlainHttpIsForLoopback) {
  for (const char* url : {"http://127.0.0.1:80/x", "http://localhost/", "http://[::1]:9093"}) {
    EXPECT_TRUE(ParsePushTarget(url, PushFormat::kJson, false).ok()) << url;
  }
  for (const char* url : {"http://10.0.0.1/", "http://localhost.example/", "http://[::2]/"}) {
    EXPECT_THAT(UrlComplaint(url), HasSubstr("--insecure-http"));
    EXPECT_TRUE(ParsePushTarget(url, PushFormat::kJson, true).ok()) << url;
  }
}

TEST(PushTargetTest, AnAlertmanagerWithoutAPathGetsItsOwn) {
  const auto url = [](const char* text) {
    return ParsePushTarget(text, PushFormat::kAlertmanager, false)->url;
  };
  EXPECT_EQ(url("http://localhost:9093"), "http://localhost:9093/api/v2/alerts");
  EXPECT_EQ(url("https://x/am/api/v2/alerts"), "https://x/am/api/v2/alerts");
}

TEST(PushTargetTest, WhatIsNoUrlIsRefused) {
  for (const char* url : {"", "hooks.example/x", "https://", "https://a b/", "https://a/\n"}) {
    EXPECT_THAT(UrlComplaint(url), HasSubstr("write https://HOST/PATH")) << url;
  }
  EXPECT_THAT(UrlComplaint("ftp://x/"), HasSubstr("ftp is not HTTP"));
  EXPECT_THAT(UrlComplaint("https://me:hunter2@x/"), HasSubstr("--header-file"));
  EXPECT_THAT(UrlComplaint("https://me:hunter2@x/"), Not(HasSubstr("hunter2")));
  EXPECT_THAT(UrlComplaint("https://x/#y"), HasSubstr("never sent"));
}

}  // namespace
}  // namespace vmeventd::client

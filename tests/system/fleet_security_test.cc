// Who may publish what, with the accounts, credentials and TLS of a real NATS server.

#include <unistd.h>

#include <climits>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/nats/connection.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "gmock/gmock.h"
#include "tests/support/nats_keys.h"
#include "tests/support/nats_server.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/journal_test_base.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string ThisNode() {
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, HOST_NAME_MAX);
  return name;
}

// docs/fleet.md has these.
NatsPermissions PermissionsOf(const std::string& node) {
  return {
      .publish = {NodeSubjects("test", node),
                  KeySubject(kVmsBucket, absl::StrCat(NodeBucketKey("test", node), ".>")),
                  KeySubject(kNodesBucket, NodeBucketKey("test", node)),
                  "$JS.API.STREAM.INFO.VMEVENTS", "$JS.API.STREAM.MSG.GET.VMEVENTS",
                  "$JS.API.STREAM.INFO.KV_VMEVENTS_VMS", "$JS.API.STREAM.MSG.GET.KV_VMEVENTS_VMS",
                  "$JS.API.STREAM.INFO.KV_VMEVENTS_NODES"},
      .subscribe = {"_INBOX.>"}};
}

// And these: to read the events, the last states and the heartbeats.
NatsPermissions ReaderPermissions() {
  NatsPermissions permissions{.publish = {}, .subscribe = {"_INBOX.>"}};
  for (const std::string& stream :
       {std::string(kFleetStream), BucketStream(kVmsBucket), BucketStream(kNodesBucket)}) {
    for (const char* const request : {"STREAM.INFO.", "CONSUMER.CREATE."}) {
      permissions.publish.push_back(absl::StrCat("$JS.API.", request, stream));
    }
    for (const char* const request : {"CONSUMER.INFO.", "CONSUMER.MSG.NEXT.", "CONSUMER.DELETE."}) {
      permissions.publish.push_back(absl::StrCat("$JS.API.", request, stream, ".*"));
    }
  }
  return permissions;
}

// vmevents with these arguments.
CommandResult Vmevents(std::vector<std::string> arguments) {
  ChildOptions child;
  child.arguments = {VMEVENTS_BINARY, "-o", "json"};
  for (std::string& argument : arguments) child.arguments.push_back(std::move(argument));
  return RunCommand(child);
}

class FleetSecurityTest : public JournalTestBase {
 protected:
  // The path of a file with these contents.
  std::string Write(const std::string& name, const std::string& contents) {
    std::string path = dir() / name;
    std::ofstream(path) << contents;
    return path;
  }
  DaemonOptions PublishTo(const std::string& url, const std::vector<std::string>& arguments) {
    DaemonOptions options = Options();
    options.arguments.insert(options.arguments.end(),
                             {"--publish", url, "--publish-cluster", "test"});
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    return options;
  }
  std::string Log() const { return ReadFile(Options().log_file); }
};

class FleetAccountTest : public FleetSecurityTest {
 protected:
  FleetAccountTest() {
    const std::unique_ptr<NatsConnection> admin = ConnectAs(admin_);
    Create(admin.get(), kFleetStream, CreateStreamRequest(kFleetStream, 1));
    for (const absl::string_view bucket : {kVmsBucket, kNodesBucket}) {
      Create(admin.get(), BucketStream(bucket), CreateBucketRequest(bucket, 1));
    }
  }

  NatsServer& nats() { return nats_; }
  // The path of the credentials of a new user.
  std::string MakeUser(const std::string& name, const NatsPermissions& permissions) {
    return Write(name + ".creds", operator_.MakeCredentials(name, permissions));
  }
  std::unique_ptr<NatsConnection> ConnectAs(const std::string& credentials) {
    auto connection =
        ConnectNats({.servers = {nats_.url()}, .name = "a test", .credentials = credentials});
    if (!connection.ok()) Fail(std::string(connection.status().message()));
    return *std::move(connection);
  }
  // Expects that the server answers nothing to a message of this user, and says why.
  void ExpectRefused(const std::string& credentials, const std::string& subject) {
    WaitUntil(subject + " is refused", [&] {
      const auto answer = ConnectAs(credentials)->Request(subject, "x", absl::Milliseconds(200));
      EXPECT_FALSE(answer.ok()) << subject;
      return absl::StrContains(answer.status().message(), "Permissions Violation");
    });
  }
  const std::string& admin() const { return admin_; }
  // What vmevents answers with these credentials.
  CommandResult AskAs(const std::string& credentials, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", nats().url(), "--credentials", credentials});
    return Vmevents(std::move(arguments));
  }
  uint64_t CountMessages(absl::string_view stream) {
    const auto answer = ConnectAs(admin_)->Request(ApiSubject("STREAM.INFO", stream), "");
    return ParseStreamInfo((*answer)->data())->last_sequence;
  }

 private:
  static void Create(NatsConnection* admin, absl::string_view stream, const std::string& request) {
    const auto answer = admin->Request(ApiSubject("STREAM.CREATE", stream), request);
    ASSERT_TRUE(answer.ok()) << answer.status();
    ASSERT_TRUE(CheckAnswer((*answer)->data()).ok()) << (*answer)->data();
  }

  const NatsOperator operator_;
  NatsServer nats_{dir() / "nats", operator_.Configuration()};
  const std::string admin_ = MakeUser("admin", {});
};

TEST_F(FleetAccountTest, ANodeWithItsCredentialsPublishesAndItsLogHasNothingOfThem) {
  const std::string credentials = MakeUser("node", PermissionsOf(ThisNode()));
  StartDaemon(PublishTo(nats().url(), {"--publish-credentials", credentials}));
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(10);
  WaitUntil("the stream has the events", [&] { return CountMessages(kFleetStream) == 11; });
  WaitUntil("the buckets have their values", [&] {
    return CountMessages(BucketStream(kVmsBucket)) > 0 &&
           CountMessages(BucketStream(kNodesBucket)) > 0;
  });
  StopDaemon();
  for (const absl::string_view line : absl::StrSplit(ReadFile(credentials), '\n')) {
    if (line.empty() || absl::StrContains(line, "---")) continue;
    EXPECT_THAT(Log(), Not(HasSubstr(std::string(line))));
  }
}

// The library signs some challenges wrongly.
TEST_F(FleetAccountTest, EveryConnectionWithCredentialsSucceeds) {
  const std::string credentials = MakeUser("node", {});
  constexpr int kConnections = 300;
  for (int i = 0; i < kConnections; ++i) ASSERT_NE(ConnectAs(credentials), nullptr);
}

TEST_F(FleetAccountTest, ANodeCannotPublishUnderTheNameOfAnother) {
  const std::string credentials = MakeUser("b", PermissionsOf("b"));
  const std::unique_ptr<NatsConnection> b = ConnectAs(credentials);
  EXPECT_TRUE(b->Request("vmevents.v1.test.b.vm.started", "x").ok());
  EXPECT_TRUE(b->Request("$KV.VMEVENTS_VMS.test.b.vm", "x").ok());
  EXPECT_TRUE(b->Request("$KV.VMEVENTS_NODES.test.b", "x").ok());
  for (const char* const subject :
       {"vmevents.v1.test.a.vm.started", "vmevents.v1.other.b.vm.started",
        "$KV.VMEVENTS_VMS.test.a.vm", "$KV.VMEVENTS_NODES.test.a", "$JS.API.STREAM.DELETE.VMEVENTS",
        "$JS.API.STREAM.PURGE.KV_VMEVENTS_VMS", "$JS.API.STREAM.UPDATE.VMEVENTS",
        "$JS.API.STREAM.MSG.DELETE.VMEVENTS"}) {
    ExpectRefused(credentials, subject);
  }
  EXPECT_EQ(CountMessages(kFleetStream), 1u);
  EXPECT_EQ(CountMessages(BucketStream(kVmsBucket)), 1u);
  EXPECT_EQ(CountMessages(BucketStream(kNodesBucket)), 1u);
}

TEST_F(FleetAccountTest, ADaemonWithTheCredentialsOfAnotherNodeSaysWhatIsRefused) {
  const std::string credentials = MakeUser("b", PermissionsOf("b"));
  StartDaemon(PublishTo(nats().url(), {"--publish-credentials", credentials}));
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(1);
  WaitUntil("the log says so", [&] {
    return absl::StrContains(Log(), "no acknowledgement came") &&
           absl::StrContains(Log(), "Permissions Violation");
  });
  EXPECT_EQ(CountMessages(kFleetStream), 0u);
  EXPECT_EQ(CountMessages(BucketStream(kVmsBucket)), 0u);
  EXPECT_EQ(CountMessages(BucketStream(kNodesBucket)), 0u);
}

TEST_F(FleetAccountTest, WithoutCredentialsNothingIsPublished) {
  StartDaemon(PublishTo(nats().url(), {}));
  WaitUntil("the log says so", [&] { return absl::StrContains(Log(), "Authorization Violation"); });
}

TEST_F(FleetAccountTest, AReaderReadsEverythingAndWritesNothing) {
  StartDaemon(PublishTo(nats().url(),
                        {"--publish-credentials", MakeUser("node", PermissionsOf(ThisNode()))}));
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(3);
  WaitUntil("the stream has the events", [&] { return CountMessages(kFleetStream) == 4; });
  WaitUntil("the bucket has the state after them", [&] {
    return absl::StrContains(AskAs(admin(), {"vms"}).output, R"("last_sequence":"4")");
  });
  const std::string reader = MakeUser("reader", ReaderPermissions());
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"events"},
           {"events", "--type", "started", "-n", "1"},
           {"watch", "--from", "oldest", "--type", "started,stopped", "--count", "1"},
           {"vms"},
           {"vm", "vm1"},
           {"fleet"}}) {
    const CommandResult of_reader = AskAs(reader, command);
    EXPECT_EQ(of_reader.exit_code, 0) << of_reader.error;
    EXPECT_THAT(of_reader.output, HasSubstr("\"node\":\"" + ThisNode()))
        << absl::StrJoin(command, " ");
  }
  for (const char* const subject :
       {"vmevents.v1.test.a.vm.started", "$KV.VMEVENTS_VMS.test.a.vm", "$KV.VMEVENTS_NODES.test.a",
        "$JS.API.STREAM.DELETE.VMEVENTS", "$JS.API.STREAM.PURGE.VMEVENTS"}) {
    ExpectRefused(reader, subject);
  }
}

TEST_F(FleetAccountTest, TheDocumentHasTheReadersPermissions) {
  const std::string document = ReadFile(absl::StrCat(VMEVENTD_SOURCE_DIR, "/docs/fleet.md"));
  for (const std::string& permission : ReaderPermissions().publish) {
    if (absl::StrContains(permission, "KV_")) continue;  // "the same with KV_..."
    EXPECT_THAT(document, HasSubstr("\"" + permission + "\""));
  }
}

TEST_F(FleetAccountTest, AReaderWithoutCredentialsOrPermissionsIsToldWhatIsMissing) {
  const CommandResult without = Vmevents({"--server", nats().url(), "events"});
  EXPECT_EQ(without.exit_code, 4);
  EXPECT_THAT(without.error, HasSubstr("Authorization Violation"));
  const CommandResult missing = AskAs(dir() / "missing.creds", {"events"});
  EXPECT_NE(missing.exit_code, 0);
  EXPECT_THAT(missing.error, HasSubstr("missing.creds"));
  const CommandResult node = AskAs(MakeUser("b", PermissionsOf("b")), {"events"});
  EXPECT_NE(node.exit_code, 0);
  EXPECT_THAT(node.error, HasSubstr("Permissions Violation"));
}

class FleetTlsTest : public FleetSecurityTest {
 protected:
  // Requires a client's certificate.
  std::string Tls() const {
    return absl::StrCat("tls { cert_file: \"", server_.certificate, "\", key_file: \"", server_.key,
                        "\", ca_file: \"", authority_->certificate(), "\", verify: true }\n");
  }

  void StartPublishing() {
    StartDaemon(PublishTo(url_, {"--publish-tls-ca", authority_->certificate(),
                                 "--publish-tls-cert", client_.certificate, "--publish-tls-key",
                                 client_.key, "--publish-create-stream", "1"}));
  }

  const std::unique_ptr<CertificateAuthority> authority_ = MakeCertificateAuthority(dir() / "");
  const std::unique_ptr<CertificateAuthority> other_ =
      MakeCertificateAuthority(dir() / "", "other");
  const CertificateFiles server_ = authority_->Issue(ServerCertificate());
  const CertificateFiles client_ = authority_->Issue(ClientCertificate("vmevents://node"));
  NatsServer nats_{dir() / "nats", Tls()};
  const std::string url_ = absl::StrCat("tls://127.0.0.1:", nats_.port());
};

TEST_F(FleetTlsTest, ANodePublishesOverTlsWithItsCertificate) {
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(10);
  const auto connection = ConnectNats({.servers = {url_},
                                       .name = "a test",
                                       .tls_ca = authority_->certificate(),
                                       .tls_cert = client_.certificate,
                                       .tls_key = client_.key});
  ASSERT_TRUE(connection.ok()) << connection.status();
  WaitUntil("the stream has the events", [&] {
    const auto answer = (*connection)->Request(ApiSubject("STREAM.INFO", kFleetStream), "");
    const auto info = ParseStreamInfo((*answer)->data());
    return info.ok() && info->last_sequence == 11;
  });
}

TEST_F(FleetTlsTest, AReaderReadsOverTlsWithItsCertificate) {
  StartPublishing();
  ChattyVm vm(watch_dir(), "vm1");
  vm.Speak(3);
  const std::vector<std::string> files = {"--tls-ca",   authority_->certificate(),
                                          "--tls-cert", client_.certificate,
                                          "--tls-key",  client_.key};
  std::vector<std::string> watch = {"--server", url_,     "watch",   "--wait",
                                    "--from",   "oldest", "--count", "4"};
  watch.insert(watch.begin(), files.begin(), files.end());
  const CommandResult read = Vmevents(watch);
  EXPECT_EQ(read.exit_code, 0) << read.error;
  EXPECT_THAT(read.output, HasSubstr("EVENT_TYPE_STARTED"));
  const auto refused = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--server", url_, "events"});
    const CommandResult result = Vmevents(arguments);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.error, HasSubstr("no connection to " + url_));
  };
  refused({"--tls-ca", other_->certificate()});
  refused({"--tls-ca", authority_->certificate()});  // shows no certificate
  refused({});                                       // not one of the system's authorities
}

TEST_F(FleetTlsTest, AServerWithTheNameOfAnotherHostIsRefused) {
  CertificateOptions options = ServerCertificate();
  options.dns_names = {"nats.example"};
  options.ip_addresses = {};
  const CertificateFiles other = authority_->Issue(options);
  NatsServer server(dir() / "other-nats", absl::StrCat("tls { cert_file: \"", other.certificate,
                                                       "\", key_file: \"", other.key, "\" }\n"));
  const std::string url = absl::StrCat("tls://127.0.0.1:", server.port());
  const auto connect = [&](const std::string& name) {
    return ConnectNats({.servers = {url},
                        .name = "a test",
                        .tls_ca = authority_->certificate(),
                        .tls_server_name = name})
        .status();
  };
  EXPECT_TRUE(connect("nats.example").ok()) << connect("nats.example");
  EXPECT_THAT(std::string(connect("").message()), HasSubstr("SSL Error"));
  EXPECT_THAT(std::string(connect("other.example").message()), HasSubstr("SSL Error"));
}

TEST_F(FleetTlsTest, AServerOfAnotherAuthorityIsRefused) {
  StartDaemon(PublishTo(url_, {"--publish-tls-ca", other_->certificate(), "--publish-tls-cert",
                               client_.certificate, "--publish-tls-key", client_.key}));
  WaitUntil("the log says so", [&] { return absl::StrContains(Log(), "SSL Error"); });
}

TEST_F(FleetTlsTest, ANodeWithoutACertificateIsRefused) {
  StartDaemon(PublishTo(url_, {"--publish-tls-ca", authority_->certificate()}));
  WaitUntil("the log says so",
            [&] { return absl::StrContains(Log(), "no connection to " + url_); });
}

}  // namespace
}  // namespace vmeventd::e2e

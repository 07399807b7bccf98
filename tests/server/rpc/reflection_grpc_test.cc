// Reflection, as tools use it.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/rpc/standard_services.h"
#include "tests/support/open_call.h"
#include "tests/support/test_server.h"

namespace vmeventd {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr const char* kMethods[] = {
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};

std::vector<std::string> Services() {
  ServerReflectionRequest request;
  request.set_list_services("");
  std::vector<std::string> out;
  const ServerReflectionResponse response = AnswerReflection(request);
  for (const auto& service : response.list_services_response().service()) {
    out.push_back(service.name());
  }
  return out;
}

TEST(Reflection, AnswersEveryKindOfRequest) {
  ServerReflectionRequest request;
  request.set_host("somewhere");
  request.set_file_by_filename("google/protobuf/timestamp.proto");
  ServerReflectionResponse response = AnswerReflection(request);
  EXPECT_EQ(response.file_descriptor_response().file_descriptor_proto_size(), 1);
  EXPECT_EQ(response.valid_host(), "somewhere");
  EXPECT_EQ(response.original_request().file_by_filename(), "google/protobuf/timestamp.proto");
  request.set_file_by_filename("other.proto");
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::NOT_FOUND);
  request.set_all_extension_numbers_of_type("vmeventd.v1.Event");
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::NOT_FOUND);
  request.mutable_file_containing_extension()->set_containing_type("vmeventd.v1.Event");
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::NOT_FOUND);
  request.clear_message_request();
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::INVALID_ARGUMENT);
}

// As a client that knows nothing of the services but what reflection says.
TEST(Reflection, DescribesEachServiceInBothVersions) {
  TestServer server;
  for (const char* const method : kMethods) {
    OpenCall call(server.NewChannel(), method);
    const auto ask = [&](const ServerReflectionRequest& request) {
      EXPECT_TRUE(call.Write(request.SerializeAsString()));
      grpc::ByteBuffer bytes;
      EXPECT_TRUE(call.Read(&bytes));
      grpc::Slice slice;
      ServerReflectionResponse response;
      EXPECT_TRUE(bytes.DumpToSingleSlice(&slice).ok());
      EXPECT_TRUE(response.ParseFromArray(slice.begin(), static_cast<int>(slice.size())));
      return response;
    };
    google::protobuf::DescriptorPool pool;
    const auto add = [&](const std::string& symbol) {
      ServerReflectionRequest request;
      request.set_file_containing_symbol(symbol);
      const ServerReflectionResponse response = ask(request);
      const auto& files = response.file_descriptor_response().file_descriptor_proto();
      EXPECT_FALSE(files.empty()) << symbol;
      for (auto it = files.rbegin(); it != files.rend(); ++it) {  // what they import is behind them
        google::protobuf::FileDescriptorProto file;
        EXPECT_TRUE(file.ParseFromString(*it));
        if (pool.FindFileByName(file.name()) == nullptr) pool.BuildFile(file);
      }
    };
    for (const std::string& name : Services()) {
      add(name);
      const auto* const service = pool.FindServiceByName(name);
      ASSERT_NE(service, nullptr) << name;
      for (int i = 0; i < service->method_count(); ++i) {
        add(service->method(i)->full_name());
        add(service->method(i)->input_type()->full_name());
        add(service->method(i)->output_type()->full_name());
      }
    }
    EXPECT_TRUE(call.WritesDone());
    EXPECT_TRUE(call.Finish().ok());
  }
}

TEST(Reflection, RefusesALargeRequest) {
  TestServer server;
  ServerReflectionRequest request;
  request.set_file_by_filename(std::string(kMaxReflectionBytes, 'x'));
  OpenCall call(server.NewChannel(), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
  ASSERT_TRUE(call.Write(request.SerializeAsString()));
  EXPECT_FALSE(call.Read());
  EXPECT_EQ(call.Finish().error_code(), grpc::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace vmeventd

// Reflection, as tools use it.

#include <gtest/gtest.h>

#include <string>

#include "server/rpc/standard_services.h"
#include "tests/support/open_call.h"
#include "tests/support/test_server.h"

namespace vmeventd {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

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

/*
 * Control records and the start record: what is sent arrives, what is broken is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/activator_start.h"
#include "common/record.h"
#include "common/start_record.h"

static const uint32_t none[2];

static void
test_records_arrive_in_order_then_the_end(UNUSED void **state)
{
	struct record record;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(record_receive(pair[1], &record), -EAGAIN);
	assert_int_equal(record_send(pair[0], RECORD_FAILED, "no such module"), 0);
	assert_int_equal(record_send(pair[0], RECORD_READY, NULL), 0);
	assert_int_equal(record_receive(pair[1], &record), 1);
	assert_int_equal(record.kind, RECORD_FAILED);
	assert_string_equal(record.text, "no such module");
	assert_int_equal(record_receive(pair[1], &record), 1);
	assert_int_equal(record.kind, RECORD_READY);
	close(pair[0]);
	assert_int_equal(record_receive(pair[1], &record), 0);
	assert_int_equal(record_send(pair[1], RECORD_DRAIN, NULL), -EPIPE);
	close(pair[1]);
}

/* A descriptor comes with those that have one, and only with those. */
static void
test_descriptors_travel_with_their_records(UNUSED void **state)
{
	struct record record;
	int pair[2], pipe_fds[2];
	char byte = 'x';

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(record_send_numbers(pair[0], RECORD_PEER, 7, 8, pipe_fds[1]), 0);
	assert_int_equal(record_receive(pair[1], &record), 1);
	assert_int_equal(record.kind, RECORD_PEER);
	assert_int_equal(record.numbers[0], 7);
	assert_int_equal(record.numbers[1], 8);
	assert_int_equal(fcntl(record.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(record.fd, &byte, 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	close(record.fd);
	assert_int_equal(record_send_numbers(pair[0], RECORD_PEER, 7, 8, -1), 0);
	assert_int_equal(record_receive(pair[1], &record), -EBADMSG);
	assert_int_equal(record_send_numbers(pair[0], RECORD_DRAIN, 1, 0, pipe_fds[1]), 0);
	close(pipe_fds[1]);
	assert_int_equal(record_receive(pair[1], &record), -EBADMSG);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 0); /* it was closed */
	assert_int_equal(record_send_numbers(pair[0], RECORD_GONE, 1, 2, -1), 0);
	assert_int_equal(record_receive(pair[1], &record), 1);
	assert_int_equal(record.fd, -1);
	close(pipe_fds[0]);
	close(pair[0]);
	close(pair[1]);
}

/* Two descriptors in one record: a record of ours has one at most, and none of them may stay here. */
static void
test_a_second_descriptor_is_not_taken(UNUSED void **state)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {.bytes = {0}};
	uint8_t wire[RECORD_MAX];
	struct iovec part = {wire, record_encode(RECORD_PEER, none, NULL, wire)};
	struct msghdr message = {
	    .msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};
	struct record record;
	int pair[2], pipe_fds[2];
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(pipe_fds), 0);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(&control.header), (int[]){pipe_fds[1], pipe_fds[1]}, 2 * sizeof(int));
	assert_true(sendmsg(pair[0], &message, 0) > 0);
	close(pipe_fds[1]);
	assert_int_equal(record_receive(pair[1], &record), -EBADMSG);
	assert_int_equal(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 0); /* nobody has the other end any more */
	close(pipe_fds[0]);
	close(pair[0]);
	close(pair[1]);
}

/* The end of a peer that has not read everything is a reset, which comes before the last words. */
static void
test_the_last_words_of_one_that_did_not_read_are_heard(UNUSED void **state)
{
	struct record record;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(record_send(pair[1], RECORD_DRAIN, NULL), 0);
	assert_int_equal(record_send(pair[0], RECORD_FAILED, "no disk"), 0);
	close(pair[0]);
	assert_int_equal(record_receive(pair[1], &record), 1);
	assert_string_equal(record.text, "no disk");
	assert_int_equal(record_receive(pair[1], &record), 0);
	close(pair[1]);
}

static void
test_a_long_text_is_cut(UNUSED void **state)
{
	char text[RECORD_TEXT_MAX + 100];
	uint8_t wire[RECORD_MAX];
	struct record record;
	size_t length;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	length = record_encode(RECORD_FAILED, none, text, wire);
	assert_int_equal(length, RECORD_MAX);
	assert_int_equal(record_decode(wire, length, &record), 0);
	assert_int_equal(strlen(record.text), RECORD_TEXT_MAX);
}

static void
test_bad_records_are_refused(UNUSED void **state)
{
	uint8_t wire[RECORD_MAX + 1] = {0};
	struct record record;
	size_t length = record_encode(RECORD_FAILED, none, "abc", wire);

	for (size_t n = 0; n < length; n++)
		assert_int_equal(record_decode(wire, n, &record), -EBADMSG);
	assert_int_equal(record_decode(wire, length + 1, &record), -EBADMSG);
	wire[length - 1] = '\0';
	assert_int_equal(record_decode(wire, length, &record), -EBADMSG);
	length = record_encode(RECORD_FAILED, none, "abc", wire);
	wire[0] = RECORD_READY; /* carries no text */
	assert_int_equal(record_decode(wire, length, &record), -EBADMSG);
	wire[0] = RECORD_RECYCLE; /* does */
	assert_int_equal(record_decode(wire, length, &record), 0);
	assert_int_equal(record.kind, RECORD_RECYCLE);
	assert_string_equal(record.text, "abc");
	wire[0] = RECORD_N_KINDS;
	assert_int_equal(record_decode(wire, length, &record), -EBADMSG);
	wire[0] = 99;
	assert_int_equal(record_decode(wire, length, &record), -EBADMSG);
}

static void
test_a_start_record_survives_the_way(UNUSED void **state)
{
	struct env_var env[] = {{(char *)"NAME", (char *)"a=b\n\"\xc3\xa9\""}, {(char *)"EMPTY", (char *)""}};
	struct start_record start = {
	    .api = (char *)"iris",
	    .replica = 3,
	    .endpoint = (char *)"/iris/predict",
	    .project_folder = (char *)"/srv/pro ject",
	    .kind = API_TENSORFLOW,
	    .implementation = (char *)"src/handler.py",
	    .model_path = (char *)"/srv/models/caf\xc3\xa9",
	    .signature_key = (char *)"predict",
	    .metadata_json = (char *)"{\"big\": 123456789012345678901234567890, \"nan\": NaN}",
	    .python = (char *)"/usr/bin/python3.11",
	    .env = env,
	    .n_env = 2,
	    .n_listeners = 2,
	    .accepts = true,
	    .slot = 77,
	    .timeout_ms = 1500,
	    .max_body_bytes = 1 << 20,
	    .cpu_millicpu = 200,
	    .stop_timeout_ms = 30000,
	    .recycle_requests = 5000000000,
	    .recycle_jitter_percent = 100,
	    .recycle_mem_bytes = 6000000000,
	    .preload = PRELOAD_MODULE,
	    .log_format = LOG_JSON,
	    .log_level = LOG_WARNING,
	    .log_access = LOG_ACCESS_JSON,
	    .log_secret = "5ec2e7",
	};
	struct start_record got;
	struct error err;
	char *json = start_record_encode(&start);

	assert_int_equal(start_record_decode(json, strlen(json), &got, &err), 0);
	free(json);
	assert_string_equal(got.api, start.api);
	assert_int_equal(got.replica, 3);
	assert_string_equal(got.endpoint, start.endpoint);
	assert_string_equal(got.project_folder, start.project_folder);
	assert_int_equal(got.kind, API_TENSORFLOW);
	assert_string_equal(got.implementation, start.implementation);
	assert_string_equal(got.model_path, start.model_path);
	assert_string_equal(got.signature_key, "predict");
	assert_null(got.python_path);
	assert_string_equal(got.metadata_json, start.metadata_json);
	assert_string_equal(got.python, start.python);
	assert_int_equal(got.n_env, 2);
	assert_string_equal(got.env[0].value, env[0].value);
	assert_string_equal(got.env[1].name, "EMPTY");
	assert_int_equal(got.n_listeners, 2);
	assert_true(got.accepts);
	assert_int_equal(got.slot, 77);
	assert_int_equal(got.timeout_ms, 1500);
	assert_int_equal(got.max_body_bytes, 1 << 20);
	assert_int_equal(got.cpu_millicpu, 200);
	assert_int_equal(got.stop_timeout_ms, 30000);
	assert_int_equal(got.recycle_requests, 5000000000);
	assert_int_equal(got.recycle_jitter_percent, 100);
	assert_int_equal(got.recycle_mem_bytes, 6000000000);
	assert_int_equal(got.preload, PRELOAD_MODULE);
	assert_int_equal(got.log_format, LOG_JSON);
	assert_int_equal(got.log_level, LOG_WARNING);
	assert_int_equal(got.log_access, LOG_ACCESS_JSON);
	assert_string_equal(got.log_secret, "5ec2e7");
	start_record_done(&got);
}

static void
test_the_start_record_of_the_activator_survives_the_way(UNUSED void **state)
{
	struct activator_api apis[] = {
	    {0, (char *)"iris", (char *)"/iris/predict", true, false, 60000, 1 << 20, 100},
	    {4095, (char *)"caf\xc3\xa9", (char *)"/b", false, true, 1, 1, 0},
	};
	const struct activator_start start = {
	    .apis = apis,
	    .n_apis = 2,
	    .n_listeners = 3,
	    .accepts = true,
	    .stop_timeout_ms = 5000,
	    .log_format = LOG_JSON,
	    .log_level = LOG_DEBUG,
	    .log_access = LOG_ACCESS_COMBINED,
	    .log_secret = "5ec2e7",
	};
	struct activator_start got;
	struct error err;
	char *json = activator_start_encode(&start);

	assert_int_equal(activator_start_decode(json, strlen(json), &got, &err), 0);
	assert_int_equal(got.n_apis, 2);
	assert_string_equal(got.apis[1].name, apis[1].name);
	assert_int_equal(got.apis[1].number, 4095);
	assert_true(got.apis[0].routed && !got.apis[1].routed);
	assert_true(!got.apis[0].describes && got.apis[1].describes);
	assert_string_equal(got.apis[0].endpoint, "/iris/predict");
	assert_int_equal(got.apis[0].timeout_ms, 60000);
	assert_int_equal(got.apis[0].max_body_bytes, 1 << 20);
	assert_int_equal(got.apis[0].max_queue_length, 100);
	assert_int_equal(got.n_listeners, 3);
	assert_true(got.accepts);
	assert_int_equal(got.stop_timeout_ms, 5000);
	assert_int_equal(got.log_format, LOG_JSON);
	assert_int_equal(got.log_level, LOG_DEBUG);
	assert_int_equal(got.log_access, LOG_ACCESS_COMBINED);
	assert_string_equal(got.log_secret, "5ec2e7");
	activator_start_done(&got);
	for (size_t cut = 0; cut < strlen(json); cut++)
		assert_int_equal(activator_start_decode(json, cut, &got, &err), -EBADMSG);
	free(json);
}

/* Only a predictor must have code; messages are about that, or else about the model. */
static void
test_a_model_needs_no_code(UNUSED void **state)
{
	struct start_record start = {
	    .api = (char *)"iris",
	    .endpoint = (char *)"/iris",
	    .project_folder = (char *)"/srv",
	    .kind = API_ONNX,
	    .model_path = (char *)"/srv/models/iris.onnx",
	    .metadata_json = (char *)"{}",
	    .python = (char *)"/usr/bin/python3.11",
	    .n_listeners = 1,
	    .timeout_ms = 1,
	    .max_body_bytes = 1,
	    .cpu_millicpu = 1,
	};
	struct start_record got;
	struct error err;
	char *json = start_record_encode(&start);

	assert_int_equal(start_record_decode(json, strlen(json), &got, &err), 0);
	free(json);
	assert_int_equal(got.kind, API_ONNX);
	assert_null(got.implementation);
	assert_null(got.signature_key);
	assert_string_equal(start_record_subject(&got), "iris.onnx");
	got.implementation = xstrdup("handler.py");
	assert_string_equal(start_record_subject(&got), "handler.py");
	start_record_done(&got);
	start.model_path = NULL;
	assert_string_equal(start_record_subject(&start), "the model");
	start.kind = API_PREDICTOR;
	json = start_record_encode(&start);
	assert_int_equal(start_record_decode(json, strlen(json), &got, &err), -EBADMSG);
	free(json);
}

static void
test_bad_start_records_are_refused(UNUSED void **state)
{
	static const char *const bad[] = {"", "{", "[]", "{}", "{\"api\": 1}", "nonsense"};
	struct start_record got;
	struct error err;

	for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
		assert_int_equal(start_record_decode(bad[i], strlen(bad[i]), &got, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "start record: "));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_records_arrive_in_order_then_the_end),
	    cmocka_unit_test(test_descriptors_travel_with_their_records),
	    cmocka_unit_test(test_a_second_descriptor_is_not_taken),
	    cmocka_unit_test(test_the_last_words_of_one_that_did_not_read_are_heard),
	    cmocka_unit_test(test_a_long_text_is_cut),
	    cmocka_unit_test(test_bad_records_are_refused),
	    cmocka_unit_test(test_a_start_record_survives_the_way),
	    cmocka_unit_test(test_a_model_needs_no_code),
	    cmocka_unit_test(test_the_start_record_of_the_activator_survives_the_way),
	    cmocka_unit_test(test_bad_start_records_are_refused),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}

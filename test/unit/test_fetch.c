/*
 * What cortexd-fetch decides without a network: addresses, keys, the documents of S3, the files of AWS, ETags, backoff.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "fetch/address.h"
#include "fetch/aws_config.h"
#include "fetch/digest.h"
#include "fetch/store.h"
#include "fetch/transfer.h"
#include "fetch/web.h"
#include "fetch/xml.h"

/* ---- addresses ---- */

static void
test_addresses(UNUSED void **state)
{
	static const struct {
		const char *text, *bucket, *key, *name, *shown;
		bool is_folder;
	} s3[] = {
	    {"s3://b/a/model.pkl", "b", "a/model.pkl", "model.pkl", "s3://b/a/model.pkl", false},
	    {"s3://b/a/dir/", "b", "a/dir", "dir", "s3://b/a/dir/", true},
	    {"s3://my-bucket.x/k", "my-bucket.x", "k", "k", "s3://my-bucket.x/k", false},
	    {"s3://b/a b/ü?x=1#y", "b", "a b/ü?x=1#y", "ü?x=1#y", "s3://b/a b/ü?x=1#y", false},
	    {"s3://b/d//", "b", "d", "d", "s3://b/d/", true},
	};
	static const struct {
		const char *text, *url, *name, *shown;
	} http[] = {
	    {"https://h/m/model.onnx", "https://h/m/model.onnx", "model.onnx", "https://h/m/model.onnx"},
	    {"http://h:8080/a%20b?sig=secret#part", "http://h:8080/a%20b?sig=secret", "a b", "http://h:8080/a%20b"},
	    {"https://h/dir/", "https://h/dir/", "model", "https://h/dir/"},
	    {"https://h/a%2Fb", "https://h/a%2Fb", "model", "https://h/a%2Fb"},
	    {"https://h/..", "https://h/..", "model", "https://h/.."},
	    {"https://h/%00", "https://h/%00", "model", "https://h/%00"},
	    {"https://h/50%", "https://h/50%", "50%", "https://h/50%"},
	    {"https://h?x", "https://h?x", "model", "https://h"},
	};
	struct address address;
	struct error err;

	for (size_t i = 0; i < N_ELEMENTS(s3); i++) {
		assert_int_equal(address_parse(s3[i].text, &address, &err), 0);
		assert_int_equal(address.kind, ADDRESS_S3);
		assert_string_equal(address.bucket, s3[i].bucket);
		assert_string_equal(address.key, s3[i].key);
		assert_string_equal(address.name, s3[i].name);
		assert_string_equal(address.shown, s3[i].shown);
		assert_int_equal(address.is_folder, s3[i].is_folder);
		assert_int_equal(strlen(address.id), ADDRESS_ID_MAX);
		address_done(&address);
	}
	for (size_t i = 0; i < N_ELEMENTS(http); i++) {
		assert_int_equal(address_parse(http[i].text, &address, &err), 0);
		assert_int_equal(address.kind, ADDRESS_HTTP);
		assert_string_equal(address.url, http[i].url);
		assert_string_equal(address.name, http[i].name);
		assert_string_equal(address.shown, http[i].shown);
		address_done(&address);
	}
}

static void
test_what_is_no_address(UNUSED void **state)
{
	static const char *const wrong[] = {"", "model.pkl", "/srv/model", "ftp://h/x", "s3://", "s3:///key", "s3://b",
	    "s3://b/", "s3://b//", "s3://b/a/..", "s3://b/.", "s3://b ucket/key", "s3://b@d/key", "http://",
	    "https:///x", "https://user:hunter2@h/x", "https://user@h/x", "s3://b/a\nb", "https://h/\x7f"};
	struct address address;
	char *longer;
	struct error err;

	for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
		err.text[0] = '\0';
		assert_int_equal(address_parse(wrong[i], &address, &err), -EINVAL);
		assert_true(strlen(err.text) > 10);
		assert_null(strstr(err.text, "hunter2"));
	}
	longer = xasprintf("s3://b/%0*d", ADDRESS_MAX, 1);
	assert_int_equal(address_parse(longer, &address, &err), -EINVAL);
	free(longer);
}

static void
test_percent_encoding(UNUSED void **state)
{
	char *encoded = address_encode("a/b c+ü~%&=\"*'", true);

	assert_string_equal(encoded, "a/b%20c%2B%C3%BC~%25%26%3D%22%2A%27");
	free(encoded);
	encoded = address_encode("a/b", false);
	assert_string_equal(encoded, "a%2Fb");
	free(encoded);
}

static void
test_where_a_key_belongs(UNUSED void **state)
{
	static const struct {
		const char *key;
		int64_t size;
		int r;
		const char *path;
	} cases[] = {
	    {"d/a", 1, 0, "a"}, {"d/a/b c/ü", 1, 0, "a/b c/ü"}, {"d/...", 1, 0, "..."},
	    {"d/", 0, 0, NULL},     /* the folder itself */
	    {"d/", 1, 0, NULL},     /* with a content, which nobody can have in a folder */
	    {"d/sub/", 0, 0, NULL}, /* the mark of a folder */
	    {"d/sub/", 1, -EINVAL, NULL}, {"d/../x", 1, -EINVAL, NULL}, {"d/a/../../x", 1, -EINVAL, NULL},
	    {"d/./x", 1, -EINVAL, NULL}, {"d//x", 1, -EINVAL, NULL}, {"d//etc/passwd", 1, -EINVAL, NULL},
	    {"d/a/..", 1, -EINVAL, NULL}, {"e/a", 1, -EINVAL, NULL}, /* which nobody has asked for */
	};
	char *key, *path;

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		path = NULL;
		assert_int_equal(store_path_of(cases[i].key, "d/", cases[i].size, &path), cases[i].r);
		if (cases[i].path)
			assert_string_equal(path, cases[i].path);
		else
			assert_null(path);
		free(path);
	}
	key = xasprintf("d/%0256d", 1);
	assert_int_equal(store_path_of(key, "d/", 1, &path), -EINVAL);
	free(key);
}

/* ---- documents ---- */

static void
test_lists(UNUSED void **state)
{
	static const char plain[] =
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
	    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
	    "<Name>b</Name><Prefix>d/</Prefix><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>"
	    "<NextContinuationToken>a&amp;b=</NextContinuationToken>"
	    "<Contents><Key>d/a+b%20c</Key><ETag>&quot;e1&quot;</ETag><Size>12</Size><Owner><ID>x</ID></Owner></"
	    "Contents>"
	    "<Contents><Key>d/&#252;</Key><Size>-1</Size></Contents></ListBucketResult>";
	static const char encoded[] = "<ListBucketResult><Contents><Key>d/a+b%20c%2B%0a</Key><Size>0</Size></Contents>"
				      "<EncodingType>url</EncodingType></ListBucketResult>";
	struct xml_list list;

	assert_int_equal(xml_parse_list(plain, strlen(plain), &list), 0);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.objects[0].key, "d/a+b%20c");
	assert_string_equal(list.objects[0].etag, "\"e1\"");
	assert_int_equal(list.objects[0].size, 12);
	assert_string_equal(list.objects[1].key, "d/ü");
	assert_null(list.objects[1].etag);
	assert_int_equal(list.objects[1].size, -1);
	assert_true(list.truncated);
	assert_string_equal(list.token, "a&b=");
	xml_list_done(&list);
	assert_int_equal(xml_parse_list(encoded, strlen(encoded), &list), 0);
	assert_string_equal(list.objects[0].key, "d/a b c+\n");
	assert_false(list.truncated);
	xml_list_done(&list);
	for (size_t length = 0; length < strlen(plain); length++) /* cut off anywhere */
		assert_int_equal(xml_parse_list(plain, length, &list), -EBADMSG);
}

static void
test_what_is_no_list(UNUSED void **state)
{
	static const char *const wrong[] = {"", "{}", "<html></html>", "<Error><Code>x</Code></Error>",
	    "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
	    "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><ListBucketResult></ListBucketResult>",
	    "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%4</Key></Contents></ListBucketResult>",
	    "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%00</Key></Contents></ListBucketResult>"};
	struct xml_list list;

	for (size_t i = 0; i < N_ELEMENTS(wrong); i++)
		assert_int_equal(xml_parse_list(wrong[i], strlen(wrong[i]), &list), -EBADMSG);
}

static void
test_errors(UNUSED void **state)
{
	static const char text[] =
	    "<Error><Code>NoSuchKey</Code><Message>It is\n not there.</Message><Region>eu-west-1</Region>"
	    "<Key>k</Key></Error>";
	struct xml_error error;

	assert_int_equal(xml_parse_error(text, strlen(text), &error), 0);
	assert_string_equal(error.code, "NoSuchKey");
	assert_string_equal(error.message, "It is\n not there.");
	assert_string_equal(error.region, "eu-west-1");
	xml_error_done(&error);
	assert_int_equal(xml_parse_error("<Error></Error>", 15, &error), -EBADMSG);
	assert_int_equal(xml_parse_error("<html/>", 7, &error), -EBADMSG);
}

static void
test_explaining_an_answer(UNUSED void **state)
{
	static const char body[] = "<Error><Code>SignatureDoesNotMatch</Code><Message>No\nmatch.</Message></Error>";
	struct address address;
	struct store store = {.address = &address, .account = {.source = "the environment"}};
	struct error err;

	assert_int_equal(address_parse("s3://b/k", &address, &err), 0);
	assert_int_equal(store_explain(&store, 403, body, strlen(body), &err), -EACCES);
	assert_string_equal(err.text,
	    "s3://b/k: 403 SignatureDoesNotMatch: No match.; check the secret key (asked by the environment)");
	assert_int_equal(store_explain(&store, 503, "", 0, &err), WEB_NOT_THERE);
	assert_int_equal(store_explain(&store, 404, "<html>", 6, &err), -ENOENT);
	address_done(&address);
	assert_int_equal(address_parse("https://h/k?sig=x", &address, &err), 0);
	assert_int_equal(store_explain(&store, 404, "", 0, &err), -ENOENT);
	assert_string_equal(err.text, "https://h/k: the server answers 404: there is nothing at this address");
	address_done(&address);
}

/* ---- files of AWS ---- */

static void
test_aws_files(UNUSED void **state)
{
	static const char config[] =
	    "# a comment\n; another\nregion = lost\n[default]\nregion=us-west-2\n"
	    "[profile work]\n  region = eu-central-1  \ns3 =\n  addressing_style = virtual\n  x = y\n"
	    "endpoint_url = http://h:1/\n[ profile  space ]\nregion = a\nregion = b\n[work]\nregion = wrong\n"
	    "[broken\nregion = c\n";
	static const char credentials[] =
	    "[default]\r\naws_access_key_id = AK\r\n[work]\naws_secret_access_key = a=b#c\n";
	static const struct {
		const char *text;
		bool is_credentials;
		const char *profile, *name, *value;
	} cases[] = {
	    {config, false, "default", "region", "us-west-2"},
	    {config, false, "work", "s3.addressing_style", "virtual"},
	    {config, false, "work", "addressing_style", NULL},
	    {config, false, "work", "endpoint_url", "http://h:1/"},
	    {config, false, "space", "region", "b"},
	    {config, false, "other", "region", NULL},
	    {config, false, "broken", "region", NULL},
	    {credentials, true, "default", "aws_access_key_id", "AK"},
	    {credentials, true, "work", "aws_secret_access_key", "a=b#c"},
	    {credentials, true, "default", "aws_secret_access_key", NULL},
	    {"", true, "default", "x", NULL},
	    {"[default]", true, "default", "x", NULL},
	    {"[default]\nx", true, "default", "x", NULL},
	    {"[default]\nx=", true, "default", "x", NULL},
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char *value = aws_config_find(cases[i].text, cases[i].is_credentials, cases[i].profile, cases[i].name);

		if (cases[i].value)
			assert_string_equal(value, cases[i].value);
		else
			assert_null(value);
		free(value);
	}
}

/* ---- content ---- */

static int
file_of(const char *text, size_t times)
{
	char path[] = "/tmp/test_fetch.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	for (size_t i = 0; i < times; i++)
		assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	return fd;
}

static void
test_etags(UNUSED void **state)
{
	const int64_t mib = 1 << 20;
	char *text = xasprintf("%0*d", (int)mib, 7), etag[DIGEST_ETAG_MAX], hex[DIGEST_SHA256_DIGITS + 1];
	int fd = file_of("abc", 1), large = file_of(text, 12);

	/* https://www.rfc-editor.org/rfc/rfc1321, A.5; FIPS 180-4's example */
	assert_int_equal(digest_etag(fd, 0, etag), 0);
	assert_string_equal(etag, "900150983cd24fb0d6963f7d28e17f72");
	assert_int_equal(digest_file(fd, hex), 0);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(transfer_check_etag(fd, 0, "\"900150983cd24fb0d6963f7d28e17f72\""), 1);
	assert_int_equal(transfer_check_etag(fd, 0, "\"900150983cd24fb0d6963f7d28e17f73\""), 0);
	assert_int_equal(transfer_check_etag(fd, 0, ""), -1);
	assert_int_equal(transfer_check_etag(fd, 0, "W/\"abc\""), -1);
	assert_int_equal(
	    transfer_check_etag(fd, 0, "\"900150983CD24fb0d6963f7d28e17f72\""), -1); /* no MD5 as S3 writes them */
	assert_int_equal(digest_etag(large, 8 * mib, etag), 0);
	assert_string_equal(etag + DIGEST_MD5_DIGITS, "-2");
	assert_int_equal(transfer_check_etag(large, 8 * mib, etag), 1);
	assert_int_equal(transfer_check_etag(large, 5 * mib, etag), 0);
	assert_int_equal(transfer_check_etag(large, 0, etag), -1); /* nobody knows what its parts were */
	assert_int_equal(digest_etag(large, 4 * mib, etag), 0);
	assert_string_equal(etag + DIGEST_MD5_DIGITS, "-3");
	assert_int_equal(transfer_check_etag(large, 4 * mib, etag), 1);
	close(fd);
	close(large);
	free(text);
}

static void
test_backoff_grows_and_has_a_limit(UNUSED void **state)
{
	assert_in_range(web_backoff_ms(1, -1, 0), 200, 200);
	assert_in_range(web_backoff_ms(1, -1, UINT32_MAX), 200, 400);
	assert_in_range(web_backoff_ms(40, -1, 12345), 5000, 10000);
	assert_int_equal(web_backoff_ms(1, 20000, 5), 20000);
}

static void
test_heads(UNUSED void **state)
{
	struct reply_head head = {.status = 7};
	static const char *const lines[] = {"HTTP/1.1 301 Moved\r\n", "ETag: \"old\"\r\n", "\r\n", "HTTP/2 206\r\n",
	    "content-length: 12\r\n", "Content-Range: bytes 5-16/100\r\n", "ETAG:\"new\"\r\n",
	    "Retry-After: 99999999\r\n", "Transfer-Encoding: chunked\r\n", "x-amz-server-side-encryption: aws:kms\r\n",
	    "Content-Lengthy: 5\r\n", "nonsense\r\n", "\r\n"};

	for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
		char *line = xstrdup(lines[i]);

		assert_int_equal(web_header_cb(line, 1, strlen(line), &head), strlen(line));
		free(line);
	}
	assert_int_equal(head.status, 206);
	assert_int_equal(head.length, 12);
	assert_int_equal(head.range_first, 5);
	assert_int_equal(head.range_of, 100);
	assert_true(head.is_chunked);
	assert_string_equal(head.etag, "\"new\"");
	assert_true(head.is_encrypted);
	assert_true(head.retry_after_ms <= 30000);
	reply_head_done(&head);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_what_is_no_address),
	    cmocka_unit_test(test_percent_encoding),
	    cmocka_unit_test(test_where_a_key_belongs),
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_what_is_no_list),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_explaining_an_answer),
	    cmocka_unit_test(test_aws_files),
	    cmocka_unit_test(test_etags),
	    cmocka_unit_test(test_backoff_grows_and_has_a_limit),
	    cmocka_unit_test(test_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

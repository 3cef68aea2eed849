/*
 * limits - what one client may take from us. Every bound of the HTTP side is here; the sizes are what other servers use
 * (nginx: 8 KiB lines, 32 KiB of header; Apache: 100 fields).
 */
#ifndef HTTP_LIMITS_H
#define HTTP_LIMITS_H

#define HTTP_TARGET_MAX     8192  /* bytes of a request target; beyond: 414 */
#define HTTP_HEAD_MAX       32768 /* bytes of request line and header section, and of a trailer section; beyond: 431 */
#define HTTP_FIELDS_MAX     100   /* header and trailer fields of a request; beyond: 431 */
#define HTTP_AHEAD_MAX      65536 /* bytes read behind a request that is not answered yet (pipelining) */
#define HTTP_OTHER_BODY_MAX 65536 /* bytes of the body of a request that is for no api; beyond: 413 */
#define HTTP_CHUNKED_MAX    (1 << 20) /* bytes of chunk framing beyond the content itself; beyond: 413 */

/* What a request with a body of that size, and what is read behind it, can take at most. */
#define HTTP_REQUEST_MAX(max_body) ((max_body) + HTTP_HEAD_MAX + HTTP_CHUNKED_MAX + HTTP_HEAD_MAX + HTTP_AHEAD_MAX)

#define HTTP_CONNECTIONS_MAX (1u << 20) /* of all processes together, if the descriptor limit allows */
#define HTTP_RESERVED_FDS    256u /* of the descriptor limit: for channels, the predictor, and what is on its way */

#define HTTP_HEAD_TIMEOUT_MS  10000 /* from the first byte of a request to the end of its head */
#define HTTP_BODY_TIMEOUT_MS  30000 /* without a byte of the body */
#define HTTP_WRITE_TIMEOUT_MS 60000 /* without the client taking a byte of the answer */
#define HTTP_IDLE_TIMEOUT_MS  75000 /* between two requests */
#define HTTP_LINGER_TIMEOUT_MS \
	5000 /* reading what the client still sends after an answer that ended the connection early */

#endif

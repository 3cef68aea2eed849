/*
 * logs - GET /logs.
 */
#include "monitor/monitor.h"

void
logs_request(UNUSED struct monitor *monitor, struct http_conn *conn)
{
	answer_text(conn, 501, "not implemented yet\n", NULL);
}

/*
 * logs - GET /logs.
 */
#include "monitor/monitor.h"

json_t *
logs_status(UNUSED const struct monitor *monitor)
{
	return json_pack("{si ss}", "lost_lines", 0, "text", "");
}

void
logs_request(UNUSED struct monitor *monitor, struct http_conn *conn)
{
	answer_text(conn, 501, "not implemented yet\n", NULL);
}

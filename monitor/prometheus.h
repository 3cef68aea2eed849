/*
 * prometheus - the metrics as text: Prometheus' text format 0.0.4, or OpenMetrics 1.0. Pure.
 *
 * The names are those of docs/monitoring.md. Where two apis have the same name and endpoint, which is so for moments, the one
 * that requests find is shown.
 */
#ifndef MONITOR_PROMETHEUS_H
#define MONITOR_PROMETHEUS_H

#include "monitor/view.h"

#define PROMETHEUS_TYPE  "text/plain; version=0.0.4; charset=utf-8"
#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* The text, which the caller frees, and its length; NULL: no memory. The view has a status. */
char *prometheus_text(const struct view *view, bool openmetrics, size_t *ret_length);

#endif

/*
 * quantity - Kubernetes quantities as exact integers.
 *
 * The grammar is apimachinery's resource.Quantity: <sign><digits[.digits]><suffix>, suffix one of
 * n u m "" k M G T P E, Ki Mi Gi Ti Pi Ei, or e/E with a signed exponent. Cortex v0.11 also took an upper-case K.
 * No floating point anywhere: a value that is not a whole number of the wanted unit is rounded up, as Kubernetes does.
 */
#ifndef COMMON_QUANTITY_H
#define COMMON_QUANTITY_H

#include "common/util.h"

/* 0 and the value, -EINVAL for text that is no quantity, -ERANGE when it does not fit; negative values are returned as such. */
MUSTCHECK int quantity_parse_milli(const char *text, int64_t *ret_milli); /* cpu: thousandths of a core */
MUSTCHECK int quantity_parse_bytes(const char *text, int64_t *ret_bytes); /* mem: bytes */

#endif

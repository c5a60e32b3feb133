/* Sentences for people: filled by whoever finds a failure, prefixed by whoever knows what it was about.
 *
 * "bad chain" -> "entry 17: bad chain" -> "orders/0: entry 17: bad chain". `error` may be NULL everywhere: nobody
 * asked. What does not fit is cut. Any thread. */
#ifndef TLOG_ERROR_H
#define TLOG_ERROR_H

#include "log/topiclog.h"

/* Replaces the sentence. Arguments must not point into `error`. */
void tlog_error_set(struct tlog_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "PREFIX: " before the sentence; the prefix alone when there is none yet. */
void tlog_error_prefix(struct tlog_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

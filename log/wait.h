/* Waiting for a struct tlog_waiter. Any thread. */
#ifndef TLOG_WAIT_H
#define TLOG_WAIT_H

#include "log/topiclog.h"

/* Calls start(arg, waiter) and waits until the waiter is done; its result. */
int tlog_wait(void (*start)(void *arg, struct tlog_waiter *waiter), void *arg);

#endif

/* Sleeping under a lock for a time that clocks set by hand do not stretch (CLOCK_MONOTONIC). */
#ifndef TLOG_LOCK_H
#define TLOG_LOCK_H

#include <pthread.h>
#include <stdint.h>

void tlog_cond_init(pthread_cond_t *cond);
/* Waits for a signal, at most `ns` (negative: for ever). 0 or ETIMEDOUT. The lock is held before and after. */
int tlog_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ns);

#endif

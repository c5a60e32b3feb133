#include "log/lock.h"

#include <time.h>

void tlog_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

int tlog_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ns)
{
    if (ns < 0)
        return pthread_cond_wait(cond, lock);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t at_ns = (int64_t)until.tv_sec * 1000000000 + until.tv_nsec + ns;
    until = (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
    return pthread_cond_timedwait(cond, lock, &until);
}

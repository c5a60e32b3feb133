#include "log/clock.h"

static const int64_t trust_ns = INT64_C(3600) * 1000000000; /* ahead: believed at once; further: after as long */

void tlog_clock_init(struct tlog_clock *clock)
{
    pthread_mutex_init(&clock->lock, NULL);
    clock->mark = (struct tlog_clock_mark){0};
}

void tlog_clock_release(struct tlog_clock *clock)
{
    pthread_mutex_destroy(&clock->lock);
}

/* What CLOCK_BOOTTIME makes of the last time believed. */
static int64_t steady(const struct tlog_clock_mark *mark, int64_t boottime_ns)
{
    return mark->time_ns + (boottime_ns - mark->boot_ns);
}

void tlog_clock_start(struct tlog_clock *clock, const struct tlog_clock_mark *left, bool same_boot, int64_t newest_ns,
                      int64_t realtime_ns, int64_t boottime_ns)
{
    int64_t known_ns = left->time_ns ? left->time_ns : newest_ns;
    pthread_mutex_lock(&clock->lock);
    if (same_boot && left->time_ns)
        clock->mark = *left;
    else if (known_ns == 0 || realtime_ns <= known_ns + trust_ns)
        clock->mark = (struct tlog_clock_mark){realtime_ns > known_ns ? realtime_ns : known_ns, boottime_ns, 0};
    else
        clock->mark = (struct tlog_clock_mark){known_ns, boottime_ns, boottime_ns + trust_ns};
    pthread_mutex_unlock(&clock->lock);
}

static void settle(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns)
{
    if (clock->mark.doubt_ns != 0 && boottime_ns >= clock->mark.doubt_ns)
        clock->mark = (struct tlog_clock_mark){realtime_ns, boottime_ns, 0};
}

int64_t tlog_clock_now(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns)
{
    pthread_mutex_lock(&clock->lock);
    settle(clock, realtime_ns, boottime_ns);
    int64_t now_ns = steady(&clock->mark, boottime_ns);
    pthread_mutex_unlock(&clock->lock);
    return now_ns < realtime_ns ? now_ns : realtime_ns;
}

bool tlog_clock_doubted(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns)
{
    return tlog_clock_now(clock, realtime_ns, boottime_ns) < realtime_ns - trust_ns;
}

int64_t tlog_clock_stamp(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns)
{
    pthread_mutex_lock(&clock->lock);
    int64_t now_ns = steady(&clock->mark, boottime_ns);
    pthread_mutex_unlock(&clock->lock);
    return now_ns > realtime_ns ? now_ns : realtime_ns;
}

struct tlog_clock_mark tlog_clock_keep(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns)
{
    pthread_mutex_lock(&clock->lock);
    settle(clock, realtime_ns, boottime_ns);
    struct tlog_clock_mark mark = clock->mark;
    pthread_mutex_unlock(&clock->lock);
    mark.time_ns = steady(&mark, boottime_ns);
    mark.boot_ns = boottime_ns;
    return mark;
}

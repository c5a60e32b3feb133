/* The clock that old data is deleted by: CLOCK_REALTIME, guarded by CLOCK_BOOTTIME, which never jumps.
 *
 * What is deleted too early is lost, what is deleted too late costs only space. So this clock never runs ahead of
 * what CLOCK_BOOTTIME says has passed since the last time that is believed, and never ahead of CLOCK_REALTIME:
 *
 * - A clock that jumps forward moves nothing; records get older as fast as time passes.
 * - A clock that jumps back holds everything until it has caught up.
 * - A start in the same boot goes on from the checkpoint, so what the clock did meanwhile does not count either.
 * - A start in another boot has no measure of the time between. A clock within an hour of the last time known (the
 *   checkpoint's, else the newest record's) is believed. One that is further ahead (the machine was off for long, or
 *   its clock is wrong) is believed only after an hour in which somebody or something had a chance to set it. One
 *   that is behind goes on from the last time known.
 *
 * Locks itself; any thread. Nothing here reads a clock. */
#ifndef TLOG_CLOCK_H
#define TLOG_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A time that is believed, by both clocks. All zero: none. */
struct tlog_clock_mark {
    int64_t time_ns;  /* as CLOCK_REALTIME */
    int64_t boot_ns;  /* CLOCK_BOOTTIME at that time */
    int64_t doubt_ns; /* CLOCK_BOOTTIME from when on CLOCK_REALTIME will be believed; 0: it is */
};

struct tlog_clock {
    pthread_mutex_t lock;
    struct tlog_clock_mark mark;
};

void tlog_clock_init(struct tlog_clock *clock);
void tlog_clock_release(struct tlog_clock *clock);
/* At a start. `left`: of the last run, `same_boot` in this boot; `newest_ns`: of the newest record, 0 for none. */
void tlog_clock_start(struct tlog_clock *clock, const struct tlog_clock_mark *left, bool same_boot, int64_t newest_ns,
                      int64_t realtime_ns, int64_t boottime_ns);
/* The time that something must be older than to be deleted. */
int64_t tlog_clock_now(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns);
/* Whether CLOCK_REALTIME is so far ahead that it is not believed (yet). */
bool tlog_clock_doubted(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns);
/* The time to write on what is to be deleted some time after now: what tlog_clock_now cannot be ahead of. */
int64_t tlog_clock_stamp(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns);
/* What the checkpoint keeps. */
struct tlog_clock_mark tlog_clock_keep(struct tlog_clock *clock, int64_t realtime_ns, int64_t boottime_ns);

#endif

/* What every part of an open store stands on: its files, its journal, its clock, its list of what is dirty. The
 * store (store.h) has it as its first member; nothing here knows of topics.
 *
 * Constant once the store is open, unless a lock is named. Any thread. */
#ifndef TLOG_GROUND_H
#define TLOG_GROUND_H

#include <pthread.h>
#include <stdatomic.h>

#include "log/clock.h"
#include "log/config.h"
#include "log/frames.h"
#include "log/handle.h"
#include "log/journal.h"

struct tlog_partition;

/* The latest pieces of damage that were met while serving, a sentence each. */
enum { TLOG_DAMAGES_KEPT = 64 };
struct tlog_damages {
    pthread_mutex_t lock; /* guards these */
    char *lines[TLOG_DAMAGES_KEPT];
    uint64_t count; /* so far; line n stands at n modulo TLOG_DAMAGES_KEPT */
};

struct tlog_ground {
    const struct tlog_io *io;
    struct tlog_options options;
    char *path;
    uint64_t producer; /* random, of this start */
    struct tlog_journal journal;
    struct tlog_handles handles;
    struct tlog_frames frames;
    struct tlog_damages damages;
    _Atomic uint64_t logs; /* how many partitions came into being: each has its number as a key of frames */
    struct tlog_recovery recovery;
    atomic_bool failed;      /* the journal's sync failed */
    int64_t clock_offset_ns; /* CLOCK_REALTIME less CLOCK_BOOTTIME when the store was opened */
    struct tlog_clock clock; /* for what is deleted by age */

    pthread_mutex_t admin_lock; /* one change of topics or configuration at a time; guards these */
    struct tlog_config config;  /* the root's */
    struct tlog_attr attr;      /* the root directory's */

    atomic_bool spare;     /* the spare file is there */
    atomic_bool gate_shut; /* appends wait: a cut is under way */
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_opened;

    pthread_mutex_t dirty_lock;   /* guards these, and upkeep's sleep */
    struct tlog_partition *dirty; /* newly dirty, for upkeep to take over */
    pthread_cond_t wake;
    bool kicked;
    pthread_cond_t wake_maintain; /* the same for the maintenance */
    bool maintain_kicked;
    char sealing[320];          /* what it seals now; empty: nothing */
    uint64_t unsealed_segments; /* full ones that are to be sealed */
    int64_t unsealed_ns;        /* when the oldest of them ended; 0: none */

    bool sealing_late;    /* it could not be written, and that was told; the maintenance's own */
    atomic_bool stopping; /* the store is being closed: what is slow is given up */
};

/* The time for a record: CLOCK_REALTIME, but not more than an hour ahead of what CLOCK_BOOTTIME expects. */
int64_t tlog_ground_time_ns(struct tlog_ground *ground);
/* Shuts the gate before all appends and opens it again; one thread at a time. See cut.c. */
void tlog_gate_shut(struct tlog_ground *ground, bool shut);
/* Waits while it is shut, without any lock held. */
void tlog_gate_wait(struct tlog_ground *ground);
/* Makes upkeep look now. */
void tlog_ground_kick(struct tlog_ground *ground);
/* How long the maintenance sleeps at most: what nobody woke it for is seen then. */
#define TLOG_MAINTAIN_LOOK_NS INT64_C(60000000000)
/* Makes the maintenance look now. */
void tlog_ground_kick_maintain(struct tlog_ground *ground);
/* Remembers a piece of damage met while serving and tells it, unless that was done. */
void tlog_ground_damage(struct tlog_ground *ground, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Calls `each` for those remembered, oldest first, without a lock. */
void tlog_damages_each(struct tlog_damages *damages, void (*each)(void *arg, const char *line), void *arg);
void tlog_damages_release(struct tlog_damages *damages);
static inline bool tlog_ground_stopping(struct tlog_ground *ground)
{
    return atomic_load_explicit(&ground->stopping, memory_order_relaxed);
}
/* Tells people a sentence, through options.note. */
void tlog_ground_note(struct tlog_ground *ground, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

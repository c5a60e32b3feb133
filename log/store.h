/* The store's insides. */
#ifndef TLOG_STORE_H
#define TLOG_STORE_H

#include "log/checkpoint.h"
#include "log/journal.h"
#include "log/topic.h"

struct tlog_store {
    const struct tlog_io *io;
    struct tlog_options options;
    char *path;
    int lock_fd;
    uint8_t id[16];
    uint64_t producer; /* random, of this start */
    char boot_id[64];
    struct tlog_journal journal;
    struct tlog_handles handles;
    struct tlog_recovery recovery;
    atomic_bool failed; /* the journal's sync failed */

    pthread_mutex_t admin_lock; /* one change of topics or configuration at a time; guards these */
    char *config_text;
    struct tlog_config config;
    struct tlog_attr attr;

    pthread_mutex_t lock;       /* guards these */
    struct tlog_topic **topics; /* by name */
    size_t topic_count;

    int64_t clock_offset_ns; /* CLOCK_REALTIME less CLOCK_BOOTTIME when the store was opened; constant */

    pthread_mutex_t dirty_lock;   /* guards the list, and upkeep's sleep */
    struct tlog_partition *dirty; /* newly dirty, for upkeep to take over */
    pthread_cond_t wake;
    bool kicked, stopping;
    pthread_t upkeep;
    bool upkeep_runs;

    pthread_mutex_t round_lock;    /* one round of upkeep at a time; taken before all others; guards this */
    struct tlog_partition *tended; /* what upkeep looks after */
};

/* The time for a record: CLOCK_REALTIME, but not more than an hour ahead of what CLOCK_BOOTTIME expects. */
int64_t tlog_store_time_ns(struct tlog_store *store);
/* Makes upkeep look now. */
void tlog_store_kick(struct tlog_store *store);
/* The journal's sync failed: the store is read-only, marked so on disk. */
void tlog_store_fail(struct tlog_store *store);
void tlog_store_note(struct tlog_store *store, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* upkeep.c */
int tlog_upkeep_start(struct tlog_store *store);
void tlog_upkeep_stop(struct tlog_store *store);
/* Gives back what upkeep holds, before the store is freed. */
void tlog_upkeep_release(struct tlog_store *store);
/* Flushes everything, writes the checkpoint and gives the journal's space back. */
int tlog_upkeep_flush_all(struct tlog_store *store);

/* recover.c: everything between the lock and service. `copied`: journal and checkpoint are another store's. */
int tlog_store_recover(struct tlog_store *store, bool copied, struct tlog_error *error);

#endif

/* The store's insides. */
#ifndef TLOG_STORE_H
#define TLOG_STORE_H

#include "log/checkpoint.h"
#include "log/topic.h"

struct tlog_store {
    struct tlog_ground ground;
    int lock_fd;
    uint8_t id[16];
    bool unsettled; /* it is a copy, and nobody has said yet whether it takes the original's place */
    char boot_id[64];
    char *config_text; /* the root's; ground.admin_lock guards it */

    pthread_mutex_t lock;       /* guards these */
    struct tlog_topic **topics; /* by name */
    size_t topic_count;

    pthread_t upkeep;
    bool upkeep_runs;
    bool stopping; /* guarded by ground.dirty_lock */

    pthread_mutex_t maintain_lock; /* one round of maintenance at a time; taken before all others */
    pthread_t maintain;
    bool maintain_runs;

    pthread_mutex_t round_lock;    /* one round of upkeep at a time; taken before all others; guards these */
    struct tlog_partition *tended; /* what upkeep looks after */
    bool checkpoint_late;          /* the last one found no space */
    bool recovering;               /* the first flush of a start is under way */
};

/* The store of a topic or partition. */
static inline struct tlog_store *tlog_store_of(struct tlog_ground *ground)
{
    return (struct tlog_store *)(void *)ground;
}

/* The store's table of topics. Adding takes the caller's reference, removing leaves it to the caller. */
int tlog_table_add(struct tlog_store *store, struct tlog_topic *topic);
void tlog_table_remove(struct tlog_store *store, struct tlog_topic *topic);
void tlog_table_rename(struct tlog_store *store, struct tlog_topic *topic, const char *name);
bool tlog_table_has(struct tlog_store *store, const char *name);
/* A reference to the topic with that id, or NULL. */
struct tlog_topic *tlog_topic_by_id(struct tlog_store *store, const uint8_t id[16]);
/* Marks a partition as gone; upkeep lets go of it by itself. Whoever has it open reads on from `dir` in the trash;
 * without one there is nothing to read. With p->lock. */
void tlog_partition_gone(struct tlog_partition *p, const char *dir);
/* trash.c. Removes for good what has been in the trash for long enough. Returns the ns until more is due, -1: nothing. */
int64_t tlog_store_expire(struct tlog_store *store);
/* Marks all its partitions as gone: the topic could not be made. */
void tlog_topic_forget(struct tlog_topic *topic);
/* store_id.c. Finds the directory or makes it, takes the lock, and knows the id. 1: it is a copy (*copied) or was
 * moved, and the id wants writing anew. */
int tlog_store_enter(struct tlog_store *store, bool *copied, struct tlog_error *error);
/* Writes the id, and where the store is now. */
int tlog_store_write_id(struct tlog_store *store);
/* store_adopt.c. tlog_adopt and tlog_clone with options (of which io and note count). */
int tlog_store_settle(const struct tlog_options *options, const char *path, bool clone, struct tlog_error *error);
void tlog_store_id_text(const uint8_t id[16], char to[37]);

/* The journal's sync failed: the store is read-only, marked so on disk. */
void tlog_store_fail(struct tlog_store *store);

/* upkeep.c */
int tlog_upkeep_start(struct tlog_store *store);
void tlog_upkeep_stop(struct tlog_store *store);
/* Gives back what upkeep holds, before the store is freed. */
void tlog_upkeep_release(struct tlog_store *store);
/* Flushes everything, writes the checkpoint and gives the journal's space back. */
int tlog_upkeep_flush_all(struct tlog_store *store);

/* maintain.c: the maintenance's thread. */
int tlog_maintain_start(struct tlog_store *store);
/* Returns soon, also when a segment is being sealed: that is given up, and done again after the next start. */
void tlog_maintain_stop(struct tlog_store *store);

/* recover.c: everything between the lock and service. `copied`: journal and checkpoint are another store's. */
int tlog_store_recover(struct tlog_store *store, bool copied, struct tlog_error *error);

#endif

/* Recovery of one partition, and what the journal says about it. */
#ifndef TLOG_RECOVER_H
#define TLOG_RECOVER_H

#include "log/store.h"

/* A journal record kept in memory. */
struct tlog_replayed {
    enum tlog_journal_type type;
    uint8_t topic_id[16];
    uint32_t partition;
    uint64_t lsn;
    uint32_t body_bytes;
    uint8_t *body;
};

/* An unfinished line that earlier runs left. */
struct tlog_left_rest {
    struct tlog_left_rest *next;
    uint8_t topic_id[16];
    uint32_t partition;
    uint64_t producer;
    uint32_t producer_seq;
    uint64_t pos; /* the partition's end when the rest was last written down: what ended it lies past it */
    uint8_t *data;
    size_t bytes;
    size_t carried; /* up to where it was written down in one go, from its first byte on */
};

struct tlog_recover {
    struct tlog_store *store;
    struct tlog_checkpoint checkpoint; /* empty when there is none to believe */
    bool same_boot, copied;
    bool lost;                     /* there was a checkpoint, and it is damaged */
    struct tlog_replayed *records; /* sorted by topic, partition, lsn */
    size_t count;
    struct tlog_left_rest *rests; /* in the order they began */
    uint64_t done_bytes, total_bytes;
};

/* Finds where partition p (in memory, without segments) ends, and makes its files say so. With p->lock. Damage
 * is noted and marks the partition, it is no failure. */
int tlog_partition_recover(struct tlog_recover *recover, struct tlog_partition *p, struct tlog_error *error);
/* Recovers partition `number` of a topic, which its directory has, and places it; with the topic's lock, or before the
 * store is in service. The same for a whole topic and the store's table. */
int tlog_recover_add_partition(struct tlog_recover *recover, struct tlog_topic *topic, uint32_t number,
                               struct tlog_error *error);
int tlog_recover_topic(struct tlog_recover *recover, const char *name, struct tlog_error *error);
/* The same without writing anything, for a store opened to be looked at. */
int tlog_partition_look(struct tlog_recover *recover, struct tlog_partition *p, struct tlog_error *error);
/* Appends the line that a rest is, unless an entry says that it has ended. 1: appended. With p->lock. */
int tlog_partition_end_rest(struct tlog_partition *p, const struct tlog_left_rest *rest);
/* The records of a type about p: the first, and how many follow it. */
struct tlog_replayed *tlog_recover_records(struct tlog_recover *recover, const struct tlog_partition *p, size_t *count);

#endif

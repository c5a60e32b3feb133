/* A topic's insides. Lock order: see partition.h. */
#ifndef TLOG_TOPIC_H
#define TLOG_TOPIC_H

#include "log/files.h"
#include "log/partition.h"

#define TLOG_RETENTION_WAIT_NS INT64_C(10000000000) /* after a start or a change, until something is deleted */

struct tlog_topic {
    struct tlog_topic_head head;        /* whose lock guards all below */
    struct tlog_partition **partitions; /* by number, NULL where none is */
    struct tlog_point *ends;            /* by number: where a removed one ended; pos 0: never removed */
    unsigned partition_count, ends_count;
    char *config_text;
    struct tlog_config config;
    int64_t mtime_ns;
    bool deleted;
    bool restored; /* its directory has an `origin`: it was moved back from the trash, or was to be moved there */
};

/* The topic of a partition. */
static inline struct tlog_topic *tlog_topic_of(const struct tlog_partition *p)
{
    return (struct tlog_topic *)(void *)p->topic;
}
/* A topic in memory, of no id yet; NULL without memory. */
struct tlog_topic *tlog_topic_new(struct tlog_ground *ground, const char *name);
/* Reads topic.conf, attr and removed of the directory `name`. Partitions are recovered by the caller. */
int tlog_topic_load(struct tlog_ground *ground, const char *name, struct tlog_topic **out, struct tlog_error *error);
/* Makes partition `number` and places it; `attr` NULL: the topic's. With the topic's lock. */
int tlog_topic_make_partition(struct tlog_topic *topic, unsigned number, const struct tlog_attr *attr);
/* Puts partition p under its number. Takes p. */
int tlog_topic_place(struct tlog_topic *topic, struct tlog_partition *p);
/* Computes the values in force from its own and the store's. With topic->lock. */
void tlog_topic_settle(struct tlog_topic *topic);
/* 0, -EINVAL, -ENAMETOOLONG. */
int tlog_topic_check_name(const char *name);

/* What a change of configuration leads to: `*out` the text, to be freed, and its values. */
int tlog_config_change(const char *old, const char *text, bool replace, char **out, struct tlog_config *config,
                       struct tlog_error *error);

/* topic.conf with `text` for the configuration; the ends of removed partitions. With topic->lock. */
int tlog_topic_write_conf(const struct tlog_topic *topic, const char *dir, const char *text);
int tlog_topic_write_removed(struct tlog_topic *topic, const char *dir);
int tlog_topic_set_end(struct tlog_topic *topic, unsigned number, const struct tlog_point *end);
void tlog_topic_hex(const uint8_t id[16], char to[33]);

#endif

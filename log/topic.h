/* A topic's insides. Lock order: see partition.h. */
#ifndef TLOG_TOPIC_H
#define TLOG_TOPIC_H

#include "log/config.h"
#include "log/partition.h"

struct tlog_topic {
    struct tlog_store *store;
    atomic_int refs;
    uint8_t id[16];
    _Atomic int64_t values[TLOG_KEYS]; /* in force */

    pthread_mutex_t lock; /* guards all below; the name also needs every partition's lock to change */
    char name[256];
    struct tlog_partition **partitions; /* by number, NULL where none is */
    struct tlog_point *ends;            /* by number: where a removed one ended; pos 0: never removed */
    unsigned partition_count, ends_count;
    char *config_text;
    struct tlog_config config;
    struct tlog_attr attr;
    int64_t mtime_ns;
    bool deleted;
    atomic_bool unlisted; /* its directory entry was not synced */
};

/* "STORE/topics/NAME" with the lock of the topic or of one of its partitions held. */
void tlog_topic_dir(const struct tlog_topic *topic, char to[TLOG_NAME_BYTES]);
/* Reads topic.conf, attr and removed of the directory `name`. Partitions are recovered by the caller. */
int tlog_topic_load(struct tlog_store *store, const char *name, struct tlog_topic **out, struct tlog_error *error);
void tlog_topic_free(struct tlog_topic *topic);
/* Puts partition p under its number. Takes p. */
int tlog_topic_place(struct tlog_topic *topic, struct tlog_partition *p);
/* Computes the values in force from its own and the store's. With topic->lock. */
void tlog_topic_settle(struct tlog_topic *topic);
/* 0, -EINVAL, -ENAMETOOLONG. */
int tlog_topic_check_name(const char *name);

/* The store's table of topics. Adding takes the caller's reference, removing leaves it to the caller. */
int tlog_table_add(struct tlog_store *store, struct tlog_topic *topic);
void tlog_table_remove(struct tlog_store *store, struct tlog_topic *topic);
void tlog_table_rename(struct tlog_store *store, struct tlog_topic *topic, const char *name);
bool tlog_table_has(struct tlog_store *store, const char *name);
/* Marks all its partitions as gone: the topic could not be made. */
void tlog_topic_forget(struct tlog_topic *topic);
/* What a change of configuration leads to: `*out` the text, to be freed, and its values. */
int tlog_config_change(const char *old, const char *text, bool replace, char **out, struct tlog_config *config,
                       struct tlog_error *error);

/* topic.conf with `text` for the configuration; the ends of removed partitions. With topic->lock. */
int tlog_topic_write_conf(const struct tlog_topic *topic, const char *dir, const char *text);
int tlog_topic_write_removed(struct tlog_topic *topic, const char *dir);
int tlog_topic_set_end(struct tlog_topic *topic, unsigned number, const struct tlog_point *end);
void tlog_topic_hex(const uint8_t id[16], char to[33]);

/* The small files: attr and removed. */
int tlog_attr_read(const struct tlog_io *io, const char *dir, struct tlog_attr *attr, int64_t *mtime_ns,
                   uint64_t *mtime_end);
int tlog_attr_write(const struct tlog_io *io, const char *dir, const struct tlog_attr *attr, int64_t mtime_ns,
                    uint64_t mtime_end);

/* Reads a whole small file, NUL-terminated, to be freed; replaces one, durably. */
int tlog_file_read(const struct tlog_io *io, const char *path, char **out, size_t *bytes);
int tlog_file_replace(const struct tlog_io *io, const char *dir, const char *name, const void *data, size_t bytes);
/* Makes a file whose being there is all that counts: on a disk that refuses syncs it is at least there for the next
 * start in this boot. */
int tlog_file_mark(const struct tlog_io *io, const char *dir, const char *name, const char *text);

/* Removes a directory and all that is in it, as far as it can. */
void tlog_tree_remove(const struct tlog_io *io, const char *dir);

#endif

/* The trash: STORE/trash/ITEM holds what was removed with its records, and a file `origin` that says what it was. The
 * names and the file are in topicfs-format(5). */
#ifndef TLOG_TRASH_H
#define TLOG_TRASH_H

#include "log/store.h"

struct tlog_origin {
    char topic[256]; /* its name when it was removed */
    int partition;   /* -1: the whole topic */
    bool has_id;
    uint8_t topic_id[16];
    int64_t removed_ns;
};

/* Writes `origin` into the directory that is about to be moved, with where its partitions start. With the locks of
 * `topic` and of the partitions; `p` NULL: the whole topic. */
int tlog_origin_write(const struct tlog_topic *topic, const struct tlog_partition *p, const char *dir,
                      int64_t removed_ns);
/* What lies in STORE/trash/ITEM; where there is no origin, its name and its files tell. -ENOENT, -EBADMSG. */
int tlog_origin_read(struct tlog_store *store, const char *item, struct tlog_origin *out);
/* Where partition `number` started, by the origin in `dir`; 0: that is not known. */
uint64_t tlog_origin_start(const struct tlog_io *io, const char *dir, uint32_t number);

/* Calls `each` for every item's name, oldest first, until it returns non-zero; returns that. */
int tlog_trash_items(struct tlog_store *store, int (*each)(void *arg, const char *item), void *arg);
/* Whether that can be an item's name. */
bool tlog_trash_is_item(const char *name);

#endif

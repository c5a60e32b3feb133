/* A WHERE that was opened: a mountpoint (its files are used) or a store directory (the library is). Commands see
 * no difference, except where `online` matters to people.
 *
 * Calls return 0 (or a count) or -errno and may fill `store->error` with a sentence: -ENOENT is a topic or
 * partition that is not there. One thread. */
#ifndef CTL_STORE_H
#define CTL_STORE_H

#include "fs/ioctl.h"
#include "log/topiclog.h"

struct ctl_partition;

/* What is known of a partition without opening it. */
struct ctl_summary {
    unsigned number;
    uint64_t start, end, committed, records;
};

struct ctl_store {
    const struct ctl_backend *backend;
    char *path;
    bool online;
    struct tlog_error error; /* of the last call that failed; empty when strerror says all */
    int root;                /* online: the mount's root directory */
    struct tlog_store *log;  /* offline */
};

enum ctl_access {
    CTL_READ,  /* nothing is written; a store that a daemon has open can be looked at */
    CTL_WRITE, /* offline: recovers the store first; -EWOULDBLOCK when a daemon has it */
    CTL_MAKE,  /* as CTL_WRITE; a missing or empty directory becomes a store */
};

/* Opens; on failure says why and returns NULL. */
struct ctl_store *ctl_store_open(const char *path, enum ctl_access access);
/* Closes and frees; 0, or -errno with the failure said, if what was done could not be made durable. */
int ctl_store_close(struct ctl_store *store);
/* Is `path` a mountpoint of topicfs? -errno when it cannot be told. */
int ctl_is_mount(const char *path);
/* The process that has the store open, 0 if none has. */
int ctl_store_holder(const char *path);

/* An open partition, for reading or for appending. */
struct ctl_partition {
    struct ctl_store *store;
    int fd;                     /* online; may be polled for growth */
    uint64_t base;              /* online: logical position of the file's first byte */
    struct tlog_partition *log; /* offline */
};

struct ctl_backend {
    /* Topics' names, sorted, NULL after the last; freed by ctl_names_free. */
    int (*topics)(struct ctl_store *store, char ***out);
    /* The topic's partitions, by number; `*out` to be freed. */
    int (*partitions)(struct ctl_store *store, const char *topic, struct ctl_summary **out, size_t *count);
    /* partitions 0: as the root configuration says. */
    int (*create)(struct ctl_store *store, const char *topic, unsigned partitions);
    /* Adds that partition and those missing below. */
    int (*add)(struct ctl_store *store, const char *topic, unsigned number);
    /* partition -1: the topic, records and all; it goes to the trash. */
    int (*remove)(struct ctl_store *store, const char *topic, int partition);
    /* Takes away the whole segments before `pos`, all of them at the end; *start: where it begins now. */
    int (*trim)(struct ctl_store *store, const char *topic, unsigned number, uint64_t pos, uint64_t *start);
    /* Bytes on disk, without the right to read the partition. */
    int (*disk_bytes)(struct ctl_store *store, const char *topic, unsigned number, uint64_t *out);
    /* What is in the trash, oldest first; to be freed. */
    int (*trash)(struct ctl_store *store, struct tlog_trash_item **out, size_t *count);
    int (*restore)(struct ctl_store *store, const char *item);
    int (*discard)(struct ctl_store *store, const char *item);
    /* topic NULL: the root's. */
    int (*config_text)(struct ctl_store *store, const char *topic, char **out);
    int (*config_set)(struct ctl_store *store, const char *topic, const char *text, bool replace);
    /* Online, the right to read the partition is wanted. */
    int (*bounds)(struct ctl_store *store, const char *topic, unsigned number, struct tlog_bounds *out);

    int (*open)(struct ctl_store *store, const char *topic, unsigned number, bool write, struct ctl_partition *out);
    /* -ESTALE when the partition was deleted meanwhile. */
    int (*extent)(struct ctl_partition *partition, uint64_t *start, uint64_t *committed);
    ssize_t (*read)(struct ctl_partition *partition, uint64_t pos, void *to, size_t bytes);
    int (*find)(struct ctl_partition *partition, enum tfs_find kind, int64_t value, uint64_t *pos, uint64_t *seq);
    /* Appends `records` whole records; returns bytes appended, perhaps fewer, or -errno with none. */
    ssize_t (*append)(struct ctl_partition *partition, const void *data, size_t length, uint32_t records);
    int (*sync)(struct ctl_partition *partition);
    int (*close_partition)(struct ctl_partition *partition);

    int (*close)(struct ctl_store *store);
};

extern const struct ctl_backend ctl_mount, ctl_files;

/* The mount's part of the trash (store_trash.c). */
int ctl_mount_trash(struct ctl_store *store, struct tlog_trash_item **out, size_t *count);
int ctl_mount_restore(struct ctl_store *store, const char *item);
int ctl_mount_discard(struct ctl_store *store, const char *item);

void ctl_names_free(char **names);

#endif

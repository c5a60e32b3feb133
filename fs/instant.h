/* Instants: the whole store cut at one moment, which `.at/now` and `.at/TIME` show.
 *
 * `now` and times that count back from it are a process's own: the first look-up cuts, and later ones by the same
 * process find that cut while it has something open below or has used it in the last TFS_INSTANT_OWN_SECONDS. A time of
 * the calendar is the same for all. Whoever is inside (has a working directory or an open file or directory there)
 * stays in what he entered.
 *
 * An instant pins the log from its start on, unless it has been idle for TFS_INSTANT_OWN_SECONDS; its next use pins it
 * again, where nothing was trimmed meanwhile. It lives as long as it may be looked up again, or the kernel knows a name
 * below it: the kernel is told to forget the names of one that has been idle for TFS_INSTANT_IDLE_SECONDS, and what is in
 * use even then, as a working directory, stays. Any thread. */
#ifndef TFS_INSTANT_H
#define TFS_INSTANT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "log/topiclog.h"

struct tfs;

enum { TFS_INSTANT_OWN_SECONDS = 10, TFS_INSTANT_IDLE_SECONDS = 600 };

struct tfs_instant {
    char name[32];
    pid_t process; /* 0: anybody's */
    /* The partitions, by topic and number, */
    struct tfs_instant_file {
        struct tlog_partition *partition; /* a reference */
        uint64_t start, end;
        int64_t mtime_ns;
        struct tlog_pin pin; /* instants.lock */
    } * files;
    size_t count;
    /* and their topics, in the order of their names then. */
    struct tfs_instant_topic {
        char *name;
        struct tfs_instant_file *files;
        size_t count;
    } * topics;
    size_t topic_count;
    atomic_uint open;        /* files and directories below */
    _Atomic int64_t used_ns; /* CLOCK_MONOTONIC */
    /* instants.lock */
    atomic_bool asleep; /* pins nothing; also read without */
    unsigned refs;
    bool kept;      /* one of them is the list's: it may be looked up again */
    bool forgotten; /* the kernel was told to forget it */
    struct tfs_instant *next;
};

struct tfs_instants {
    pthread_mutex_t lock; /* held while a cut is made */
    struct tfs_instant *list;
};

void tfs_instants_init(struct tfs_instants *instants);
/* The instant of that name for a process, or for one of its threads; a reference. -ENOENT the name is none, or of a
 * time to come; -ENOMEM, -EIO. */
int tfs_instant_find(struct tfs *fs, const char *name, pid_t caller, struct tfs_instant **out);
void tfs_instant_unref(struct tfs *fs, struct tfs_instant *instant);
/* It is used, now: it is pinned from here on, if that was given up. `opened` (1, -1, 0): so many more things are open. */
void tfs_instant_use(struct tfs *fs, struct tfs_instant *instant, int opened);
/* Lets go of pins and of instants that nobody will find again, and has the kernel forget the names of those that are idle.
 * To be called now and then. */
void tfs_instants_expire(struct tfs *fs);
/* Frees what is kept, at the end. */
void tfs_instants_release(struct tfs_instants *instants);

#endif

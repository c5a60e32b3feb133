/* What the kernel is told without having asked, by threads that hold no lock meanwhile: that a partition somebody polls
 * has grown, that one was trimmed and its name leads to another generation, and that a name is gone.
 *
 * A poll leaves a handle of the kernel's behind. When the partition grows, the appending thread only puts it on a
 * list, and tells the kernel when it has answered its writer: to hand that to another thread costs the reader a
 * wake-up more. Growth in a thread that serves no request, and names, are told by a thread kept for that, since the
 * kernel takes a directory's lock for a name: once it has answered, no look-up that began before is under way. The kernel, once told, asks again. The log library is asked to report
 * growth only while somebody waits.
 *
 * Readable is: bytes that this open file has not read, or an end of file it was not told since the last growth, so
 * that loops which select before each read see the end of file too, as on a disk. */
#ifndef TFS_NOTIFY_H
#define TFS_NOTIFY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct fuse_pollhandle;
struct fuse_session;
struct tlog_partition;
struct tfs;
struct tfs_part;

/* In each open file that can be polled; under notify.lock. */
struct tfs_poller {
    struct fuse_pollhandle *waiting; /* the kernel's newest; NULL: nobody waits */
    struct tfs_poller *next, **link;
};

/* A name that the kernel must not believe any more. */
struct tfs_gone_name {
    uint64_t parent;
    char name[256];
    struct tfs_gone_name *next;
};

struct tfs_notify {
    struct fuse_session *session;
    pthread_mutex_t lock;
    pthread_cond_t wake, told;
    pthread_t thread;
    struct tfs *fs;
    struct tfs_part *grown;
    struct tfs_part *trimmed;
    struct tfs_gone_name *gone;
    bool telling_name;
    bool stop;
};

void tfs_notify_init(struct tfs_notify *notify, struct tfs *fs);
/* Starts the thread; until then nobody is told. */
int tfs_notify_start(struct tfs_notify *notify, struct fuse_session *session);
void tfs_notify_stop(struct tfs_notify *notify);

/* Makes a part known to, and unknown to, tfs_notify_grown. */
void tfs_notify_attach(struct tfs_notify *notify, struct tfs_part *part);
void tfs_notify_detach(struct tfs_notify *notify, struct tfs_part *part);
/* tlog_options.grown; `arg` is the struct tfs_notify. */
void tfs_notify_grown(void *arg, struct tlog_partition *partition);
/* The start of a partition has risen. */
void tfs_notify_trimmed(struct tfs_notify *notify, struct tlog_partition *partition);
/* Waits until the kernel has been told of the trims so far, so that who asked for one sees it by the name at once. Not
 * for ever: the kernel may have to wait for a request in the partition's directory first. */
void tfs_notify_await_trims(struct tfs_notify *notify, struct tlog_partition *partition);

/* Waits with `handle` (takes it) from now on for growth; NULL: no longer. */
void tfs_poller_set(struct tfs_notify *notify, struct tfs_part *part, struct tfs_poller *poller,
                    struct fuse_pollhandle *handle);

/* A name was removed by other means than unlink(2) and rmdir(2); without memory the kernel finds out by itself. */
void tfs_notify_gone(struct tfs_notify *notify, uint64_t parent, const char *name);
/* The same as for trims. */
void tfs_notify_await_gone(struct tfs_notify *notify);

#endif

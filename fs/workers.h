/* The threads that take requests from the kernel and handle them, one request a thread at a time.
 *
 * A few are there from the start. Another joins, up to a limit, when one is about to wait (for a disk, or for another
 * request: release.h) and none is left to take what comes meanwhile. When more are idle than that few, they rest, and
 * give back the memory that large requests took: the kernel wakes idle readers in turn, so fewer are warmer. */
#ifndef TFS_WORKERS_H
#define TFS_WORKERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct fuse_session;

enum { TFS_WORKERS_MIN = 4, TFS_WORKERS_MAX = 32 };

struct tfs_workers {
    struct fuse_session *session;
    pthread_t owner; /* gets TFS_SIGNAL_UNMOUNTED when the mount is gone */
    atomic_bool stop;
    atomic_bool failed; /* the mount is gone because requests could not be read */
    size_t request_bytes;
    atomic_int idle; /* wait for a request */
    pthread_mutex_t lock;
    pthread_t threads[TFS_WORKERS_MAX];
    unsigned count;
    unsigned resting, wanted; /* of those who rest, so many were called */
    pthread_cond_t wake;
};

/* Signals that the threads use among themselves; main blocks both before it starts any thread. */
#define TFS_SIGNAL_UNMOUNTED SIGUSR2
#define TFS_SIGNAL_STOP      SIGUSR1

/* Called by the thread that will wait for TFS_SIGNAL_UNMOUNTED; requests are of at most `request_bytes`. 0 or
 * -errno. */
int tfs_workers_start(struct tfs_workers *workers, struct fuse_session *session, size_t request_bytes);
/* Takes no more requests, waits until those taken are handled (or kept for later), ends the threads. */
void tfs_workers_stop(struct tfs_workers *workers);

/* Called by whatever handles a request before it does what may take long. */
void tfs_worker_may_block(void);
/* Has call(arg) made by this thread when the request that it handles has been answered, once however often it is
 * asked for. false: this thread handles no request. */
bool tfs_worker_defer(void (*call)(void *arg), void *arg);

#endif

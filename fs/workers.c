#include "workers.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>
#include <time.h>

#include "log.h"

/* The pool that this thread belongs to; NULL in others. */
static _Thread_local struct tfs_workers *own_pool;

/* What it does after its request. */
static _Thread_local struct {
    void (*call)(void *arg);
    void *arg;
} deferred;

static void run_deferred(void)
{
    void (*call)(void *arg) = deferred.call;

    deferred.call = NULL;
    call(deferred.arg);
}

/* Gives back the memory of large requests. */
static void shrink(const struct tfs_workers *workers, const struct fuse_buf *buffer)
{
    enum { PAGE = 4096, KEPT = 64 * 1024 };
    uintptr_t from = ((uintptr_t)buffer->mem + KEPT + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    uintptr_t to = ((uintptr_t)buffer->mem + workers->request_bytes) & ~(uintptr_t)(PAGE - 1);

    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

/* One of more than are needed now waits until it is wanted. */
static void rest(struct tfs_workers *workers, const struct fuse_buf *buffer)
{
    pthread_mutex_lock(&workers->lock);
    if (atomic_load(&workers->idle) > TFS_WORKERS_MIN && !atomic_load(&workers->stop)) {
        atomic_fetch_sub(&workers->idle, 1);
        shrink(workers, buffer);
        workers->resting++;
        while (workers->wanted == 0 && !atomic_load(&workers->stop))
            pthread_cond_wait(&workers->wake, &workers->lock);
        workers->resting--;
        if (workers->wanted > 0)
            workers->wanted--; /* who wanted it has counted it as idle */
    }
    pthread_mutex_unlock(&workers->lock);
}

static void *work(void *arg)
{
    struct tfs_workers *workers = arg;
    struct fuse_buf buffer = {0};
    sigset_t stop;

    own_pool = workers;
    sigemptyset(&stop);
    sigaddset(&stop, TFS_SIGNAL_STOP);
    pthread_sigmask(SIG_UNBLOCK, &stop, NULL);
    while (!atomic_load_explicit(&workers->stop, memory_order_relaxed)) {
        int result = fuse_session_receive_buf(workers->session, &buffer);
        if (result == -EINTR || result == -EAGAIN)
            continue;
        if (result <= 0) {
            if (result < 0) {
                tfs_say(LOG_ERR, "cannot read requests: %s", strerror(-result));
                atomic_store(&workers->failed, true);
            }
            pthread_kill(workers->owner, TFS_SIGNAL_UNMOUNTED);
            break;
        }
        atomic_fetch_sub_explicit(&workers->idle, 1, memory_order_relaxed);
        fuse_session_process_buf(workers->session, &buffer);
        if (deferred.call != NULL)
            run_deferred();
        if (atomic_fetch_add_explicit(&workers->idle, 1, memory_order_relaxed) >= TFS_WORKERS_MIN)
            rest(workers, &buffer);
    }
    free(buffer.mem);
    return NULL;
}

/* A failure is no harm as long as there is one. */
static void start_one(struct tfs_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    if (workers->resting > workers->wanted) {
        workers->wanted++;
        atomic_fetch_add(&workers->idle, 1);
        pthread_cond_signal(&workers->wake);
    } else if (workers->count < TFS_WORKERS_MAX && !atomic_load(&workers->stop)) {
        atomic_fetch_add(&workers->idle, 1);
        if (pthread_create(&workers->threads[workers->count], NULL, work, workers) == 0)
            workers->count++;
        else
            atomic_fetch_sub(&workers->idle, 1);
    }
    pthread_mutex_unlock(&workers->lock);
}

void tfs_worker_may_block(void)
{
    if (own_pool != NULL && atomic_load_explicit(&own_pool->idle, memory_order_relaxed) <= 0)
        start_one(own_pool);
}

bool tfs_worker_defer(void (*call)(void *arg), void *arg)
{
    if (own_pool == NULL)
        return false;
    deferred.call = call;
    deferred.arg = arg;
    return true;
}

static void end_read(int signal)
{
    (void)signal;
}

int tfs_workers_start(struct tfs_workers *workers, struct fuse_session *session, size_t request_bytes)
{
    struct sigaction action = {.sa_handler = end_read};

    *workers = (struct tfs_workers){.session = session, .owner = pthread_self(), .request_bytes = request_bytes};
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->wake, NULL);
    sigemptyset(&action.sa_mask);
    sigaction(TFS_SIGNAL_STOP, &action, NULL);
    for (int i = 0; i < TFS_WORKERS_MIN; i++)
        start_one(workers);
    pthread_mutex_lock(&workers->lock);
    unsigned count = workers->count;
    pthread_mutex_unlock(&workers->lock);
    return count > 0 ? 0 : -EAGAIN;
}

/* A thread may be just about to read when the signal comes: again, until it has ended. */
static void stop_one(pthread_t thread)
{
    struct timespec soon;

    do {
        pthread_kill(thread, TFS_SIGNAL_STOP);
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 10000000;
        if (soon.tv_nsec >= 1000000000) {
            soon.tv_nsec -= 1000000000;
            soon.tv_sec++;
        }
    } while (pthread_timedjoin_np(thread, NULL, &soon) != 0);
}

void tfs_workers_stop(struct tfs_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    atomic_store(&workers->stop, true);
    pthread_cond_broadcast(&workers->wake);
    unsigned count = workers->count;
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < count; i++)
        stop_one(workers->threads[i]);
    pthread_cond_destroy(&workers->wake);
    pthread_mutex_destroy(&workers->lock);
}

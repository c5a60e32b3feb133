#include "throttle.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/topiclog.h"

/* The order of the steps against interrupts is that of lock.c: whoever takes a write out of the queue, under the lock,
 * is the one who answers it; the interrupt function is set before the write is queued, and notes what comes too early;
 * before a write is made, libfuse is asked to forget the function, which waits for one that is running. */

struct tfs_throttled {
    struct tfs_throttle *throttle;
    struct tfs_charged *charged;
    fuse_req_t req;
    struct fuse_file_info fi;
    off_t offset;
    int64_t due_ns;
    bool queued, interrupted;
    struct tfs_throttled *next;
    size_t bytes;
    char data[];
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* With the lock. Charges a write, less what the partition has been charged with already; when it may be made. */
static int64_t charge(struct tfs_charged *charged, struct tlog_partition *partition, uint64_t bytes)
{
    uint64_t paid = charged->bytes < bytes ? charged->bytes : bytes;
    int64_t now = now_ns(), due_ns = paid > 0 ? charged->due_ns : now;

    charged->bytes -= paid;
    int64_t wait_ns = paid < bytes ? tlog_partition_throttle(partition, bytes - paid) : 0;
    return wait_ns > due_ns - now ? now + wait_ns : due_ns;
}

/* With the lock. */
static void give_back(const struct tfs_throttled *write)
{
    write->charged->bytes += write->bytes;
    if (write->charged->due_ns < write->due_ns)
        write->charged->due_ns = write->due_ns;
}

/* With the lock. */
static void enqueue(struct tfs_throttle *throttle, struct tfs_throttled *write)
{
    struct tfs_throttled **at = &throttle->waiting;

    while (*at != NULL && (*at)->due_ns <= write->due_ns)
        at = &(*at)->next;
    write->next = *at;
    *at = write;
    write->queued = true;
}

static void interrupted(fuse_req_t req, void *data)
{
    struct tfs_throttled *write = data;
    struct tfs_throttle *throttle = write->throttle;

    pthread_mutex_lock(&throttle->lock);
    write->interrupted = true;
    bool mine = write->queued;
    if (mine) {
        struct tfs_throttled **at = &throttle->waiting;
        while (*at != write)
            at = &(*at)->next;
        *at = write->next;
        give_back(write);
    }
    pthread_mutex_unlock(&throttle->lock);
    if (mine) {
        fuse_reply_err(req, EINTR);
        free(write);
    }
}

/* Under the lock, which is let go meanwhile. */
static void make_first(struct tfs_throttle *throttle)
{
    struct tfs_throttled *write = throttle->waiting;

    throttle->waiting = write->next;
    write->queued = false;
    pthread_mutex_unlock(&throttle->lock);
    fuse_req_interrupt_func(write->req, NULL, NULL);
    throttle->write(write->req, write->data, write->bytes, write->offset, &write->fi);
    free(write);
    pthread_mutex_lock(&throttle->lock);
}

static void *make_due(void *arg)
{
    struct tfs_throttle *throttle = arg;

    pthread_mutex_lock(&throttle->lock);
    while (!throttle->stop || throttle->waiting != NULL) {
        const struct tfs_throttled *first = throttle->waiting;
        if (first == NULL) {
            pthread_cond_wait(&throttle->wake, &throttle->lock);
        } else if (throttle->stop || first->due_ns <= now_ns()) {
            make_first(throttle);
        } else {
            const struct timespec due = {.tv_sec = first->due_ns / 1000000000, .tv_nsec = first->due_ns % 1000000000};
            pthread_cond_timedwait(&throttle->wake, &throttle->lock, &due);
        }
    }
    pthread_mutex_unlock(&throttle->lock);
    return NULL;
}

/* With the lock. The thread is there from the first one on who has to wait. */
static bool start(struct tfs_throttle *throttle)
{
    if (!throttle->running)
        throttle->running = pthread_create(&throttle->thread, NULL, make_due, throttle) == 0;
    return throttle->running;
}

void tfs_throttle_init(struct tfs_throttle *throttle, tfs_throttled_write *write)
{
    pthread_condattr_t monotonic;

    *throttle = (struct tfs_throttle){.write = write};
    pthread_mutex_init(&throttle->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&throttle->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void tfs_throttle_stop(struct tfs_throttle *throttle)
{
    pthread_mutex_lock(&throttle->lock);
    throttle->stop = true;
    pthread_cond_signal(&throttle->wake);
    bool running = throttle->running;
    pthread_mutex_unlock(&throttle->lock);
    if (running)
        pthread_join(throttle->thread, NULL);
    pthread_cond_destroy(&throttle->wake);
    pthread_mutex_destroy(&throttle->lock);
}

bool tfs_throttle_keeps(struct tfs_throttle *throttle, struct tfs_charged *charged, struct tlog_partition *partition,
                        struct fuse_req *req, const char *data, size_t bytes, off_t offset,
                        const struct fuse_file_info *fi)
{
    pthread_mutex_lock(&throttle->lock);
    int64_t due_ns = charge(charged, partition, bytes);
    bool wait = due_ns > now_ns() && !throttle->stop && start(throttle);
    pthread_mutex_unlock(&throttle->lock);
    /* Without memory for the copy nobody waits: the next write is told to, for this one too. */
    struct tfs_throttled *write = wait ? malloc(sizeof *write + bytes) : NULL;
    if (write == NULL)
        return false;

    *write = (struct tfs_throttled){.throttle = throttle,
                                    .charged = charged,
                                    .req = req,
                                    .fi = *fi,
                                    .offset = offset,
                                    .due_ns = due_ns,
                                    .bytes = bytes};
    memcpy(write->data, data, bytes);
    fuse_req_interrupt_func(req, interrupted, write);
    pthread_mutex_lock(&throttle->lock);
    bool early = write->interrupted;
    if (early)
        give_back(write);
    else
        enqueue(throttle, write);
    pthread_cond_signal(&throttle->wake);
    pthread_mutex_unlock(&throttle->lock);
    if (early) {
        fuse_req_interrupt_func(req, NULL, NULL);
        fuse_reply_err(req, EINTR);
        free(write);
    }
    return true;
}

#include "release.h"

#include <errno.h>
#include <time.h>

#include "handle.h"
#include "workers.h"

void tfs_release_expect(struct tfs_handle *handle)
{
    struct tfs_part *part = handle->part;

    pthread_mutex_lock(&part->lock);
    if (!atomic_load(&handle->expected) || handle->expected_round != part->release_round) {
        handle->expected_round = part->release_round;
        atomic_store(&handle->expected, true);
        atomic_fetch_add(&part->releasing, 1);
    }
    pthread_mutex_unlock(&part->lock);
}

void tfs_release_done(struct tfs_handle *handle)
{
    struct tfs_part *part = handle->part;

    if (!atomic_load_explicit(&handle->expected, memory_order_relaxed))
        return;
    pthread_mutex_lock(&part->lock);
    if (handle->expected_round == part->release_round && atomic_fetch_sub(&part->releasing, 1) == 1)
        pthread_cond_broadcast(&part->released);
    atomic_store(&handle->expected, false);
    pthread_mutex_unlock(&part->lock);
}

void tfs_release_wait(struct tfs_part *part)
{
    struct timespec deadline;

    tfs_worker_may_block();
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_nsec += TFS_RELEASE_WAIT_MS * 1000000L;
    if (deadline.tv_nsec >= 1000000000L) {
        deadline.tv_nsec -= 1000000000L;
        deadline.tv_sec++;
    }
    pthread_mutex_lock(&part->lock);
    unsigned round = part->release_round;
    while (atomic_load(&part->releasing) > 0 && part->release_round == round)
        if (pthread_cond_timedwait(&part->released, &part->lock, &deadline) == ETIMEDOUT &&
            part->release_round == round) {
            /* Open elsewhere. Nobody waits for these again: a new round. */
            part->release_round++;
            atomic_store(&part->releasing, 0);
            pthread_cond_broadcast(&part->released);
        }
    pthread_mutex_unlock(&part->lock);
}

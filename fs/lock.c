#include "lock.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Ways to go wrong, and what prevents them:
 * - An interrupt runs in another thread while the lock is being granted. Whoever takes a waiter out of the queue
 *   (under locks->lock) is the one to answer it; the granting side then asks libfuse to forget the interrupt
 *   function, which waits for one that is running, and only then answers and frees the waiter.
 * - The interrupt comes before the waiter is queued. The function is set first, and notes the interrupt.
 * - Splitting a range needs memory after the lock was promised: pieces are allocated before anything changes. */

static bool overlap(const struct tfs_lock *a, const struct tfs_lock *b)
{
    return a->start <= b->end && b->start <= a->end;
}

static struct tfs_lock *find_conflict(struct tfs_locks *locks, const struct tfs_lock *want)
{
    for (struct tfs_lock *held = locks->held; held != NULL; held = held->next)
        if (held->kind == want->kind && held->owner != want->owner && overlap(held, want) &&
            (held->type == F_WRLCK || want->type == F_WRLCK))
            return held;
    return NULL;
}

static struct tfs_lock *copy(const struct tfs_lock *from)
{
    struct tfs_lock *to = malloc(sizeof *to);

    if (to != NULL)
        *to = *from;
    return to;
}

static void push(struct tfs_lock **list, struct tfs_lock *lock)
{
    lock->next = *list;
    *list = lock;
}

/* Makes the range the owner's, of the wanted type: what it held there before is cut away. */
static int apply(struct tfs_locks *locks, const struct tfs_lock *want)
{
    struct tfs_lock *own = want->type != F_UNLCK ? copy(want) : NULL;
    struct tfs_lock *spare = malloc(sizeof *spare); /* a hole in the middle makes one more piece, never two */

    if ((want->type != F_UNLCK && own == NULL) || spare == NULL) {
        free(own);
        free(spare);
        return -ENOMEM;
    }
    for (struct tfs_lock **at = &locks->held, *held; (held = *at) != NULL;) {
        if (held->kind != want->kind || held->owner != want->owner || !overlap(held, want)) {
            at = &held->next;
            continue;
        }
        bool before = held->start<want->start, after = held->end> want->end;
        if (before && after) {
            *spare = *held;
            spare->start = want->end + 1;
            held->end = want->start - 1;
            held->next = spare;
            at = &spare->next;
            spare = NULL;
        } else if (before || after) {
            if (before)
                held->end = want->start - 1;
            else
                held->start = want->end + 1;
            at = &held->next;
        } else {
            *at = held->next;
            free(held);
        }
    }
    if (own != NULL)
        push(&locks->held, own);
    free(spare);
    return 0;
}

/* Takes out of the queue who can have his lock now, onto `granted`. */
static void grant(struct tfs_locks *locks, struct tfs_lock **granted)
{
    struct tfs_lock **at = &locks->waiting, *waiter;

    while ((waiter = *at) != NULL) {
        if (find_conflict(locks, waiter) != NULL || apply(locks, waiter) != 0) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        waiter->queued = false;
        push(granted, waiter);
    }
    locks->waiting_end = at;
}

static void answer(struct tfs_lock *waiters, int error)
{
    while (waiters != NULL) {
        struct tfs_lock *waiter = waiters;

        waiters = waiter->next;
        fuse_req_interrupt_func(waiter->req, NULL, NULL);
        fuse_reply_err(waiter->req, error);
        free(waiter);
    }
}

static void interrupted(fuse_req_t req, void *data)
{
    struct tfs_lock *waiter = data;
    struct tfs_locks *locks = waiter->locks;

    pthread_mutex_lock(&locks->lock);
    waiter->interrupted = true;
    bool mine = waiter->queued;
    if (mine) {
        struct tfs_lock **at = &locks->waiting;
        while (*at != waiter)
            at = &(*at)->next;
        *at = waiter->next;
        if (locks->waiting_end == &waiter->next)
            locks->waiting_end = at;
    }
    pthread_mutex_unlock(&locks->lock);
    if (mine) {
        fuse_reply_err(req, EINTR);
        free(waiter);
    }
}

static void park(struct tfs_locks *locks, fuse_req_t req, const struct tfs_lock *want)
{
    struct tfs_lock *waiter = copy(want);
    int error = 0;

    if (waiter == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    waiter->req = req;
    waiter->locks = locks;
    fuse_req_interrupt_func(req, interrupted, waiter);

    pthread_mutex_lock(&locks->lock);
    bool wait = !waiter->interrupted && find_conflict(locks, want) != NULL;
    if (wait) {
        waiter->next = NULL;
        waiter->queued = true;
        *locks->waiting_end = waiter;
        locks->waiting_end = &waiter->next;
    } else {
        waiter->next = NULL;
        error = waiter->interrupted ? EINTR : -apply(locks, want);
    }
    pthread_mutex_unlock(&locks->lock);
    if (!wait)
        answer(waiter, error);
}

void tfs_locks_init(struct tfs_locks *locks)
{
    pthread_mutex_init(&locks->lock, NULL);
    locks->held = locks->waiting = NULL;
    locks->waiting_end = &locks->waiting;
}

void tfs_locks_release(struct tfs_locks *locks)
{
    pthread_mutex_lock(&locks->lock);
    struct tfs_lock *waiting = locks->waiting, *held = locks->held;
    for (struct tfs_lock *waiter = waiting; waiter != NULL; waiter = waiter->next)
        waiter->queued = false;
    locks->waiting = locks->held = NULL;
    locks->waiting_end = &locks->waiting;
    pthread_mutex_unlock(&locks->lock);

    answer(waiting, ENOLCK);
    while (held != NULL) {
        struct tfs_lock *next = held->next;
        free(held);
        held = next;
    }
    pthread_mutex_destroy(&locks->lock);
}

void tfs_locks_set(struct tfs_locks *locks, struct fuse_req *req, const struct tfs_lock *want, bool wait)
{
    struct tfs_lock *granted = NULL;
    int error;

    pthread_mutex_lock(&locks->lock);
    bool conflict = want->type != F_UNLCK && find_conflict(locks, want) != NULL;
    if (conflict && want->kind == TFS_FLOCK) {
        /* flock(2) gives up the lock it changes, also when it cannot have the new one. */
        struct tfs_lock unlock = *want;
        unlock.type = F_UNLCK;
        apply(locks, &unlock);
    }
    error = conflict ? EAGAIN : -apply(locks, want);
    grant(locks, &granted); /* an unlock, or a change from write to read, lets others in */
    pthread_mutex_unlock(&locks->lock);

    if (conflict && wait)
        park(locks, req, want);
    else
        fuse_reply_err(req, error);
    answer(granted, 0);
}

bool tfs_locks_test(struct tfs_locks *locks, const struct tfs_lock *want, struct tfs_lock *out)
{
    pthread_mutex_lock(&locks->lock);
    const struct tfs_lock *conflict = find_conflict(locks, want);
    if (conflict != NULL)
        *out = *conflict;
    pthread_mutex_unlock(&locks->lock);
    return conflict != NULL;
}

bool tfs_locks_any_range(struct tfs_locks *locks)
{
    bool any = false;

    pthread_mutex_lock(&locks->lock);
    for (const struct tfs_lock *held = locks->held; held != NULL && !any; held = held->next)
        any = held->kind == TFS_RANGE;
    pthread_mutex_unlock(&locks->lock);
    return any;
}

static void drop(struct tfs_locks *locks, bool (*which)(const struct tfs_lock *, uint64_t), uint64_t key)
{
    struct tfs_lock *granted = NULL;
    bool dropped = false;

    pthread_mutex_lock(&locks->lock);
    for (struct tfs_lock **at = &locks->held, *held; (held = *at) != NULL;) {
        if (!which(held, key)) {
            at = &held->next;
            continue;
        }
        *at = held->next;
        free(held);
        dropped = true;
    }
    if (dropped)
        grant(locks, &granted);
    pthread_mutex_unlock(&locks->lock);
    answer(granted, 0);
}

static bool range_of_owner(const struct tfs_lock *lock, uint64_t owner)
{
    return lock->kind == TFS_RANGE && lock->owner == owner;
}

static bool of_handle(const struct tfs_lock *lock, uint64_t handle)
{
    return lock->handle == handle;
}

void tfs_locks_drop_owner(struct tfs_locks *locks, uint64_t owner)
{
    drop(locks, range_of_owner, owner);
}

void tfs_locks_drop_handle(struct tfs_locks *locks, uint64_t handle)
{
    drop(locks, of_handle, handle);
}

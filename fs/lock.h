/* Advisory locks of one file: flock(2) and fcntl(2) ranges, two kinds that do not see each other. The daemon serves
 * them, because a partition has several kernel inodes (generations, doors) and one lock space.
 *
 * Who cannot have a lock now and wants to wait is parked: the request is kept and answered by whoever frees the
 * range, by FUSE_INTERRUPT (EINTR), or at shutdown (ENOLCK). Waiters are served in the order they came. Deadlocks
 * are not looked for. Any thread. */
#ifndef TFS_LOCK_H
#define TFS_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tfs_lock;
struct fuse_req;

struct tfs_locks {
    pthread_mutex_t lock;
    struct tfs_lock *held;
    struct tfs_lock *waiting, **waiting_end;
};

enum tfs_lock_kind { TFS_FLOCK, TFS_RANGE };

struct tfs_lock {
    enum tfs_lock_kind kind;
    short type;          /* F_RDLCK, F_WRLCK, F_UNLCK */
    uint64_t start, end; /* inclusive */
    uint64_t owner;      /* the kernel's name for whom: a process or an open file description */
    uint64_t handle;     /* the open file that it was taken through; its release drops it */
    pid_t pid;
    /* of waiters */
    struct tfs_locks *locks;
    struct fuse_req *req;
    bool interrupted, queued;
    struct tfs_lock *next;
};

void tfs_locks_init(struct tfs_locks *locks);
/* Answers who still waits. */
void tfs_locks_release(struct tfs_locks *locks);

/* Takes, changes or (F_UNLCK) frees `want` and answers the request, now or, with `wait`, when it can be had. Errors
 * given to the caller: EAGAIN, EINTR, ENOMEM, ENOLCK. */
void tfs_locks_set(struct tfs_locks *locks, struct fuse_req *req, const struct tfs_lock *want, bool wait);
/* Finds a lock that stands in the way of `want`: true, and `out` is a copy. */
bool tfs_locks_test(struct tfs_locks *locks, const struct tfs_lock *want, struct tfs_lock *out);
/* Whether anybody holds a range. */
bool tfs_locks_any_range(struct tfs_locks *locks);
/* Frees all ranges of an owner (a process closed the file), */
void tfs_locks_drop_owner(struct tfs_locks *locks, uint64_t owner);
/* all locks taken through an open file (its last close). */
void tfs_locks_drop_handle(struct tfs_locks *locks, uint64_t handle);

#endif

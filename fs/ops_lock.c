/* flock(2) and fcntl(2) locks: between FUSE's words and lock.h's. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "handle.h"
#include "lock.h"
#include "ops.h"

static struct tfs_locks *locks_of(const struct fuse_file_info *fi)
{
    return tfs_node_locks(tfs_handle_of(fi->fh)->node);
}

static struct tfs_lock range(const struct fuse_file_info *fi, const struct flock *lock)
{
    return (struct tfs_lock){
        .kind = TFS_RANGE,
        .type = lock->l_type,
        .start = (uint64_t)lock->l_start,
        .end = lock->l_len == 0 ? INT64_MAX : (uint64_t)(lock->l_start + lock->l_len - 1),
        .owner = fi->lock_owner,
        .handle = fi->fh,
        .pid = lock->l_pid,
    };
}

void tfs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    struct tfs_lock want = range(fi, lock), found;

    (void)ino;
    if (!tfs_locks_test(locks_of(fi), &want, &found)) {
        lock->l_type = F_UNLCK;
    } else {
        lock->l_type = found.type;
        lock->l_whence = SEEK_SET;
        lock->l_start = (off_t)found.start;
        lock->l_len = found.end == INT64_MAX ? 0 : (off_t)(found.end - found.start + 1);
        lock->l_pid = found.pid;
    }
    fuse_reply_lock(req, lock);
}

void tfs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int wait)
{
    struct tfs_lock want = range(fi, lock);

    (void)ino;
    tfs_locks_set(locks_of(fi), req, &want, wait != 0);
}

void tfs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
    struct tfs_lock want = {
        .kind = TFS_FLOCK,
        .type = operation & LOCK_EX   ? F_WRLCK
                : operation & LOCK_SH ? F_RDLCK
                                      : F_UNLCK,
        .end = INT64_MAX,
        .owner = fi->lock_owner,
        .handle = fi->fh,
    };

    (void)ino;
    tfs_locks_set(locks_of(fi), req, &want, (operation & LOCK_NB) == 0);
}

#include "ops.h"

#include <string.h>

/* What the kernel offers and what we want of it, with the reason where it is not plain. */
static void op_init(void *userdata, struct fuse_conn_info *connection)
{
    (void)userdata;
    const unsigned wanted = FUSE_CAP_ATOMIC_O_TRUNC /* O_TRUNC arrives in OPEN, where it is allowed */
                            | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_PARALLEL_DIROPS |
                            FUSE_CAP_IOCTL_DIR | FUSE_CAP_ASYNC_READ;
    const unsigned unwanted = FUSE_CAP_ASYNC_DIO /* pieces of one write would arrive in any order */
                              | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                              FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO;

    connection->want |= wanted & connection->capable;
    connection->want &= ~unwanted;
    connection->max_write = TFS_MAX_REQUEST_BYTES;
    /* RELEASE is a background request: it must not queue up behind a limit (release.h). */
    connection->max_background = 4096;
    connection->congestion_threshold = 4096;
}

const struct fuse_lowlevel_ops tfs_operations = {
    .init = op_init,
    .lookup = tfs_op_lookup,
    .forget = tfs_op_forget,
    .forget_multi = tfs_op_forget_multi,
    .getattr = tfs_op_getattr,
    .setattr = tfs_op_setattr,
    .statfs = tfs_op_statfs,
    .mkdir = tfs_op_mkdir,
    .create = tfs_op_create,
    .unlink = tfs_op_unlink,
    .rmdir = tfs_op_rmdir,
    .rename = tfs_op_rename,
    .link = tfs_op_link,
    .symlink = tfs_op_symlink,
    .mknod = tfs_op_mknod,
    .opendir = tfs_op_opendir,
    .readdir = tfs_op_readdir,
    .releasedir = tfs_op_releasedir,
    .fsyncdir = tfs_op_fsyncdir,
    .open = tfs_op_open,
    .read = tfs_op_read,
    .write = tfs_op_write,
    .flush = tfs_op_flush,
    .release = tfs_op_release,
    .fsync = tfs_op_fsync,
    .fallocate = tfs_op_fallocate,
    .poll = tfs_op_poll,
    .getlk = tfs_op_getlk,
    .setlk = tfs_op_setlk,
    .flock = tfs_op_flock,
    .getxattr = tfs_op_getxattr,
    .listxattr = tfs_op_listxattr,
    .setxattr = tfs_op_setxattr,
    .removexattr = tfs_op_removexattr,
    .ioctl = tfs_op_ioctl,
};

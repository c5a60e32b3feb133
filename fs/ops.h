/* The FUSE operations, by the file that holds them. Each fetches its node, calls the log library, and answers its
 * request exactly once on every path. What each call does to people, with its errors, stands in topicfs(1). */
#ifndef TFS_OPS_H
#define TFS_OPS_H

#include "daemon.h"

extern const struct fuse_lowlevel_ops tfs_operations; /* ops.c */

/* ops_attr.c */
void tfs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tfs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void tfs_op_statfs(fuse_req_t req, fuse_ino_t ino);
/* What stat(2) tells of a node; 0, or -ESTALE, -ENOMEM, -EIO. */
int tfs_node_stat(struct tfs *fs, struct tfs_node *node, struct stat *out);
void tfs_stat_owner(struct stat *out, mode_t type, const struct tlog_attr *attr);
void tfs_stat_times(struct stat *out, int64_t mtime_ns, int64_t ctime_ns);
/* How long the kernel may believe that. */
double tfs_node_attr_seconds(const struct tfs_node *node);
/* A request that has no open file: whether it came by a name that leads elsewhere by now (generation.h). Then it has
 * been answered. */
bool tfs_answered_stale(fuse_req_t req, struct tfs_node *node, const struct fuse_file_info *fi);

/* ops_name.c */
void tfs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void tfs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups);
void tfs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void tfs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void tfs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void tfs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void tfs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void tfs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                   unsigned flags);
void tfs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void tfs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void tfs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);

/* ops_dir.c */
void tfs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tfs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset, struct fuse_file_info *fi);
void tfs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tfs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* ops_file.c */
void tfs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tfs_op_read(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset, struct fuse_file_info *fi);
void tfs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tfs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void tfs_op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *handle);
/* Opens a node with fi->flags and fills fi; 0 or -errno. */
int tfs_file_open(struct tfs *fs, struct tfs_node *node, struct fuse_file_info *fi);

/* ops_write.c */
void tfs_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t bytes, off_t offset,
                  struct fuse_file_info *fi);
/* The same without looking at quota.bytes.per.second. */
void tfs_write(fuse_req_t req, const char *data, size_t bytes, off_t offset, struct fuse_file_info *fi);
void tfs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void tfs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t bytes, struct fuse_file_info *fi);

/* ops_lock.c */
void tfs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void tfs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int wait);
void tfs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation);

/* xattr.c */
void tfs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t bytes);
void tfs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t bytes);
void tfs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t bytes, int flags);
void tfs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* ops_ioctl.c */
void tfs_op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg, struct fuse_file_info *fi,
                  unsigned flags, const void *in, size_t in_bytes, size_t out_bytes);

#endif

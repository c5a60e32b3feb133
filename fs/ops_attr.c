/* stat(2), chmod(2), chown(2), utimensat(2), truncate(2), statvfs(3). */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "generation.h"
#include "handle.h"
#include "ops.h"
#include "release.h"
#include "tree.h"
#include "virtual.h"
#include "workers.h"

static struct timespec timespec_of(int64_t ns)
{
    struct timespec time = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    if (time.tv_nsec < 0) {
        time.tv_nsec += 1000000000;
        time.tv_sec--;
    }
    return time;
}

void tfs_stat_times(struct stat *out, int64_t mtime_ns, int64_t ctime_ns)
{
    out->st_mtim = out->st_atim = timespec_of(mtime_ns);
    out->st_ctim = timespec_of(ctime_ns);
}

void tfs_stat_owner(struct stat *out, mode_t type, const struct tlog_attr *attr)
{
    out->st_mode = type | (attr->mode & 0777);
    out->st_uid = attr->uid;
    out->st_gid = attr->gid;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

static void directory_attr(struct tfs *fs, const struct tfs_node *node, struct tlog_attr *out)
{
    if (node->topic != NULL)
        tlog_topic_attr(node->topic, out);
    else
        tlog_store_attr(fs->store, out);
}

static void stat_partition(struct tfs_node *node, struct stat *out)
{
    struct tlog_bounds bounds;
    struct tlog_attr attr;

    tfs_release_await(node->part);
    tlog_partition_attr(node->part->partition, &attr);
    tlog_partition_bounds(node->part->partition, &bounds);
    tfs_stat_owner(out, S_IFREG, &attr);
    out->st_nlink = bounds.deleted ? 0 : 1;
    tfs_stat_times(out, bounds.mtime_ns, bounds.ctime_ns);
    if (node->kind == TFS_DOOR) {
        out->st_mode = S_IFREG | (attr.mode & 0222);
        return;
    }
    out->st_size = (off_t)(bounds.committed > node->base ? bounds.committed - node->base : 0);
    out->st_blocks = (blkcnt_t)((bounds.disk_bytes + 511) / 512);
    tfs_node_tell_size(node, (uint64_t)out->st_size);
}

static int stat_virtual(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    struct tlog_attr attr;
    char *text;
    size_t bytes;
    int result = tfs_virtual_make(fs, node, &text, &bytes);

    if (result != 0)
        return result;
    free(text);
    directory_attr(fs, node, &attr);
    attr.mode = tfs_virtual_mode(node->virtual, attr.mode);
    tfs_stat_owner(out, S_IFREG, &attr);
    out->st_nlink = 1;
    out->st_size = (off_t)bytes;
    int64_t now = now_ns();
    tfs_stat_times(out, now, now);
    return 0;
}

static void stat_directory(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    struct tlog_attr attr;
    int64_t mtime_ns = 0;

    directory_attr(fs, node, &attr);
    if (node->topic != NULL)
        mtime_ns = tlog_topic_mtime_ns(node->topic);
    else
        mtime_ns = tlog_store_mtime_ns(fs->store);
    tfs_stat_owner(out, S_IFDIR, &attr);
    out->st_nlink = 1; /* "not counted", as on btrfs: find(1) must not conclude that there are no subdirectories */
    tfs_stat_times(out, mtime_ns, mtime_ns);
}

int tfs_node_stat(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    *out = (struct stat){.st_ino = node->ino, .st_blksize = TFS_MAX_REQUEST_BYTES};
    switch (node->kind) {
    case TFS_PARTITION:
    case TFS_DOOR:
        stat_partition(node, out);
        return 0;
    case TFS_VIRTUAL:
        return stat_virtual(fs, node, out);
    case TFS_TREE:
        out->st_nlink = 1;
        return node->tree->stat(fs, node, out);
    case TFS_ROOT:
    case TFS_TOPIC:
        break;
    }
    out->st_blksize = 4096;
    stat_directory(fs, node, out);
    return 0;
}

double tfs_node_attr_seconds(const struct tfs_node *node)
{
    if (node->kind == TFS_TREE)
        return node->tree->attr_seconds;
    return node->kind == TFS_TOPIC || node->kind == TFS_ROOT ? TFS_DIR_ATTR_SECONDS : TFS_FILE_ATTR_SECONDS;
}

bool tfs_answered_stale(fuse_req_t req, struct tfs_node *node, const struct fuse_file_info *fi)
{
    if (fi != NULL || node->kind != TFS_PARTITION || !tfs_generation_left(node))
        return false;
    fuse_reply_err(req, ESTALE);
    return true;
}

static void reply_attr(fuse_req_t req, struct tfs *fs, struct tfs_node *node)
{
    struct stat attr;
    int result = tfs_node_stat(fs, node, &attr);

    if (result != 0)
        fuse_reply_err(req, -result);
    else
        fuse_reply_attr(req, &attr, tfs_node_attr_seconds(node));
}

void tfs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_node *node = tfs_node_get(fs, ino);

    if (!tfs_answered_stale(req, node, fi))
        reply_attr(req, fs, node);
}

/* A truncation to the size that the caller sees changes nothing and is how rsync ends; any other is refused. A writer
 * sees what it has written, unfinished line and all. */
static int check_size(struct tfs_node *node, struct tfs_handle *handle, off_t size)
{
    if (node->kind == TFS_VIRTUAL)
        return node->virtual == TFS_CONFIG ? 0 : -EPERM;
    if (node->kind == TFS_DOOR)
        return size == 0 ? 0 : -EPERM;
    if (node->kind == TFS_TREE)
        return -node->tree->refusal;
    if (node->kind != TFS_PARTITION)
        return -EISDIR;
    tfs_release_await(node->part);
    uint64_t committed = tlog_partition_committed(node->part->partition);
    if ((uint64_t)size + node->base == committed)
        return 0;
    uint64_t first = handle != NULL ? handle->told_first : tfs_node_told_last(node);
    if (tfs_node_told_since(node, first, (uint64_t)size))
        return 0;
    if (handle == NULL)
        return -EPERM;
    pthread_mutex_lock(&handle->lock);
    bool written = handle->wrote && handle->next_offset == (uint64_t)size;
    pthread_mutex_unlock(&handle->lock);
    return written ? 0 : -EPERM;
}

static int change_attr(struct tfs *fs, struct tfs_node *node, const struct stat *wanted, int to_set)
{
    struct tlog_attr attr;

    /* A door's mode is the partition's, less what makes no sense there: to be changed at the partition. */
    if (node->kind == TFS_VIRTUAL || node->kind == TFS_DOOR)
        return -EPERM;
    if (node->kind == TFS_TREE)
        return -node->tree->refusal;
    tfs_worker_may_block();
    if (node->part != NULL)
        tlog_partition_attr(node->part->partition, &attr);
    else
        directory_attr(fs, node, &attr);
    if (to_set & FUSE_SET_ATTR_MODE)
        attr.mode = wanted->st_mode & 0777;
    if (to_set & FUSE_SET_ATTR_UID)
        attr.uid = wanted->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        attr.gid = wanted->st_gid;
    if (node->part != NULL)
        return tlog_partition_set_attr(node->part->partition, &attr);
    return node->topic != NULL ? tlog_topic_set_attr(node->topic, &attr) : tlog_store_set_attr(fs->store, &attr);
}

/* Directories' and virtual files' times are what they are: accepted, so that `cp -a` and rsync go on. */
static int change_mtime(struct tfs_node *node, const struct stat *wanted, int to_set)
{
    if (node->kind == TFS_TREE)
        return -node->tree->refusal;
    if (node->kind != TFS_PARTITION)
        return 0;
    int64_t mtime_ns =
        to_set & FUSE_SET_ATTR_MTIME_NOW ? now_ns() : wanted->st_mtim.tv_sec * 1000000000 + wanted->st_mtim.tv_nsec;
    return tlog_partition_set_mtime(node->part->partition, mtime_ns);
}

void tfs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_node *node = tfs_node_get(fs, ino);
    int result = 0;

    if (tfs_answered_stale(req, node, fi))
        return;
    if (to_set & FUSE_SET_ATTR_SIZE)
        result = check_size(node, fi != NULL ? tfs_handle_of(fi->fh) : NULL, attr->st_size);
    if (result == 0 && (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
        result = change_attr(fs, node, attr, to_set);
    /* With a truncation the kernel sends times of its own making. */
    if (result == 0 && !(to_set & FUSE_SET_ATTR_SIZE) && (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)))
        result = change_mtime(node, attr, to_set);
    if (result != 0)
        fuse_reply_err(req, -result);
    else
        reply_attr(req, fs, node);
}

void tfs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs out;
    int result = tlog_store_statfs(tfs_of(req)->store, &out);

    (void)ino;
    out.f_namemax = 249;
    if (result != 0)
        fuse_reply_err(req, -result);
    else
        fuse_reply_statfs(req, &out);
}

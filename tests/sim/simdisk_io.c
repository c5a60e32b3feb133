/* The io table of a simulated disk: descriptors, faults, and each call. */
#include "simdisk_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The disk behind an io: the io is its first member, and was made writable by simdisk_new. */
static struct simdisk *disk_of(const struct tlog_io *io)
{
    union {
        const struct tlog_io *io;
        struct simdisk *disk;
    } both = {.io = io};
    return both.disk;
}

static struct sim_inode *file_of(const struct simdisk *disk, int fd)
{
    if (fd < 0 || (unsigned)fd >= disk->file_count || !disk->files[fd].inode)
        return NULL;
    return sim_inode_get(disk, disk->files[fd].inode);
}

/* Begins an operation: takes the lock, counts, calls the hook, and returns 0 or the error it is to fail with.
 * A fault is told by *fault, as some operations do half of their work all the same. */
static int begin(struct simdisk *disk, enum sim_kind kind, const char *path, bool *fault)
{
    unsigned bit = 1U << kind;
    *fault = false;
    pthread_mutex_lock(&disk->lock);
    disk->realtime_ns += 1000;
    disk->boottime_ns += 1000;
    if (!disk->stopped && disk->stop_armed && (bit & SIM_MUTATING) && disk->stop_skip-- == 0)
        disk->stopped = true;
    if (disk->stopped)
        return -EIO;
    disk->counts[kind]++;
    if (disk->hook && (bit & SIM_MUTATING))
        disk->hook(disk->hook_arg, kind, path);
    if (!disk->fault_error || !(bit & disk->fault_kinds))
        return 0;
    if (disk->fault_skip) {
        disk->fault_skip--;
        return 0;
    }
    int error = disk->fault_error;
    if (!disk->fault_forever)
        disk->fault_error = 0;
    disk->fault_struck = true;
    *fault = true;
    return -error;
}

static int end(struct simdisk *disk, int result)
{
    pthread_mutex_unlock(&disk->lock);
    return result;
}

static int file_new(struct simdisk *disk, struct sim_inode *inode, const char *path, bool writable)
{
    unsigned fd = 0;
    while (fd < disk->file_count && disk->files[fd].inode)
        fd++;
    if (fd == disk->max_files)
        return -EMFILE;
    if (fd == disk->file_count) {
        size_t capacity = disk->file_count;
        disk->files = sim_grow(disk->files, &capacity, disk->file_count + 1U, sizeof *disk->files);
        disk->file_count = (unsigned)capacity;
    }
    disk->files[fd] = (struct sim_open_file){.inode = inode->number, .writable = writable};
    size_t length = strlen(path),
           skip = length < sizeof disk->files[fd].path ? 0 : length + 1 - sizeof disk->files[fd].path;
    snprintf(disk->files[fd].path, sizeof disk->files[fd].path, "%s", path + skip);
    inode->open++;
    return (int)fd;
}

/* Makes an inode with a name. */
static int make(struct simdisk *disk, const char *path, bool directory, struct sim_inode **out)
{
    char name[256];
    int error;
    struct sim_inode *parent = sim_path_parent(disk, path, name, &error);
    if (!parent)
        return error;
    if (sim_names_find(&parent->names, name))
        return -EEXIST;
    if (disk->inodes_used >= disk->inodes_max || (directory && disk->blocks_used >= disk->blocks))
        return -ENOSPC;
    struct sim_inode *inode = sim_inode_new(disk, directory);
    struct sim_name_op op = {.inode = inode->number,
                             .count = 1,
                             .set = {{.directory = parent->number, .inode = inode->number, .name = name}}};
    sim_names_change(disk, &op);
    *out = inode;
    return 0;
}

static int sim_open(const struct tlog_io *io, const char *path, int flags)
{
    struct simdisk *disk = disk_of(io);
    int error;
    bool fault;
    pthread_mutex_lock(&disk->lock);
    struct sim_inode *inode = sim_path_find(disk, path, &error);
    bool changes = (!inode && flags & TLOG_IO_CREATE) || (inode && flags & TLOG_IO_TRUNCATE && inode->size);
    pthread_mutex_unlock(&disk->lock);
    int refused = begin(disk, changes ? SIM_CREATE : SIM_OPEN, path, &fault);
    if (refused)
        return end(disk, refused);
    inode = sim_path_find(disk, path, &error);
    if (inode && flags & TLOG_IO_CREATE && flags & TLOG_IO_EXCL)
        return end(disk, -EEXIST);
    if (inode && inode->directory)
        return end(disk, -EISDIR);
    if (!inode && !(flags & TLOG_IO_CREATE && error == -ENOENT))
        return end(disk, error);
    error = 0;
    if (!inode && disk->max_files <= simdisk_open_files(disk))
        error = -EMFILE;
    if (!inode && !error)
        error = make(disk, path, false, &inode);
    if (error)
        return end(disk, error);
    int fd = file_new(disk, inode, path, flags & TLOG_IO_WRITE);
    if (fd >= 0 && flags & TLOG_IO_TRUNCATE)
        sim_data_truncate(disk, inode, 0);
    return end(disk, fd);
}

/* Works in a stopped world too: the code under test gives back what it holds. */
static int sim_close(const struct tlog_io *io, int fd)
{
    struct simdisk *disk = disk_of(io);
    pthread_mutex_lock(&disk->lock);
    struct sim_inode *inode = file_of(disk, fd);
    if (!inode)
        return end(disk, -EBADF);
    if (disk->files[fd].locks)
        inode->locked = false;
    disk->files[fd].inode = 0;
    inode->open--;
    sim_data_drop(disk, inode);
    return end(disk, 0);
}

static ssize_t sim_pread(const struct tlog_io *io, int fd, void *to, size_t bytes, uint64_t foff)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_READ, NULL, &fault);
    const struct sim_inode *inode = file_of(disk, fd);
    if (!error && !inode)
        error = -EBADF;
    if (error)
        return end(disk, error);
    size_t length = foff < inode->size ? inode->size - foff : 0;
    length = length < bytes ? length : bytes;
    if (inode->bad_from < foff + length && foff < inode->bad_to)
        return end(disk, -EIO);
    if (length)
        memcpy(to, inode->data + foff, length);
    end(disk, 0);
    return (ssize_t)length;
}

/* One buffer of the vector. */
static unsigned char *gather(const struct iovec *from, int count, size_t *length)
{
    *length = 0;
    for (int i = 0; i < count; i++)
        *length += from[i].iov_len;
    unsigned char *data = malloc(*length ? *length : 1);
    if (!data)
        abort();
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        if (from[i].iov_len)
            memcpy(data + at, from[i].iov_base, from[i].iov_len);
        at += from[i].iov_len;
    }
    return data;
}

static int sim_pwritev(const struct tlog_io *io, int fd, const struct iovec *from, int count, uint64_t foff)
{
    struct simdisk *disk = disk_of(io);
    size_t length;
    unsigned char *data = gather(from, count, &length);
    bool fault;
    pthread_mutex_lock(&disk->lock);
    struct sim_inode *inode = file_of(disk, fd);
    if (!inode || !disk->files[fd].writable) {
        free(data);
        return end(disk, -EBADF);
    }
    disk->torn_inode = inode->number;
    disk->torn_foff = foff;
    disk->torn_length = length;
    disk->torn_data = data;
    int error = begin(disk, SIM_WRITE, NULL, &fault);
    disk->torn_inode = 0;
    disk->torn_data = NULL;
    if (!error)
        error = sim_data_write(disk, inode, data, length, foff);
    /* refused by a fault or for want of space: a part may be there all the same */
    if (error && (fault || error == -ENOSPC) && sim_random_chance(&disk->random, 50))
        (void)sim_data_write(disk, inode, data, (size_t)sim_random_below(&disk->random, length + 1), foff);
    pthread_mutex_unlock(&disk->lock);
    free(data);
    return end(disk, error);
}

static int sim_truncate(const struct tlog_io *io, int fd, uint64_t size_bytes)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_TRUNCATE, NULL, &fault);
    struct sim_inode *inode = file_of(disk, fd);
    if (!error && (!inode || !disk->files[fd].writable))
        error = -EBADF;
    if (!error)
        sim_data_truncate(disk, inode, size_bytes);
    return end(disk, error);
}

static int sim_reserve(const struct tlog_io *io, int fd, uint64_t foff, uint64_t bytes)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_RESERVE, NULL, &fault);
    struct sim_inode *inode = file_of(disk, fd);
    if (!error && (!inode || !disk->files[fd].writable))
        error = -EBADF;
    if (!error)
        error = sim_data_reserve(disk, inode, foff, bytes);
    return end(disk, error);
}

static int sim_sync(const struct tlog_io *io, int fd)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_SYNC, NULL, &fault);
    struct sim_inode *inode = file_of(disk, fd);
    if (!inode)
        return end(disk, -EBADF);
    if (fault)
        sim_data_sync_failed(inode, &disk->random);
    else if (!error && !(disk->lie_sync && strstr(disk->files[fd].path, disk->lie_sync)))
        sim_data_sync(inode);
    return end(disk, error);
}

static void stat_fill(const struct sim_inode *inode, struct tlog_io_stat *out)
{
    *out = (struct tlog_io_stat){
        .size_bytes = inode->size, .inode = inode->number, .mtime_ns = inode->mtime_ns, .directory = inode->directory};
    for (size_t i = 0; i < inode->block_count; i++)
        out->disk_bytes += inode->blocks[i] ? SIM_BLOCK : 0;
}

static int sim_stat(const struct tlog_io *io, int fd, struct tlog_io_stat *out)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_STAT, NULL, &fault);
    const struct sim_inode *inode = file_of(disk, fd);
    if (!error && !inode)
        error = -EBADF;
    if (!error)
        stat_fill(inode, out);
    return end(disk, error);
}

static int sim_map(const struct tlog_io *io, int fd, size_t bytes, const void **out)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_MAP, NULL, &fault);
    struct sim_inode *inode = file_of(disk, fd);
    if (!error && !inode)
        error = -EBADF;
    if (error)
        return end(disk, error);
    if (inode->mirror < 0) {
        inode->mirror = memfd_create("simdisk", MFD_CLOEXEC);
        if (inode->mirror < 0 || ftruncate(inode->mirror, (off_t)inode->size) ||
            pwrite(inode->mirror, inode->data, inode->size, 0) != (ssize_t)inode->size)
            abort();
    }
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, inode->mirror, 0);
    if (map == MAP_FAILED)
        return end(disk, -ENOMEM);
    *out = map;
    return end(disk, 0);
}

static void sim_unmap(const struct tlog_io *io, const void *map, size_t bytes)
{
    (void)io;
    union {
        const void *in;
        void *out;
    } both = {.in = map};
    if (map && munmap(both.out, bytes))
        abort();
}

static void sim_readahead(const struct tlog_io *io, int fd, uint64_t foff, uint64_t bytes)
{
    (void)io;
    (void)fd;
    (void)foff;
    (void)bytes;
}

static int sim_lock(const struct tlog_io *io, int fd)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_OPEN, NULL, &fault);
    struct sim_inode *inode = file_of(disk, fd);
    if (!error && !inode)
        error = -EBADF;
    if (!error && inode->locked && !disk->files[fd].locks)
        error = -EWOULDBLOCK;
    if (!error)
        inode->locked = disk->files[fd].locks = true;
    return end(disk, error);
}

static int sim_stat_path(const struct tlog_io *io, const char *path, struct tlog_io_stat *out)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_STAT, path, &fault), missing = 0;
    const struct sim_inode *inode = sim_path_find(disk, path, &missing);
    if (!error && !inode)
        error = missing;
    if (!error)
        stat_fill(inode, out);
    return end(disk, error);
}

static int rename_locked(struct simdisk *disk, const char *from, const char *to)
{
    char from_name[256], to_name[256];
    int error;
    struct sim_inode *from_parent = sim_path_parent(disk, from, from_name, &error);
    struct sim_inode *to_parent = from_parent ? sim_path_parent(disk, to, to_name, &error) : NULL;
    if (!to_parent)
        return error;
    struct sim_inode *moved = sim_inode_get(disk, sim_names_find(&from_parent->names, from_name));
    struct sim_inode *replaced = sim_inode_get(disk, sim_names_find(&to_parent->names, to_name));
    if (!moved)
        return -ENOENT;
    if (moved == replaced)
        return 0;
    if (replaced && replaced->directory != moved->directory)
        return replaced->directory ? -EISDIR : -ENOTDIR;
    if (replaced && replaced->directory && replaced->names.count)
        return -ENOTEMPTY;
    struct sim_name_op op = {.inode = moved->number,
                             .count = 2,
                             .set = {{.directory = from_parent->number, .name = from_name},
                                     {.directory = to_parent->number, .inode = moved->number, .name = to_name}}};
    sim_names_change(disk, &op);
    if (replaced) {
        replaced->linked = false;
        sim_data_drop(disk, replaced);
    }
    return 0;
}

static int sim_rename(const struct tlog_io *io, const char *from, const char *to)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_RENAME, to, &fault);
    return end(disk, error ? error : rename_locked(disk, from, to));
}

static int remove_locked(struct simdisk *disk, const char *path, bool directory)
{
    char name[256];
    int error;
    struct sim_inode *parent = sim_path_parent(disk, path, name, &error);
    if (!parent)
        return error;
    struct sim_inode *inode = sim_inode_get(disk, sim_names_find(&parent->names, name));
    if (!inode)
        return -ENOENT;
    if (inode->directory != directory)
        return directory ? -ENOTDIR : -EISDIR;
    if (directory && inode->names.count)
        return -ENOTEMPTY;
    struct sim_name_op op = {.inode = inode->number, .count = 1, .set = {{.directory = parent->number, .name = name}}};
    sim_names_change(disk, &op);
    inode->linked = false;
    sim_data_drop(disk, inode);
    return 0;
}

static int sim_unlink(const struct tlog_io *io, const char *path)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_UNLINK, path, &fault);
    return end(disk, error ? error : remove_locked(disk, path, false));
}

static int sim_rmdir(const struct tlog_io *io, const char *path)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_RMDIR, path, &fault);
    return end(disk, error ? error : remove_locked(disk, path, true));
}

static int sim_mkdir(const struct tlog_io *io, const char *path)
{
    struct simdisk *disk = disk_of(io);
    struct sim_inode *made;
    bool fault;
    int error = begin(disk, SIM_MKDIR, path, &fault);
    return end(disk, error ? error : make(disk, path, true, &made));
}

static int sim_sync_dir(const struct tlog_io *io, const char *path)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_SYNC_DIR, path, &fault), missing = 0;
    const struct sim_inode *inode = sim_path_find(disk, path, &missing);
    if (!error && !inode)
        error = missing;
    if (!error && !inode->directory)
        error = -ENOTDIR;
    if (!error && !(disk->lie_sync_dir && strstr(path, disk->lie_sync_dir)))
        sim_names_sync(disk, inode->number);
    return end(disk, error);
}

static int sim_list(const struct tlog_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_LIST, path, &fault), missing = 0;
    const struct sim_inode *inode = sim_path_find(disk, path, &missing);
    if (!error && !inode)
        error = missing;
    if (!error && !inode->directory)
        error = -ENOTDIR;
    if (error)
        return end(disk, error);
    struct sim_names names;
    sim_names_copy(&names, &inode->names);
    end(disk, 0);
    int result = 0;
    for (size_t i = 0; !result && i < names.count; i++)
        result = each(arg, names.at[i].name);
    sim_names_release(&names);
    return result;
}

static int sim_statfs(const struct tlog_io *io, const char *path, struct tlog_io_statfs *out)
{
    struct simdisk *disk = disk_of(io);
    bool fault;
    int error = begin(disk, SIM_STAT, path, &fault), missing = 0;
    if (!error && !sim_path_find(disk, path, &missing))
        error = missing;
    uint64_t room = disk->blocks > disk->blocks_used ? disk->blocks - disk->blocks_used : 0;
    uint64_t files = disk->inodes_max > disk->inodes_used ? disk->inodes_max - disk->inodes_used : 0;
    if (!error)
        *out = (struct tlog_io_statfs){.block_bytes = SIM_BLOCK,
                                       .blocks = disk->blocks,
                                       .blocks_free = room,
                                       .blocks_available = room,
                                       .files = disk->inodes_max,
                                       .files_free = files,
                                       .filesystem_id = 0x51d15c};
    return end(disk, error);
}

/* Clocks move when they are looked at, so that nothing waits for ever for them. */
static int64_t sim_realtime_ns(const struct tlog_io *io)
{
    struct simdisk *disk = disk_of(io);
    pthread_mutex_lock(&disk->lock);
    int64_t now = disk->realtime_ns += 1000;
    disk->boottime_ns += 1000;
    pthread_mutex_unlock(&disk->lock);
    return now;
}

static int64_t sim_boottime_ns(const struct tlog_io *io)
{
    struct simdisk *disk = disk_of(io);
    pthread_mutex_lock(&disk->lock);
    disk->realtime_ns += 1000;
    int64_t now = disk->boottime_ns += 1000;
    pthread_mutex_unlock(&disk->lock);
    return now;
}

static void sim_random_bytes(const struct tlog_io *io, void *to, size_t bytes)
{
    struct simdisk *disk = disk_of(io);
    unsigned char *at = to;
    pthread_mutex_lock(&disk->lock);
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(sim_random_next(&disk->random) >> 56);
    pthread_mutex_unlock(&disk->lock);
}

static int sim_boot_id(const struct tlog_io *io, char to[64])
{
    struct simdisk *disk = disk_of(io);
    pthread_mutex_lock(&disk->lock);
    snprintf(to, 64, "00000000-0000-4000-8000-%012llx", (unsigned long long)disk->boot);
    pthread_mutex_unlock(&disk->lock);
    return 0;
}

static int sim_machine_id(const struct tlog_io *io, char to[64])
{
    (void)io;
    snprintf(to, 64, "5176d15c5176d15c5176d15c5176d15c");
    return 0;
}

const struct tlog_io sim_io = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwritev = sim_pwritev,
    .truncate = sim_truncate,
    .reserve = sim_reserve,
    .sync = sim_sync,
    .stat = sim_stat,
    .map = sim_map,
    .unmap = sim_unmap,
    .readahead = sim_readahead,
    .lock = sim_lock,
    .stat_path = sim_stat_path,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .sync_dir = sim_sync_dir,
    .list = sim_list,
    .statfs = sim_statfs,
    .realtime_ns = sim_realtime_ns,
    .boottime_ns = sim_boottime_ns,
    .random = sim_random_bytes,
    .boot_id = sim_boot_id,
    .machine_id = sim_machine_id,
};

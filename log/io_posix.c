#include "log/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static int result(int r)
{
    return r < 0 ? -errno : r;
}

static int posix_open(const struct tlog_io *io, const char *path, int flags)
{
    (void)io;
    int how = O_CLOEXEC | ((flags & TLOG_IO_WRITE) ? O_RDWR : O_RDONLY);
    if (flags & TLOG_IO_CREATE)
        how |= O_CREAT;
    if (flags & TLOG_IO_EXCL)
        how |= O_EXCL;
    if (flags & TLOG_IO_TRUNCATE)
        how |= O_TRUNC;
    int fd;
    do
        fd = open(path, how, 0600);
    while (fd < 0 && errno == EINTR);
    return result(fd);
}

static int posix_close(const struct tlog_io *io, int fd)
{
    (void)io;
    return result(close(fd));
}

static ssize_t posix_pread(const struct tlog_io *io, int fd, void *to, size_t bytes, uint64_t foff)
{
    (void)io;
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(fd, (char *)to + done, bytes - done, (off_t)(foff + done));
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Writes what a short pwritev left over. */
static int write_rest(int fd, const struct iovec *from, int count, size_t skip, uint64_t foff)
{
    for (int i = 0; i < count; i++) {
        const char *data = from[i].iov_base;
        size_t left = from[i].iov_len;
        if (skip >= left) {
            skip -= left;
            foff += left;
            continue;
        }
        data += skip;
        left -= skip;
        foff += skip;
        skip = 0;
        while (left > 0) {
            ssize_t n = pwrite(fd, data, left, (off_t)foff);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 ? -errno : -EIO;
            data += n;
            foff += (size_t)n;
            left -= (size_t)n;
        }
    }
    return 0;
}

static int posix_pwritev(const struct tlog_io *io, int fd, const struct iovec *from, int count, uint64_t foff)
{
    (void)io;
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += from[i].iov_len;
    ssize_t n;
    do
        n = count == 1 ? pwrite(fd, from->iov_base, from->iov_len, (off_t)foff) : pwritev(fd, from, count, (off_t)foff);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == total ? 0 : write_rest(fd, from, count, (size_t)n, foff);
}

static int posix_truncate(const struct tlog_io *io, int fd, uint64_t size_bytes)
{
    (void)io;
    int r;
    do
        r = ftruncate(fd, (off_t)size_bytes);
    while (r < 0 && errno == EINTR);
    return result(r);
}

static int posix_reserve(const struct tlog_io *io, int fd, uint64_t foff, uint64_t bytes)
{
    (void)io;
    int r;
    do
        r = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)foff, (off_t)bytes);
    while (r < 0 && errno == EINTR);
    return result(r);
}

static int posix_sync(const struct tlog_io *io, int fd)
{
    (void)io;
    return result(fdatasync(fd));
}

static void fill(struct tlog_io_stat *out, const struct stat *st)
{
    out->size_bytes = (uint64_t)st->st_size;
    out->disk_bytes = (uint64_t)st->st_blocks * 512;
    out->inode = st->st_ino;
    out->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    out->directory = S_ISDIR(st->st_mode);
}

static int posix_stat(const struct tlog_io *io, int fd, struct tlog_io_stat *out)
{
    (void)io;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    fill(out, &st);
    return 0;
}

static int posix_map(const struct tlog_io *io, int fd, size_t bytes, const void **out)
{
    (void)io;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    *out = map;
    return 0;
}

static void posix_unmap(const struct tlog_io *io, const void *map, size_t bytes)
{
    (void)io;
    munmap((void *)(uintptr_t)map, bytes);
}

static void posix_readahead(const struct tlog_io *io, int fd, uint64_t foff, uint64_t bytes)
{
    (void)io;
    (void)readahead(fd, (off_t)foff, bytes);
}

static int posix_lock(const struct tlog_io *io, int fd)
{
    (void)io;
    return result(flock(fd, LOCK_EX | LOCK_NB));
}

static int posix_stat_path(const struct tlog_io *io, const char *path, struct tlog_io_stat *out)
{
    (void)io;
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    fill(out, &st);
    return 0;
}

static int posix_rename(const struct tlog_io *io, const char *from, const char *to)
{
    (void)io;
    return result(rename(from, to));
}

static int posix_unlink(const struct tlog_io *io, const char *path)
{
    (void)io;
    return result(unlink(path));
}

static int posix_mkdir(const struct tlog_io *io, const char *path)
{
    (void)io;
    return result(mkdir(path, 0700));
}

static int posix_rmdir(const struct tlog_io *io, const char *path)
{
    (void)io;
    return result(rmdir(path));
}

static int posix_sync_dir(const struct tlog_io *io, const char *path)
{
    (void)io;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = result(fsync(fd));
    close(fd);
    return r;
}

static int posix_list(const struct tlog_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
    (void)io;
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    int r = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry) {
            r = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((r = each(arg, entry->d_name)) != 0)
            break;
    }
    closedir(dir);
    return r;
}

static int posix_statfs(const struct tlog_io *io, const char *path, struct tlog_io_statfs *out)
{
    (void)io;
    struct statvfs st;
    if (statvfs(path, &st) < 0)
        return -errno;
    *out = (struct tlog_io_statfs){
        .block_bytes = st.f_frsize,
        .blocks = st.f_blocks,
        .blocks_free = st.f_bfree,
        .blocks_available = st.f_bavail,
        .files = st.f_files,
        .files_free = st.f_ffree,
        .filesystem_id = st.f_fsid,
    };
    return 0;
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t posix_realtime_ns(const struct tlog_io *io)
{
    (void)io;
    return clock_ns(CLOCK_REALTIME);
}

static int64_t posix_boottime_ns(const struct tlog_io *io)
{
    (void)io;
    return clock_ns(CLOCK_BOOTTIME);
}

static void posix_random(const struct tlog_io *io, void *to, size_t bytes)
{
    (void)io;
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = getrandom((char *)to + done, bytes - done, 0);
        if (n > 0)
            done += (size_t)n;
    }
}

static int read_text(const char *path, char to[64])
{
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    int r = fgets(to, 64, file) ? 0 : -EIO;
    fclose(file);
    if (r == 0)
        to[strcspn(to, "\n")] = 0;
    return r;
}

static int posix_boot_id(const struct tlog_io *io, char to[64])
{
    (void)io;
    return read_text("/proc/sys/kernel/random/boot_id", to);
}

static int posix_machine_id(const struct tlog_io *io, char to[64])
{
    (void)io;
    return read_text("/etc/machine-id", to);
}

const struct tlog_io tlog_io_posix = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwritev = posix_pwritev,
    .truncate = posix_truncate,
    .reserve = posix_reserve,
    .sync = posix_sync,
    .stat = posix_stat,
    .map = posix_map,
    .unmap = posix_unmap,
    .readahead = posix_readahead,
    .lock = posix_lock,
    .stat_path = posix_stat_path,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .statfs = posix_statfs,
    .realtime_ns = posix_realtime_ns,
    .boottime_ns = posix_boottime_ns,
    .random = posix_random,
    .boot_id = posix_boot_id,
    .machine_id = posix_machine_id,
};

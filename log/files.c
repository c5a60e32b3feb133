/* The store's small files: read whole, replaced whole (temporary, fsync, rename, fsync of the directory). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/files.h"

enum { LARGEST_BYTES = 256 << 20 };

int tlog_file_read(const struct tlog_io *io, const char *path, char **out, size_t *bytes)
{
    int fd = io->open(io, path, TLOG_IO_READ);
    if (fd < 0)
        return fd;
    struct tlog_io_stat st;
    int r = io->stat(io, fd, &st);
    if (r == 0 && (st.directory || st.size_bytes > LARGEST_BYTES))
        r = st.directory ? -EISDIR : -EFBIG;
    char *data = r == 0 ? malloc(st.size_bytes + 1) : NULL;
    ssize_t n = r < 0 ? r : data ? io->pread(io, fd, data, st.size_bytes, 0) : -ENOMEM;
    io->close(io, fd);
    if (n < 0) {
        free(data);
        return (int)n;
    }
    data[n] = 0;
    *out = data;
    if (bytes)
        *bytes = (size_t)n;
    return 0;
}

int tlog_file_replace(const struct tlog_io *io, const char *dir, const char *name, const void *data, size_t bytes)
{
    char path[TLOG_NAME_BYTES], temporary[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(temporary, sizeof temporary, "%s/%s.new", dir, name);
    int fd = io->open(io, temporary, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    if (fd < 0)
        return fd;
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    int r = bytes > 0 ? io->pwritev(io, fd, &part, 1, 0) : 0;
    if (r == 0)
        r = io->sync(io, fd);
    io->close(io, fd);
    if (r == 0)
        r = io->rename(io, temporary, path);
    if (r < 0) {
        io->unlink(io, temporary);
        return r;
    }
    return io->sync_dir(io, dir);
}

int tlog_file_mark(const struct tlog_io *io, const char *dir, const char *name, const char *text)
{
    char path[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = io->open(io, path, TLOG_IO_WRITE | TLOG_IO_CREATE);
    if (fd < 0)
        return fd;
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    (void)io->pwritev(io, fd, &part, 1, 0);
    (void)io->sync(io, fd);
    io->close(io, fd);
    (void)io->sync_dir(io, dir);
    return 0;
}

int tlog_attr_read(const struct tlog_io *io, const char *dir, struct tlog_attr *attr, int64_t *mtime_ns,
                   uint64_t *mtime_end)
{
    char path[TLOG_NAME_BYTES], *text;
    snprintf(path, sizeof path, "%s/attr", dir);
    int r = tlog_file_read(io, path, &text, NULL);
    if (r < 0)
        return r;
    struct tlog_attr found;
    int64_t mtime = 0;
    uint64_t end = UINT64_MAX;
    int fields = sscanf(text, "mode=%" SCNo32 " uid=%" SCNu32 " gid=%" SCNu32 " mtime=%" SCNd64 " end=%" SCNu64,
                        &found.mode, &found.uid, &found.gid, &mtime, &end);
    free(text);
    if (fields != 3 && fields != 5)
        return -EBADMSG;
    *attr = found;
    if (fields == 5 && mtime_ns) {
        *mtime_ns = mtime;
        *mtime_end = end;
    }
    return 0;
}

int tlog_attr_write(const struct tlog_io *io, const char *dir, const struct tlog_attr *attr, int64_t mtime_ns,
                    uint64_t mtime_end)
{
    char text[256];
    int n = snprintf(text, sizeof text, "mode=%04o\nuid=%u\ngid=%u\n", attr->mode, attr->uid, attr->gid);
    if (mtime_end != UINT64_MAX)
        n += snprintf(text + n, sizeof text - (size_t)n, "mtime=%" PRId64 "\nend=%" PRIu64 "\n", mtime_ns, mtime_end);
    return tlog_file_replace(io, dir, "attr", text, (size_t)n);
}

struct names {
    char **all;
    size_t count;
};

static int add_name(void *arg, const char *name)
{
    struct names *names = arg;
    char **grown = realloc(names->all, (names->count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    names->all = grown;
    grown[names->count] = strdup(name);
    return grown[names->count++] ? 0 : -ENOMEM;
}

void tlog_tree_remove(const struct tlog_io *io, const char *dir)
{
    struct names names = {0};
    (void)io->list(io, dir, add_name, &names); /* what could be listed is removed */
    for (size_t i = 0; i < names.count; i++) {
        char path[TLOG_NAME_BYTES];
        struct tlog_io_stat st;
        if (names.all[i] && snprintf(path, sizeof path, "%s/%s", dir, names.all[i]) < (int)sizeof path &&
            io->stat_path(io, path, &st) == 0) {
            if (st.directory)
                tlog_tree_remove(io, path);
            else
                (void)io->unlink(io, path);
        }
        free(names.all[i]);
    }
    free(names.all);
    (void)io->rmdir(io, dir);
}

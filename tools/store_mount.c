/* Online: a mount of topicfs, through its files, their extended attributes and ioctls. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/store.h"

/* ---- paths and whole files -------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int no_topic(struct ctl_store *store, int result)
{
    return result == -ENOENT ? ctl_error(&store->error, result, "no such topic") : result;
}

static int no_partition(struct ctl_store *store, int result)
{
    return result == -ENOENT ? ctl_error(&store->error, result, "no such partition") : result;
}

/* Until end of file: what a daemon makes up on reading has no size to go by. NUL-terminated. */
static int read_whole(int fd, char **out)
{
    size_t used = 0, room = 0;
    char *text = NULL;

    for (;;) {
        if (room - used < 4096) {
            room = room ? 2 * room : 16384;
            char *bigger = realloc(text, room);
            if (!bigger)
                break;
            text = bigger;
        }
        ssize_t got = read(fd, text + used, room - used - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            if (got < 0)
                break;
            text[used] = '\0';
            *out = text;
            return 0;
        }
        used += (size_t)got;
    }
    int result = -errno;
    free(text);
    return result;
}

/* A file of the root (topic NULL) or of a topic. */
static int open_in(struct ctl_store *store, const char *topic, const char *name, int flags)
{
    char path[600];

    snprintf(path, sizeof(path), "%s%s%s", topic ? topic : "", topic ? "/" : "", name);
    int fd = openat(store->root, path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int read_in(struct ctl_store *store, const char *topic, const char *name, char **out)
{
    int fd = open_in(store, topic, name, O_RDONLY);

    if (fd < 0)
        return no_topic(store, fd);
    int result = read_whole(fd, out);
    close(fd);
    return result;
}

/* ---- topics ----------------------------------------------------------------------------------------- */

/* Adds a name before the NULL that ends the list. */
static int add_name(char ***names, size_t count, const char *name)
{
    char **bigger = realloc(*names, (count + 2) * sizeof(*bigger));

    if (!bigger)
        return -ENOMEM;
    *names = bigger;
    bigger[count] = strdup(name);
    bigger[count + 1] = NULL;
    return bigger[count] ? 0 : -ENOMEM;
}

static int mount_topics(struct ctl_store *store, char ***out)
{
    int fd = openat(store->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *directory = fdopendir(fd);
    if (!directory) {
        int result = -errno;
        close(fd);
        return result;
    }

    char **names = calloc(1, sizeof(*names));
    int result = names ? 0 : -ENOMEM;
    size_t count = 0;
    for (struct dirent *entry; result == 0 && (errno = 0, entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            result = add_name(&names, count++, entry->d_name);
    if (result == 0)
        result = -errno;
    closedir(directory);
    if (result < 0) {
        ctl_names_free(names);
        return result;
    }
    qsort(names, count, sizeof(*names), by_name);
    *out = names;
    return 0;
}

static int mount_partitions(struct ctl_store *store, const char *topic, struct ctl_summary **out, size_t *count)
{
    char *text = NULL, *line, *rest;
    int result = read_in(store, topic, ".offsets", &text);
    size_t lines = 1;

    if (result < 0 || !text)
        return result;
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    struct ctl_summary *all = calloc(lines, sizeof(*all));
    *count = 0;
    for (line = strtok_r(text, "\n", &rest); all && line; line = strtok_r(NULL, "\n", &rest)) {
        struct ctl_summary s;
        if (sscanf(line, "%u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &s.number, &s.start, &s.end, &s.committed,
                   &s.records) == 5)
            all[(*count)++] = s;
    }
    free(text);
    *out = all;
    return all ? 0 : -ENOMEM;
}

static int mount_add(struct ctl_store *store, const char *topic, unsigned number)
{
    char name[16];

    snprintf(name, sizeof(name), "%u", number);
    int fd = open_in(store, topic, ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return no_topic(store, fd);
    int partition = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int result = partition < 0 ? -errno : 0;
    if (partition >= 0)
        close(partition);
    close(fd);
    if (result == -EEXIST)
        ctl_error(&store->error, result, "there is such a partition already");
    if (result == -EINVAL)
        ctl_error(&store->error, result, "partitions.max does not allow it");
    return result;
}

/* mkdir makes as many partitions as the root configuration says: makes it as many as were asked for. */
static int adjust_partitions(struct ctl_store *store, const char *topic, unsigned partitions)
{
    struct ctl_summary *have = NULL;
    size_t count = 0;
    char path[600];
    int result = mount_partitions(store, topic, &have, &count);

    if (result < 0)
        return result;
    free(have);
    if (count < partitions)
        return mount_add(store, topic, partitions - 1);
    for (size_t number = count; result == 0 && number-- > partitions;) {
        snprintf(path, sizeof(path), "%s/%zu", topic, number);
        if (unlinkat(store->root, path, 0) < 0)
            result = -errno;
    }
    return result;
}

static int mount_create(struct ctl_store *store, const char *topic, unsigned partitions)
{
    if (mkdirat(store->root, topic, 0777) < 0)
        return errno == EEXIST ? ctl_error(&store->error, -EEXIST, "there is such a topic already") : -errno;
    int result = partitions > 0 ? adjust_partitions(store, topic, partitions) : 0;
    if (result < 0)
        unlinkat(store->root, topic, AT_REMOVEDIR);
    return result;
}

static int mount_remove(struct ctl_store *store, const char *topic, int partition)
{
    struct tfs_ioctl_delete request = {.partition = partition};
    int fd = open_in(store, topic, ".", O_RDONLY | O_DIRECTORY);

    if (fd < 0)
        return no_topic(store, fd);
    int result = ioctl(fd, TFS_IOC_DELETE, &request) < 0 ? -errno : 0;
    close(fd);
    return partition < 0 ? result : no_partition(store, result);
}

static int mount_trim(struct ctl_store *store, const char *topic, unsigned number, uint64_t pos, uint64_t *start)
{
    struct tfs_ioctl_trim request = {.partition = (int32_t)number, .pos = pos};
    int fd = open_in(store, topic, ".", O_RDONLY | O_DIRECTORY);

    if (fd < 0)
        return no_topic(store, fd);
    int result = ioctl(fd, TFS_IOC_TRIM, &request) < 0 ? -errno : 0;
    close(fd);
    *start = request.start;
    return no_partition(store, result);
}

static int mount_disk_bytes(struct ctl_store *store, const char *topic, unsigned number, uint64_t *out)
{
    struct stat status;
    char path[600];

    snprintf(path, sizeof(path), "%s/%u", topic, number);
    int result = fstatat(store->root, path, &status, 0) < 0 ? -errno : 0;
    *out = result < 0 ? 0 : (uint64_t)status.st_blocks * 512;
    return no_partition(store, result);
}

static int mount_config_text(struct ctl_store *store, const char *topic, char **out)
{
    return read_in(store, topic, ".config", out);
}

/* One write: it takes effect as one before close returns. A bad key was refused by the caller's own check. */
static int mount_config_set(struct ctl_store *store, const char *topic, const char *text, bool replace)
{
    int result = tlog_config_check(text, &store->error);

    if (result < 0)
        return result;
    int fd = open_in(store, topic, ".config", O_WRONLY | (replace ? O_TRUNC : O_APPEND));
    if (fd < 0)
        return no_topic(store, fd);
    if (*text == '\0')
        text = "\n"; /* truncating alone changes nothing */
    result = ctl_write_all(fd, text, strlen(text));
    if (close(fd) < 0 && result == 0)
        result = -errno;
    return result;
}

/* ---- partitions ------------------------------------------------------------------------------------- */

static int get_number(int fd, const char *name, int radix, uint64_t *out)
{
    char attribute[64], text[64];

    snprintf(attribute, sizeof(attribute), "user.topicfs.%s", name);
    ssize_t length = fgetxattr(fd, attribute, text, sizeof(text) - 1);
    if (length < 0)
        return -errno;
    text[length] = '\0';
    *out = strtoull(text, NULL, radix);
    return 0;
}

static int find_record(int fd, enum tfs_find kind, int64_t value, uint64_t *pos, uint64_t *seq)
{
    struct tfs_ioctl_find request = {.kind = kind, .value = value};

    if (ioctl(fd, TFS_IOC_FIND, &request) < 0)
        return -errno;
    *pos = request.pos;
    *seq = request.seq;
    return 0;
}

static int fill_bounds(int fd, struct tlog_bounds *out)
{
    uint64_t epoch = 0, leader = 0, records = 0, ignored;
    struct stat status = {.st_size = 0};
    const struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {
        {"start", &out->start},
        {"end", &out->end},
        {"committed", &out->committed},
        {"durable", &out->durable},
        {"pending", &out->pending},
        {"records", &records},
        {"epoch", &epoch},
        {"leader", &leader},
        {"segments", &out->segments},
        {"sealed", &out->sealed_bytes},
    };
    int result = get_number(fd, "chain", 16, &out->chain);

    for (size_t i = 0; result == 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++)
        result = get_number(fd, numbers[i].name, 10, numbers[i].to);
    if (result == 0)
        result = find_record(fd, TFS_FIND_POS, (int64_t)out->start, &ignored, &out->start_seq);
    if (result == 0 && fstat(fd, &status) < 0)
        result = -errno;
    if (result < 0)
        return result;
    out->end_seq = out->start_seq + records;
    out->epoch = (uint32_t)epoch;
    out->leader = (uint32_t)leader;
    out->disk_bytes = (uint64_t)status.st_blocks * 512;
    out->mtime_ns = status.st_mtim.tv_sec * INT64_C(1000000000) + status.st_mtim.tv_nsec;
    out->ctime_ns = status.st_ctim.tv_sec * INT64_C(1000000000) + status.st_ctim.tv_nsec;
    return 0;
}

static int open_partition(struct ctl_store *store, const char *topic, unsigned number, int flags)
{
    char name[16];

    snprintf(name, sizeof(name), "%u", number);
    int fd = open_in(store, topic, name, flags);
    if (fd == -ENOENT && faccessat(store->root, topic, F_OK, 0) < 0)
        return no_topic(store, fd);
    return fd < 0 ? no_partition(store, fd) : fd;
}

static int mount_bounds(struct ctl_store *store, const char *topic, unsigned number, struct tlog_bounds *out)
{
    int fd = open_partition(store, topic, number, O_RDONLY);

    memset(out, 0, sizeof(*out));
    if (fd < 0)
        return fd;
    int result = fill_bounds(fd, out);
    close(fd);
    return result;
}

static int mount_open(struct ctl_store *store, const char *topic, unsigned number, bool write,
                      struct ctl_partition *out)
{
    *out = (struct ctl_partition){.store = store};
    out->fd = open_partition(store, topic, number, write ? O_WRONLY | O_APPEND : O_RDONLY);
    if (out->fd < 0)
        return out->fd;
    /* Attributes want the right to read, which a producer need not have. */
    int result = write ? 0 : get_number(out->fd, "base", 10, &out->base);
    if (result < 0)
        close(out->fd);
    return result;
}

static int mount_extent(struct ctl_partition *partition, uint64_t *start, uint64_t *committed)
{
    struct stat status;
    int result = get_number(partition->fd, "start", 10, start);

    /* One that was deleted can still be read through this file, but nothing will come any more. */
    if (fstat(partition->fd, &status) == 0 && status.st_nlink == 0)
        return -ESTALE;
    return result < 0 ? result : get_number(partition->fd, "committed", 10, committed);
}

static ssize_t mount_read(struct ctl_partition *partition, uint64_t pos, void *to, size_t bytes)
{
    ssize_t got;

    do
        got = pread(partition->fd, to, bytes, (off_t)(pos - partition->base));
    while (got < 0 && errno == EINTR && !ctl_stopped);
    return got < 0 ? -errno : got;
}

static int mount_find(struct ctl_partition *partition, enum tfs_find kind, int64_t value, uint64_t *pos, uint64_t *seq)
{
    return find_record(partition->fd, kind, value, pos, seq);
}

static ssize_t mount_append(struct ctl_partition *partition, const void *data, size_t length, uint32_t records)
{
    ssize_t written = write(partition->fd, data, length);

    (void)records;
    return written < 0 ? -errno : written;
}

static int mount_sync(struct ctl_partition *partition)
{
    return fdatasync(partition->fd) < 0 ? -errno : 0;
}

static int mount_close_partition(struct ctl_partition *partition)
{
    return close(partition->fd) < 0 ? -errno : 0;
}

static int mount_close(struct ctl_store *store)
{
    close(store->root);
    return 0;
}

const struct ctl_backend ctl_mount = {
    .topics = mount_topics,
    .partitions = mount_partitions,
    .create = mount_create,
    .add = mount_add,
    .remove = mount_remove,
    .trim = mount_trim,
    .disk_bytes = mount_disk_bytes,
    .trash = ctl_mount_trash,
    .restore = ctl_mount_restore,
    .discard = ctl_mount_discard,
    .config_text = mount_config_text,
    .config_set = mount_config_set,
    .bounds = mount_bounds,
    .open = mount_open,
    .extent = mount_extent,
    .read = mount_read,
    .find = mount_find,
    .append = mount_append,
    .sync = mount_sync,
    .close_partition = mount_close_partition,
    .close = mount_close,
};

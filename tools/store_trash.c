/* Online: the trash, through the directory .trash of the mount and the ioctls of its root. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/store.h"

/* A directory below an open one; NULL with errno. */
static DIR *open_below(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    DIR *directory = fdopendir(fd);
    if (!directory)
        close(fd);
    return directory;
}

/* What the files below take on disk; those that cannot be looked at count nothing. An item has partitions, and those
 * have files, so this goes no deeper than its depth says. */
static uint64_t disk_bytes(int at, const char *name, int depth)
{
    struct stat status;
    uint64_t sum = 0;
    DIR *directory = open_below(at, name);

    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' || fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(status.st_mode) && depth > 0)
            sum += disk_bytes(dirfd(directory), entry->d_name, depth - 1);
        else if (S_ISREG(status.st_mode))
            sum += (uint64_t)status.st_blocks * 512;
    }
    if (directory)
        closedir(directory);
    return sum;
}

/* From its name, TOPIC.TIME or TOPIC.NUMBER.TIME, as a removal on a full disk leaves it. */
static void guess_origin(int trash, struct tlog_trash_item *item)
{
    char path[sizeof(item->name) + 16], name[sizeof(item->name)];

    memcpy(name, item->name, sizeof(name));
    char *dot = strrchr(name, '.');
    if (dot) {
        item->removed_ns = strtoll(dot + 1, NULL, 10);
        *dot = '\0';
    }
    snprintf(path, sizeof(path), "%s/topic.conf", item->name);
    if (faccessat(trash, path, F_OK, 0) < 0 && (dot = strrchr(name, '.'))) {
        item->partition = atoi(dot + 1);
        *dot = '\0';
    }
    snprintf(item->topic, sizeof(item->topic), "%.255s", name);
}

/* The lines of its file `origin`. */
static void read_origin(int trash, struct tlog_trash_item *item)
{
    char path[sizeof(item->name) + 8], line[600];

    guess_origin(trash, item);
    snprintf(path, sizeof(path), "%s/origin", item->name);
    int fd = openat(trash, path, O_RDONLY | O_CLOEXEC);
    FILE *origin = fd < 0 ? NULL : fdopen(fd, "r");
    if (origin)
        item->partition = -1;
    else if (fd >= 0)
        close(fd);
    while (origin && fgets(line, sizeof(line), origin)) {
        (void)sscanf(line, "topic=%255s", item->topic);
        (void)sscanf(line, "partition=%d", &item->partition);
        (void)sscanf(line, "removed=%" SCNd64, &item->removed_ns);
    }
    if (origin)
        fclose(origin);
}

static int by_removal(const void *a, const void *b)
{
    const struct tlog_trash_item *first = a, *second = b;

    if (first->removed_ns != second->removed_ns)
        return first->removed_ns < second->removed_ns ? -1 : 1;
    return strcmp(first->name, second->name);
}

int ctl_mount_trash(struct ctl_store *store, struct tlog_trash_item **out, size_t *count)
{
    struct tlog_trash_item *items = NULL;
    DIR *trash = open_below(store->root, ".trash");
    int result = trash ? 0 : -errno;

    *count = 0;
    for (struct dirent *entry; result == 0 && (errno = 0, entry = readdir(trash));) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof(items->name))
            continue;
        struct tlog_trash_item *bigger = realloc(items, (*count + 1) * sizeof(*items));
        if (!bigger) {
            result = -ENOMEM;
            break;
        }
        items = bigger;
        struct tlog_trash_item *item = &items[(*count)++];
        *item = (struct tlog_trash_item){.partition = -1};
        memcpy(item->name, entry->d_name, strlen(entry->d_name) + 1);
        read_origin(dirfd(trash), item);
        item->disk_bytes = disk_bytes(dirfd(trash), item->name, 1);
    }
    if (result == 0)
        result = -errno;
    if (trash)
        closedir(trash);
    if (result < 0) {
        free(items);
        return result;
    }
    if (*count > 0)
        qsort(items, *count, sizeof(*items), by_removal);
    *out = items;
    return 0;
}

static int ask(struct ctl_store *store, unsigned long what, const char *item)
{
    struct tfs_ioctl_trash request = {.item = ""};

    if (strlen(item) >= sizeof(request.item))
        return -ENOENT;
    memcpy(request.item, item, strlen(item) + 1);
    return ioctl(store->root, what, &request) < 0 ? -errno : 0;
}

int ctl_mount_restore(struct ctl_store *store, const char *item)
{
    return ask(store, TFS_IOC_RESTORE, item);
}

int ctl_mount_discard(struct ctl_store *store, const char *item)
{
    return ask(store, TFS_IOC_DISCARD, item);
}

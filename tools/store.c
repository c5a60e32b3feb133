#include "tools/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/progress.h"

int ctl_is_mount(const char *path)
{
    struct statfs filesystem;
    struct stat status;
    char name[4096];

    if (statfs(path, &filesystem) < 0)
        return errno == ENOENT ? 0 : -errno;
    if ((uint32_t)filesystem.f_type != FUSE_SUPER_MAGIC)
        return 0;
    if (snprintf(name, sizeof(name), "%s/.status", path) >= (int)sizeof(name))
        return -ENAMETOOLONG;
    return stat(name, &status) == 0 && S_ISREG(status.st_mode);
}

/* /proc/locks tells without taking the lock, even for a moment, from a daemon that is just starting. */
int ctl_store_holder(const char *path)
{
    struct stat status;
    char name[4096], line[256];
    int holder = 0;

    if (snprintf(name, sizeof(name), "%s/LOCK", path) >= (int)sizeof(name) || stat(name, &status) < 0)
        return 0;
    FILE *locks = fopen("/proc/locks", "re");
    if (!locks)
        return 0;
    while (fgets(line, sizeof(line), locks)) {
        unsigned major_number, minor_number;
        unsigned long long inode;
        int process;
        if (sscanf(line, "%*u: FLOCK %*s WRITE %d %x:%x:%llu", &process, &major_number, &minor_number, &inode) == 4 &&
            inode == status.st_ino && makedev(major_number, minor_number) == status.st_dev)
            holder = process;
    }
    fclose(locks);
    return holder;
}

static void say_note(void *arg, const char *line)
{
    const struct ctl_store *store = arg;

    ctl_note("%s: %s", store->path, line);
}

static void show_recovery(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    static struct progress progress = {.what = "recovering"};

    (void)arg;
    progress_show(&progress, done_bytes, total_bytes);
    if (done_bytes >= total_bytes)
        progress_end(&progress);
}

static int open_files(struct ctl_store *store, enum ctl_access access)
{
    struct tlog_options options = {.create = access == CTL_MAKE,
                                   .read_only = access == CTL_READ,
                                   .no_upkeep = access == CTL_READ,
                                   .note = say_note,
                                   .progress = show_recovery,
                                   .arg = store};
    int holder = ctl_store_holder(store->path);

    if (holder > 0 && access == CTL_READ)
        ctl_note("%s: process %d has this store open: what is shown is what it had written a moment ago", store->path,
                 holder);
    int result = tlog_store_open(&store->log, store->path, &options, &store->error);
    if (result == -EWOULDBLOCK && holder > 0)
        ctl_error(&store->error, result, "process %d has this store open: use its mountpoint", holder);
    else if (result == -EWOULDBLOCK)
        ctl_error(&store->error, result, "another process has this store open: use its mountpoint");
    store->backend = &ctl_files;
    return result;
}

static int open_mount(struct ctl_store *store)
{
    store->backend = &ctl_mount;
    store->online = true;
    store->root = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return store->root < 0 ? -errno : 0;
}

struct ctl_store *ctl_store_open(const char *path, enum ctl_access access)
{
    struct ctl_store *store = calloc(1, sizeof(*store));
    int result = -ENOMEM;

    if (!store || !(store->path = strdup(path)))
        goto out;
    store->root = -1;
    result = ctl_is_mount(path);
    if (result >= 0)
        result = result ? open_mount(store) : open_files(store, access);
    if (result == 0)
        return store;
    if (result == -ENOTCONN)
        ctl_error(&store->error, result, "the daemon of this mountpoint is gone (fusermount3 -u clears it)");
    ctl_error_drop(&store->error, path);
out:
    ctl_fail(result, store ? &store->error : NULL, "%s", path);
    if (store)
        free(store->path);
    free(store);
    return NULL;
}

int ctl_store_close(struct ctl_store *store)
{
    store->error.text[0] = '\0';
    int result = store->backend->close(store);
    ctl_error_drop(&store->error, store->path);
    if (result < 0)
        ctl_fail(result, &store->error, "%s", store->path);
    free(store->path);
    free(store);
    return result;
}

void ctl_names_free(char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

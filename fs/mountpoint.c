#include "mountpoint.h"

#include <errno.h>
#include <mntent.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"

#define TYPE   "fuse.topicfs"
#define MOUNTS "/proc/self/mounts"

/* The last mount on a directory: its type and source; false when there is none. */
static bool find_mount(const char *directory, char type[64], char source[1024])
{
    FILE *mounts = setmntent(MOUNTS, "r");
    struct mntent entry;
    char line[8192];
    bool found = false;

    if (mounts == NULL)
        return false;
    while (getmntent_r(mounts, &entry, line, sizeof line) != NULL)
        if (strcmp(entry.mnt_dir, directory) == 0) {
            snprintf(type, 64, "%s", entry.mnt_type);
            snprintf(source, 1024, "%s", entry.mnt_fsname);
            found = true;
        }
    endmntent(mounts);
    return found;
}

bool tfs_mounted_from(const char *store)
{
    FILE *mounts = setmntent(MOUNTS, "r");
    struct mntent entry;
    char line[8192];
    bool found = false;

    if (mounts == NULL)
        return false;
    while (!found && getmntent_r(mounts, &entry, line, sizeof line) != NULL)
        found = strcmp(entry.mnt_type, TYPE) == 0 && strcmp(entry.mnt_fsname, store) == 0;
    endmntent(mounts);
    return found;
}

static int unmount_stale(const char *directory)
{
    char *const arguments[] = {"fusermount3", "-uz", "--", (char *)(uintptr_t)directory, NULL};
    pid_t child;
    int status;

    if (geteuid() == 0)
        return umount2(directory, MNT_DETACH) == 0 ? 0 : -errno;
    int result = posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ);
    if (result != 0)
        return -result;
    if (waitpid(child, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int clear_stale(const char *directory)
{
    char type[64], source[1024];

    if (!find_mount(directory, type, source) || strcmp(type, TYPE) != 0) {
        tfs_say(LOG_ERR, "%s: a mount whose server is gone, and not a topicfs: unmount it first", directory);
        return -ENOTCONN;
    }
    int result = unmount_stale(directory);
    if (result != 0)
        tfs_say(LOG_ERR, "%s: cannot unmount a stale mount: %s", directory, strerror(-result));
    else
        tfs_say(LOG_NOTICE, "%s: unmounted a stale mount, left by a topicfs that was killed", directory);
    return result;
}

/* As realpath(3), but for a last component whose mount does not answer. */
static char *absolute_path(const char *path)
{
    char *absolute = realpath(path, NULL);

    if (absolute != NULL || errno != ENOTCONN)
        return absolute;
    char *copy = strdup(path);
    if (copy == NULL)
        return NULL;
    for (size_t end = strlen(copy); end > 1 && copy[end - 1] == '/'; end--)
        copy[end - 1] = '\0';
    char *slash = strrchr(copy, '/');
    char *parent = realpath(slash == NULL ? "." : slash == copy ? "/" : (*slash = '\0', copy), NULL);
    if (parent == NULL ||
        asprintf(&absolute, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash != NULL ? slash + 1 : copy) < 0)
        absolute = NULL;
    free(parent);
    free(copy);
    return absolute;
}

/* 0 and the attributes, or ENOTCONN when the server of a topicfs mounted there is gone: stat(2) alone may be answered
 * from what the kernel remembers, statvfs(2) is always asked. */
static int look(const char *directory, bool mounted, struct stat *attr)
{
    struct statvfs space;

    if (stat(directory, attr) != 0 || (mounted && statvfs(directory, &space) != 0))
        return errno == ECONNABORTED ? ENOTCONN : errno;
    return 0;
}

static int check(const char *directory)
{
    enum { MOST = 16 }; /* dead mounts above each other */
    char type[64], source[1024];
    struct stat attr;
    bool mounted;
    int error;

    for (int i = 0;; i++) {
        mounted = find_mount(directory, type, source) && strcmp(type, TYPE) == 0;
        error = look(directory, mounted, &attr);
        if (error != ENOTCONN || i == MOST)
            break;
        int result = clear_stale(directory);
        if (result != 0)
            return result;
    }
    if (error == 0 && !S_ISDIR(attr.st_mode))
        error = ENOTDIR;
    if (error != 0) {
        tfs_say(LOG_ERR, "%s: cannot mount on it: %s", directory, strerror(error));
        return -error;
    }
    if (mounted) {
        tfs_say(LOG_ERR, "%s: already a mount of %s", directory, source);
        return -EBUSY;
    }
    return 0;
}

int tfs_mountpoint_prepare(const char *path, char **absolute)
{
    char *directory = absolute_path(path);

    if (directory == NULL) {
        int error = errno;
        tfs_say(LOG_ERR, "%s: cannot mount on it: %s", path, strerror(error));
        return -error;
    }
    int result = check(directory);
    if (result != 0) {
        free(directory);
        return result;
    }
    *absolute = directory;
    return 0;
}

/* What stands beside the io of a simulated disk: walking, exporting, copying and rotting its files. */
#include "simdisk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int walk_function(void *arg, const char *path, uint64_t size_bytes);

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct sim_name *)a)->name, ((const struct sim_name *)b)->name);
}

static int walk(struct simdisk *disk, const char *path, const struct sim_inode *at, bool directories,
                walk_function *each, void *arg)
{
    struct sim_names names;
    int result = 0;
    if (!at->directory)
        return directories ? 0 : each(arg, path, at->size);
    if (directories)
        result = each(arg, path, 0);
    sim_names_copy(&names, &at->names);
    if (names.count)
        qsort(names.at, names.count, sizeof *names.at, compare_names);
    for (size_t i = 0; !result && i < names.count; i++) {
        char below[4096];
        snprintf(below, sizeof below, "%s/%s", strcmp(path, "/") ? path : "", names.at[i].name);
        const struct sim_inode *inode = sim_inode_get(disk, names.at[i].inode);
        if (inode)
            result = walk(disk, below, inode, directories, each, arg);
    }
    sim_names_release(&names);
    return result;
}

static int walk_from(struct simdisk *disk, const char *path, bool directories, walk_function *each, void *arg)
{
    int error;
    pthread_mutex_lock(&disk->lock);
    const struct sim_inode *at = sim_path_find(disk, path, &error);
    int result = at ? walk(disk, path, at, directories, each, arg) : error;
    pthread_mutex_unlock(&disk->lock);
    return result;
}

int simdisk_walk(struct simdisk *disk, const char *path, walk_function *each, void *arg)
{
    return walk_from(disk, path, false, each, arg);
}

struct export
{
    struct simdisk *disk;
    size_t skip; /* of each path: what stands before the exported tree */
    const char *to;
};

static int export_directory(void *arg, const char *path, uint64_t size_bytes)
{
    const struct export *export = arg;
    char to[4096];
    (void)size_bytes;
    snprintf(to, sizeof to, "%s%s", export->to, path + export->skip);
    return mkdir(to, 0700) && errno != EEXIST ? -errno : 0;
}

static int export_file(void *arg, const char *path, uint64_t size_bytes)
{
    const struct export *export = arg;
    char to[4096];
    int error;
    snprintf(to, sizeof to, "%s%s", export->to, path + export->skip);
    int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    const struct sim_inode *inode = sim_path_find(export->disk, path, &error);
    int result = write(fd, inode->data ? (const void *)inode->data : "", size_bytes) == (ssize_t)size_bytes ? 0 : -EIO;
    close(fd);
    return result;
}

int simdisk_export(struct simdisk *disk, const char *path, const char *to)
{
    struct export export = {.disk = disk, .skip = strcmp(path, "/") ? strlen(path) : 0, .to = to};
    int error = walk_from(disk, path, true, export_directory, &export);
    return error ? error : walk_from(disk, path, false, export_file, &export);
}

/* The directory's inode, made when it is missing. */
static struct sim_inode *directory_make(struct simdisk *disk, const char *path)
{
    char name[256];
    int error;
    struct sim_inode *at = sim_path_find(disk, path, &error);
    if (at)
        return at;
    char *above = strdup(path);
    *strrchr(above, '/') = '\0';
    struct sim_inode *parent = directory_make(disk, *above ? above : "/");
    free(above);
    sim_path_parent(disk, path, name, &error);
    struct sim_inode *made = sim_inode_new(disk, true);
    sim_names_set(&parent->names, name, made->number);
    sim_names_set(&parent->disk_names, name, made->number);
    return made;
}

int simdisk_copy(struct simdisk *disk, const char *from, const char *to)
{
    char name[256];
    int error = 0;
    pthread_mutex_lock(&disk->lock);
    const struct sim_inode *source = sim_path_find(disk, from, &error);
    if (source && !source->directory) {
        char *above = strdup(to);
        *strrchr(above, '/') = '\0';
        struct sim_inode *parent = directory_make(disk, *above ? above : "/");
        free(above);
        sim_path_parent(disk, to, name, &error);
        struct sim_inode *made = sim_inode_new(disk, false);
        error = sim_data_write(disk, made, source->data, source->size, 0);
        sim_data_sync(made);
        sim_names_set(&parent->names, name, made->number);
        sim_names_set(&parent->disk_names, name, made->number);
    }
    pthread_mutex_unlock(&disk->lock);
    return error;
}

int simdisk_flip(struct simdisk *disk, const char *path, uint64_t foff)
{
    int error = 0;
    pthread_mutex_lock(&disk->lock);
    struct sim_inode *inode = sim_path_find(disk, path, &error);
    if (inode && foff < inode->size)
        inode->data[foff] ^= 0x20;
    else if (inode)
        error = -ERANGE;
    if (inode && foff < inode->disk_size)
        inode->disk[foff] ^= 0x20;
    pthread_mutex_unlock(&disk->lock);
    return error;
}

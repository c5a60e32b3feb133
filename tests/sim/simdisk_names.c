/* The tree of a simulated disk: as seen, as durable, and the operations that are not durable yet. */
#include "simdisk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim_inode *sim_inode_get(const struct simdisk *disk, uint64_t number)
{
    return number < disk->inode_count ? disk->inodes[number] : NULL;
}

static struct sim_name *names_entry(const struct sim_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (!strcmp(names->at[i].name, name))
            return &names->at[i];
    return NULL;
}

uint64_t sim_names_find(const struct sim_names *names, const char *name)
{
    struct sim_name *entry = names_entry(names, name);
    return entry ? entry->inode : 0;
}

void sim_names_set(struct sim_names *names, const char *name, uint64_t inode)
{
    struct sim_name *entry = names_entry(names, name);
    if (entry && inode) {
        entry->inode = inode;
    } else if (entry) {
        free(entry->name);
        *entry = names->at[--names->count];
    } else if (inode) {
        names->at = sim_grow(names->at, &names->capacity, names->count + 1, sizeof *names->at);
        names->at[names->count].name = strdup(name);
        names->at[names->count++].inode = inode;
    }
}

void sim_names_release(struct sim_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->at[i].name);
    free(names->at);
    memset(names, 0, sizeof *names);
}

void sim_names_copy(struct sim_names *to, const struct sim_names *from)
{
    memset(to, 0, sizeof *to);
    to->at = sim_grow(NULL, &to->capacity, from->count, sizeof *to->at);
    to->count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        to->at[i].name = strdup(from->at[i].name);
        to->at[i].inode = from->at[i].inode;
    }
}

/* Takes the next name off a path; false at its end, *error set when the name is too long. */
static bool path_next(const char **path, char name[256], int *error)
{
    do {
        *path += strspn(*path, "/");
        size_t length = strcspn(*path, "/");
        if (!length)
            return false;
        if (length > 255) {
            *error = -ENAMETOOLONG;
            return false;
        }
        memcpy(name, *path, length);
        name[length] = '\0';
        *path += length;
    } while (!strcmp(name, "."));
    return true;
}

struct sim_inode *sim_path_parent(const struct simdisk *disk, const char *path, char name[256], int *error)
{
    char next[256];
    struct sim_inode *at = sim_inode_get(disk, SIM_ROOT);
    *error = 0;
    name[0] = '\0';
    if (!path_next(&path, name, error)) {
        *error = *error ? *error : -EBUSY;
        return NULL;
    }
    while (path_next(&path, next, error)) {
        uint64_t number = sim_names_find(&at->names, name);
        if (!number || !sim_inode_get(disk, number)->directory) {
            *error = number ? -ENOTDIR : -ENOENT;
            return NULL;
        }
        at = sim_inode_get(disk, number);
        memcpy(name, next, sizeof next);
    }
    return *error ? NULL : at;
}

struct sim_inode *sim_path_find(const struct simdisk *disk, const char *path, int *error)
{
    char name[256];
    struct sim_inode *parent = sim_path_parent(disk, path, name, error);
    if (!parent)
        return *error == -EBUSY ? sim_inode_get(disk, SIM_ROOT) : NULL;
    uint64_t number = sim_names_find(&parent->names, name);
    if (!number)
        *error = -ENOENT;
    return sim_inode_get(disk, number);
}

void sim_name_op_release(struct sim_name_op *op)
{
    for (int i = 0; i < op->count; i++)
        free(op->set[i].name);
}

static void op_apply(const struct simdisk *disk, const struct sim_name_op *op, bool durable)
{
    for (int i = 0; i < op->count; i++) {
        struct sim_inode *directory = sim_inode_get(disk, op->set[i].directory);
        if (directory)
            sim_names_set(durable ? &directory->disk_names : &directory->names, op->set[i].name, op->set[i].inode);
    }
}

void sim_names_change(struct simdisk *disk, const struct sim_name_op *op)
{
    op_apply(disk, op, false);
    for (int i = 0; i < op->count; i++)
        sim_inode_get(disk, op->set[i].directory)->mtime_ns = disk->realtime_ns;
    disk->name_ops = sim_grow(disk->name_ops, &disk->name_op_capacity, disk->name_op_count + 1, sizeof *disk->name_ops);
    struct sim_name_op *kept = &disk->name_ops[disk->name_op_count++];
    *kept = *op;
    for (int i = 0; i < op->count; i++)
        kept->set[i].name = strdup(op->set[i].name);
}

/* Makes the chosen operations durable, in order, and forgets them; the others stay undecided, or (`lose`) are
 * forgotten as well. */
static void ops_settle(struct simdisk *disk, const bool *chosen, bool lose)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->name_op_count; i++) {
        if (chosen[i])
            op_apply(disk, &disk->name_ops[i], true);
        if (chosen[i] || lose)
            sim_name_op_release(&disk->name_ops[i]);
        else
            disk->name_ops[kept++] = disk->name_ops[i];
    }
    disk->name_op_count = kept;
}

void sim_names_sync(struct simdisk *disk, uint64_t directory)
{
    bool *chosen = calloc(disk->name_op_count + 1, sizeof *chosen);
    if (!chosen)
        abort();
    /* from the last to the first: an operation takes those before it on the same inode with it */
    for (size_t i = disk->name_op_count; i-- > 0;) {
        const struct sim_name_op *op = &disk->name_ops[i];
        for (int j = 0; j < op->count; j++)
            chosen[i] |= op->set[j].directory == directory;
        for (size_t j = i + 1; !chosen[i] && j < disk->name_op_count; j++)
            chosen[i] = chosen[j] && disk->name_ops[j].inode == op->inode;
    }
    ops_settle(disk, chosen, false);
    free(chosen);
}

void sim_names_power_cut(struct simdisk *disk, struct sim_random *random)
{
    static const unsigned chances[] = {0, 50, 90, 100};
    unsigned percent = chances[sim_random_below(random, 4)];
    bool *chosen = calloc(disk->name_op_count + 1, sizeof *chosen);
    if (!chosen)
        abort();
    for (size_t i = 0; i < disk->name_op_count; i++) {
        chosen[i] = sim_random_chance(random, percent);
        for (size_t j = 0; j < i; j++)
            if (disk->name_ops[j].inode == disk->name_ops[i].inode && !chosen[j])
                chosen[i] = false;
    }
    ops_settle(disk, chosen, true);
    free(chosen);
    for (size_t i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];
        if (!inode || !inode->directory)
            continue;
        sim_names_release(&inode->names);
        sim_names_copy(&inode->names, &inode->disk_names);
    }
}

static void mark(const struct simdisk *disk, bool *used, uint64_t number)
{
    struct sim_inode *inode = sim_inode_get(disk, number);
    if (!inode || used[number])
        return;
    used[number] = true;
    for (size_t i = 0; i < inode->names.count; i++)
        mark(disk, used, inode->names.at[i].inode);
    for (size_t i = 0; i < inode->disk_names.count; i++)
        mark(disk, used, inode->disk_names.at[i].inode);
}

static void count_space(struct simdisk *disk)
{
    disk->blocks_used = 0;
    disk->inodes_used = 0;
    for (size_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];
        if (!inode || (!inode->linked && !inode->open))
            continue;
        disk->inodes_used++;
        for (size_t j = 0; j < inode->block_count; j++)
            disk->blocks_used += inode->blocks[j];
    }
}

/* Which inodes have a name as seen. */
static void mark_linked(struct simdisk *disk)
{
    for (size_t i = 0; i < disk->inode_count; i++)
        if (disk->inodes[i])
            disk->inodes[i]->linked = i == SIM_ROOT;
    for (size_t i = 0; i < disk->inode_count; i++)
        for (size_t j = 0; disk->inodes[i] && j < disk->inodes[i]->names.count; j++)
            sim_inode_get(disk, disk->inodes[i]->names.at[j].inode)->linked = true;
}

void sim_collect(struct simdisk *disk)
{
    bool *used = calloc(disk->inode_count, sizeof *used);
    if (!used)
        abort();
    mark(disk, used, SIM_ROOT);
    for (size_t i = 0; i < disk->name_op_count; i++) {
        const struct sim_name_op *op = &disk->name_ops[i];
        mark(disk, used, op->inode);
        for (int j = 0; j < op->count; j++) {
            mark(disk, used, op->set[j].directory);
            mark(disk, used, op->set[j].inode);
        }
    }
    for (size_t i = 0; i < disk->inode_count; i++) {
        if (!disk->inodes[i] || used[i] || disk->inodes[i]->open)
            continue;
        sim_inode_free(disk->inodes[i]);
        disk->inodes[i] = NULL;
    }
    free(used);
    mark_linked(disk);
    count_space(disk);
}

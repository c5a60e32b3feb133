/* The life of a simulated disk: made, cloned, killed, unplugged, and told how to misbehave. */
#include "simdisk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void sim_random_seed(struct sim_random *random, uint64_t seed)
{
    /* splitmix64 of the seed, so that neighbouring seeds have nothing in common */
    seed += 0x9e3779b97f4a7c15;
    seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111eb;
    seed ^= seed >> 31;
    random->state = seed ? seed : 1;
}

uint64_t sim_random_next(struct sim_random *random)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * 0x2545f4914f6cdd1d;
}

uint64_t sim_random_below(struct sim_random *random, uint64_t below)
{
    return below ? (sim_random_next(random) >> 16) % below : 0;
}

bool sim_random_chance(struct sim_random *random, unsigned percent)
{
    return sim_random_below(random, 100) < percent;
}

static void lock_init(struct simdisk *disk)
{
    /* recursive: a hook clones the disk that calls it */
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&disk->lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

struct simdisk *simdisk_new(const struct simdisk_options *options)
{
    struct simdisk *disk = calloc(1, sizeof *disk);
    if (!disk)
        return NULL;
    disk->io = sim_io;
    lock_init(disk);
    sim_random_seed(&disk->random, options->seed);
    disk->blocks = (options->disk_bytes ? options->disk_bytes : 1U << 30) / SIM_BLOCK;
    disk->inodes_max = options->files ? options->files : 100000;
    disk->max_files = options->max_files ? options->max_files : 1024;
    disk->realtime_ns = 1700000000 * INT64_C(1000000000);
    disk->boottime_ns = 1000000000;
    disk->boot = 1;
    disk->inodes = sim_grow(NULL, &disk->inode_capacity, SIM_ROOT, sizeof(struct sim_inode *));
    disk->inode_count = SIM_ROOT; /* number 0 means none */
    sim_inode_new(disk, true);
    return disk;
}

static void name_ops_release(struct simdisk *disk)
{
    for (size_t i = 0; i < disk->name_op_count; i++)
        sim_name_op_release(&disk->name_ops[i]);
    disk->name_op_count = 0;
}

void simdisk_free(struct simdisk *disk)
{
    if (!disk)
        return;
    for (size_t i = 0; i < disk->inode_count; i++)
        sim_inode_free(disk->inodes[i]);
    name_ops_release(disk);
    pthread_mutex_destroy(&disk->lock);
    free(disk->name_ops);
    free(disk->inodes);
    free(disk->files);
    free(disk->torn_data);
    free(disk);
}

const struct tlog_io *simdisk_io(struct simdisk *disk)
{
    return &disk->io;
}

struct simdisk *simdisk_clone(struct simdisk *from)
{
    struct simdisk *to = malloc(sizeof *to);
    if (!to)
        return NULL;
    pthread_mutex_lock(&from->lock);
    *to = *from;
    to->inode_capacity = to->name_op_capacity = 0;
    to->inodes = sim_grow(NULL, &to->inode_capacity, from->inode_count, sizeof(struct sim_inode *));
    for (size_t i = 0; i < from->inode_count; i++)
        to->inodes[i] = from->inodes[i] ? sim_inode_clone(from->inodes[i]) : NULL;
    to->name_ops = sim_grow(NULL, &to->name_op_capacity, from->name_op_count + 1, sizeof *to->name_ops);
    for (size_t i = 0; i < from->name_op_count; i++) {
        to->name_ops[i] = from->name_ops[i];
        for (int j = 0; j < to->name_ops[i].count; j++)
            to->name_ops[i].set[j].name = strdup(from->name_ops[i].set[j].name);
    }
    if (from->torn_inode) {
        to->torn_data = malloc(from->torn_length + 1);
        memcpy(to->torn_data, from->torn_data, from->torn_length);
    }
    pthread_mutex_unlock(&from->lock);
    lock_init(to);
    to->files = NULL;
    to->file_count = 0;
    to->hook = NULL;
    to->fault_error = 0;
    to->fault_struck = to->stop_armed = to->stopped = false;
    if (to->torn_inode)
        sim_inode_get(to, to->torn_inode)->open = 1; /* until the crash has decided about the write */
    sim_collect(to);
    return to;
}

void simdisk_kill(struct simdisk *disk, uint64_t seed)
{
    struct sim_random random;
    sim_random_seed(&random, seed);
    pthread_mutex_lock(&disk->lock);
    if (disk->torn_inode) {
        struct sim_inode *inode = sim_inode_get(disk, disk->torn_inode);
        size_t length = disk->torn_length, kept = (size_t)sim_random_below(&random, length + 1);
        if (sim_random_chance(&random, 20))
            kept = 0; /* not begun, and all but returned, are the likeliest to be told from one another wrongly */
        else if (sim_random_chance(&random, 20))
            kept = length;
        (void)sim_data_write(disk, inode, disk->torn_data, kept, disk->torn_foff);
        free(disk->torn_data);
        disk->torn_data = NULL;
        disk->torn_inode = 0;
    }
    for (size_t i = 0; i < disk->inode_count; i++)
        if (disk->inodes[i]) {
            disk->inodes[i]->open = 0;
            disk->inodes[i]->locked = false;
        }
    disk->file_count = 0;
    free(disk->files);
    disk->files = NULL;
    disk->fault_error = 0;
    disk->stop_armed = disk->stopped = false;
    sim_collect(disk);
    pthread_mutex_unlock(&disk->lock);
}

void simdisk_power_cut(struct simdisk *disk, uint64_t seed)
{
    struct sim_random random;
    simdisk_kill(disk, seed);
    sim_random_seed(&random, seed + 1);
    pthread_mutex_lock(&disk->lock);
    for (size_t i = 0; i < disk->inode_count; i++)
        if (disk->inodes[i] && !disk->inodes[i]->directory)
            sim_data_power_cut(disk->inodes[i], &random);
    sim_names_power_cut(disk, &random);
    sim_collect(disk);
    disk->boot++;
    disk->boottime_ns = 1000000000;
    pthread_mutex_unlock(&disk->lock);
}

void simdisk_fail(struct simdisk *disk, unsigned kinds, uint64_t skip, int error, bool forever)
{
    pthread_mutex_lock(&disk->lock);
    disk->fault_kinds = kinds;
    disk->fault_skip = skip;
    disk->fault_error = error;
    disk->fault_forever = forever;
    disk->fault_struck = false;
    pthread_mutex_unlock(&disk->lock);
}

bool simdisk_failed(struct simdisk *disk)
{
    pthread_mutex_lock(&disk->lock);
    bool struck = disk->fault_struck;
    pthread_mutex_unlock(&disk->lock);
    return struck;
}

void simdisk_stop(struct simdisk *disk, uint64_t skip)
{
    pthread_mutex_lock(&disk->lock);
    disk->stop_armed = true;
    disk->stop_skip = skip;
    pthread_mutex_unlock(&disk->lock);
}

bool simdisk_stopped(struct simdisk *disk)
{
    pthread_mutex_lock(&disk->lock);
    bool stopped = disk->stopped;
    pthread_mutex_unlock(&disk->lock);
    return stopped;
}

void simdisk_bad_range(struct simdisk *disk, const char *path, uint64_t from, uint64_t to)
{
    int error;
    pthread_mutex_lock(&disk->lock);
    struct sim_inode *inode = sim_path_find(disk, path, &error);
    if (!inode)
        abort();
    inode->bad_from = from;
    inode->bad_to = to;
    pthread_mutex_unlock(&disk->lock);
}

void simdisk_resize(struct simdisk *disk, uint64_t disk_bytes, uint64_t files)
{
    pthread_mutex_lock(&disk->lock);
    disk->blocks = disk_bytes / SIM_BLOCK;
    disk->inodes_max = files;
    pthread_mutex_unlock(&disk->lock);
}

uint64_t simdisk_used_bytes(struct simdisk *disk)
{
    pthread_mutex_lock(&disk->lock);
    uint64_t used = disk->blocks_used * SIM_BLOCK;
    pthread_mutex_unlock(&disk->lock);
    return used;
}

void simdisk_lie(struct simdisk *disk, const char *sync, const char *sync_dir)
{
    pthread_mutex_lock(&disk->lock);
    disk->lie_sync = sync;
    disk->lie_sync_dir = sync_dir;
    pthread_mutex_unlock(&disk->lock);
}

void simdisk_hook(struct simdisk *disk, void (*hook)(void *arg, enum sim_kind kind, const char *path), void *arg)
{
    pthread_mutex_lock(&disk->lock);
    disk->hook = hook;
    disk->hook_arg = arg;
    pthread_mutex_unlock(&disk->lock);
}

uint64_t simdisk_count(struct simdisk *disk, unsigned kinds)
{
    uint64_t count = 0;
    pthread_mutex_lock(&disk->lock);
    for (unsigned i = 0; i < SIM_KINDS; i++)
        count += kinds & 1U << i ? disk->counts[i] : 0;
    pthread_mutex_unlock(&disk->lock);
    return count;
}

unsigned simdisk_open_files(struct simdisk *disk)
{
    unsigned open = 0;
    pthread_mutex_lock(&disk->lock);
    for (unsigned i = 0; i < disk->file_count; i++)
        open += disk->files[i].inode != 0;
    pthread_mutex_unlock(&disk->lock);
    return open;
}

void simdisk_advance(struct simdisk *disk, int64_t ns)
{
    pthread_mutex_lock(&disk->lock);
    disk->realtime_ns += ns;
    disk->boottime_ns += ns;
    pthread_mutex_unlock(&disk->lock);
}

void simdisk_jump(struct simdisk *disk, int64_t ns)
{
    pthread_mutex_lock(&disk->lock);
    disk->realtime_ns += ns;
    pthread_mutex_unlock(&disk->lock);
}

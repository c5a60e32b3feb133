/* A disk in memory that behaves as badly as a disk may: the second implementation of log/io.h.
 *
 * What is written is seen by reads at once (the page cache). Apart from that there is a durable image. File data
 * and sizes get into it at sync(), directory entries at sync_dir(); before that a power cut keeps or loses each
 * 512-byte sector, each size and each directory operation on its own, in any order. What holds on every journaling
 * filesystem, and no more, is kept: a rename is atomic, operations on one inode's names stay in order, bytes that
 * a truncation cut do not come back behind it. A failed sync marks what was dirty as clean and leaves it unwritten.
 *
 * All calls are safe from any thread. Everything random comes from seeds, so a run with one thread repeats. */
#ifndef SIMDISK_H
#define SIMDISK_H

#include "log/io.h"

struct simdisk;

struct simdisk_options {
    uint64_t seed;
    uint64_t disk_bytes; /* capacity; 0: 1 GiB */
    uint64_t files;      /* how many inodes it has; 0: 100000 */
    unsigned max_files;  /* descriptors open at once; 0: 1024 */
};

enum sim_kind {
    SIM_OPEN,
    SIM_CREATE, /* an open that creates or truncates */
    SIM_READ,
    SIM_WRITE,
    SIM_TRUNCATE,
    SIM_RESERVE,
    SIM_SYNC,
    SIM_STAT,
    SIM_MAP,
    SIM_RENAME,
    SIM_UNLINK,
    SIM_MKDIR,
    SIM_RMDIR,
    SIM_SYNC_DIR,
    SIM_LIST,
    SIM_KINDS,
};
#define SIM_ALL ((1U << SIM_KINDS) - 1)
/* What changes the disk, or the state of what a power cut keeps. */
#define SIM_MUTATING                                                                                                   \
    (1U << SIM_CREATE | 1U << SIM_WRITE | 1U << SIM_TRUNCATE | 1U << SIM_RESERVE | 1U << SIM_SYNC | 1U << SIM_RENAME | \
     1U << SIM_UNLINK | 1U << SIM_MKDIR | 1U << SIM_RMDIR | 1U << SIM_SYNC_DIR)

/* An empty disk, with the root directory. NULL without memory. */
struct simdisk *simdisk_new(const struct simdisk_options *options);
void simdisk_free(struct simdisk *disk);
/* The io of this disk; valid until simdisk_free. */
const struct tlog_io *simdisk_io(struct simdisk *disk);
/* The same disk at this moment, as a crash would find it: no descriptors, no faults, no hook. A write that is
 * under way (the call comes from a hook) is remembered as such. */
struct simdisk *simdisk_clone(struct simdisk *disk);

/* The process dies: descriptors and locks are gone, the page cache stays. Of a write under way a prefix stays. */
void simdisk_kill(struct simdisk *disk, uint64_t seed);
/* The machine dies and boots again: what was not durable survives in part, as the seed says. */
void simdisk_power_cut(struct simdisk *disk, uint64_t seed);

/* The operation of one of `kinds` that comes after `skip` others of them fails with -error; `forever`: and each of
 * them from then on. One fault at a time; an error of 0 takes it away. */
void simdisk_fail(struct simdisk *disk, unsigned kinds, uint64_t skip, int error, bool forever);
/* Whether the fault has struck. */
bool simdisk_failed(struct simdisk *disk);
/* The world stops before the mutating operation that comes after `skip` others: from then on every operation but
 * close and unmap answers -EIO and does nothing, so that the code under test unwinds. simdisk_kill and
 * simdisk_power_cut start it again. */
void simdisk_stop(struct simdisk *disk, uint64_t skip);
bool simdisk_stopped(struct simdisk *disk);
/* Reads that touch these bytes of the file answer -EIO. */
void simdisk_bad_range(struct simdisk *disk, const char *path, uint64_t from, uint64_t to);
/* A new capacity, from now on. What is there stays. */
void simdisk_resize(struct simdisk *disk, uint64_t disk_bytes, uint64_t files);
uint64_t simdisk_used_bytes(struct simdisk *disk);

/* A disk that lies: sync (of files whose path contains `sync`) and sync_dir (of directories whose path contains
 * `sync_dir`) answer 0 and do nothing; "" is everything, NULL nothing. It exists to prove that tests notice. The
 * texts are borrowed for as long as the disk and its clones live. */
void simdisk_lie(struct simdisk *disk, const char *sync, const char *sync_dir);

/* Called before each mutating operation, on the thread that asked for it; it may only use this disk to clone it. */
void simdisk_hook(struct simdisk *disk, void (*hook)(void *arg, enum sim_kind kind, const char *path), void *arg);
/* Operations so far of the kinds. */
uint64_t simdisk_count(struct simdisk *disk, unsigned kinds);
unsigned simdisk_open_files(struct simdisk *disk);

/* Clocks move by a microsecond an operation and by this. */
void simdisk_advance(struct simdisk *disk, int64_t ns);
/* CLOCK_REALTIME alone jumps. */
void simdisk_jump(struct simdisk *disk, int64_t ns);

/* Writes the tree below `path` into the directory `to` of the real filesystem, which must exist. 0 or -errno. */
int simdisk_export(struct simdisk *disk, const char *path, const char *to);
/* Copies one file as it is now to new inodes, with the directories it needs, as a backup program would. */
int simdisk_copy(struct simdisk *disk, const char *from, const char *to);
/* Changes one byte of a file, in memory and on the disk: rot. */
int simdisk_flip(struct simdisk *disk, const char *path, uint64_t foff);
/* Calls `each` for every file below `path` with its full path, in name order; stops at non-zero and returns it. */
int simdisk_walk(struct simdisk *disk, const char *path, int (*each)(void *arg, const char *path, uint64_t size_bytes),
                 void *arg);

/* Small deterministic random numbers for tests: xorshift64*. */
struct sim_random {
    uint64_t state;
};
void sim_random_seed(struct sim_random *random, uint64_t seed);
uint64_t sim_random_next(struct sim_random *random);
/* 0 .. below-1 */
uint64_t sim_random_below(struct sim_random *random, uint64_t below);
/* True with a chance of percent in a hundred. */
bool sim_random_chance(struct sim_random *random, unsigned percent);

#endif
